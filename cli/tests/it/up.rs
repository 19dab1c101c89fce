//! A hub in one process, and the client against it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::roadstead;

/// A hub that is not ready after this long has failed; a loaded machine needs seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Hub {
    child: Child,
    ready: Value,
    file: PathBuf,
    log: PathBuf,
}

impl Hub {
    pub fn start(home: &Path, data: &Path, more: &[&str]) -> Self {
        Self::start_as(roadstead(home), home, data, more)
    }

    /// Starts it by this command, to which the arguments are added.
    pub fn start_as(mut command: Command, home: &Path, data: &Path, more: &[&str]) -> Self {
        let (file, log) = (home.join("ready.json"), home.join("log"));
        let _ = fs::remove_file(&file);
        command.args(["up", "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"]);
        command.arg("--data").arg(data).arg("--ready-file").arg(&file).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        let ready = loop {
            if let Ok(text) = fs::read(&file) {
                break serde_json::from_slice(&text).unwrap();
            }
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "not ready ({ended:?}):\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, ready, file, log }
    }

    pub fn text(&self, pointer: &str) -> String {
        self.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub fn json(&self, home: &Path, arguments: &[&str]) -> Value {
        let (good, out, err) = client(home, &[arguments, &["-o", "json"]].concat());
        assert!(good, "{arguments:?}: {err}\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        serde_json::from_str(&out).unwrap_or(Value::Null)
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(began.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn client(home: &Path, arguments: &[&str]) -> (bool, String, String) {
    let output = roadstead(home).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_newcomer_gets_from_nothing_to_a_join_token() {
    let home = tempfile::tempdir().unwrap();
    let (home, data) = (home.path(), home.path().join("data"));
    let hub = Hub::start(home, &data, &[]);
    assert_eq!(fs::metadata(&hub.file).unwrap().permissions().mode() & 0o777, 0o600);
    let (url, password, key) = (hub.text("/url"), hub.text("/admin/password"), hub.text("/api_key"));
    assert!(url.starts_with("http://127.0.0.1:") && hub.text("/agent_url").starts_with("http://127.0.0.1:"));
    assert_eq!(hub.text("/admin/username"), "owner");
    assert!(hub.text("/join_token").starts_with("rsj_") && key.starts_with("rsk_") && password.len() >= 20);
    let log = fs::read_to_string(&hub.log).unwrap();
    for secret in [&password, &key, &hub.text("/join_token")] {
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }

    hub.json(home, &["login", "--url", &url, "--api-key", &key]);
    assert_eq!(hub.json(home, &["whoami"])["username"], "owner");
    assert_eq!(hub.json(home, &["clusters", "ls"]), Value::Array(Vec::new()));
    assert_eq!(hub.json(home, &["agents", "ls"]), Value::Array(Vec::new()));
    let token = hub.json(home, &["join-token", "create", "--label", "env=test"]);
    assert!(token["token"].as_str().unwrap().starts_with("rsj_"), "{token}");
    assert!(hub.json(home, &["join-token", "ls"]).as_array().unwrap().len() >= 2);
    let made = hub.json(home, &["api-key", "create", "second"]);
    assert!(made["api_key"].as_str().unwrap().starts_with("rsk_"));
    assert_eq!(hub.json(home, &["api-key", "ls"]).as_array().unwrap().len(), 2);
    let (good, _, err) = client(home, &["namespaces", "nowhere"]);
    assert!(!good && err.contains("not_found"), "{err}");
    let (good, out, err) = client(home, &["doctor"]);
    assert!(good, "{out}{err}");

    // Nobody else may use the folder while it runs.
    let other = roadstead(home).args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(&data).output().unwrap();
    assert!(String::from_utf8_lossy(&other.stderr).contains("another hub"));
    hub.stop();

    // A later start writes addresses only, and what was made before still works.
    let hub = Hub::start(home, &data, &[]);
    let keys: Vec<&String> = hub.ready.as_object().unwrap().keys().collect();
    assert!(keys.iter().all(|key| !["admin", "api_key", "join_token"].contains(&key.as_str())), "{keys:?}");
    hub.json(home, &["login", "--url", &hub.text("/url"), "--api-key", &key]);
    assert_eq!(hub.json(home, &["join-token", "ls"]).as_array().unwrap().len(), 2);
    hub.stop();
}

#[test]
fn a_lost_password_is_recovered_on_the_database() {
    let home = tempfile::tempdir().unwrap();
    let (home, data) = (home.path(), home.path().join("data"));
    let hub = Hub::start(home, &data, &[]);
    let old = hub.text("/admin/password");
    let recovered = hub.json(home, &["admin", "recover", "--data", data.to_str().unwrap()]);
    let new = recovered["password"].as_str().unwrap().to_owned();
    for (password, works) in [(new, true), (old, false)] {
        let mut login = roadstead(home);
        login.args(["login", "--url", &hub.text("/url"), "--username", "owner"]);
        let mut child = login.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.success(), works, "{}", String::from_utf8_lossy(&done.stderr));
    }
    hub.stop();
}
