//! Machines that give a hub little: few descriptors, another user, nothing to write but its folder (reliability row C05),
//! a database that cannot be written (C02).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::roadstead;
use crate::up::{Hub, PATIENCE};

/// `nobody`, who owns nothing.
const NOBODY: u32 = 65_534;

/// As the hub is started, under a program that takes something away first.
fn under(home: &Path, wrapper: &[&str], program: &Path) -> Command {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(program).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("HOME", home).env("NO_COLOR", "1");
    command
}

fn program() -> PathBuf {
    PathBuf::from(roadstead(Path::new("/")).get_program())
}

/// The program where another user may run it: the folder that it was built in may be root's alone.
fn program_in(home: &Path) -> PathBuf {
    let copy = home.join("roadstead");
    if fs::hard_link(program(), &copy).is_err() {
        fs::copy(program(), &copy).unwrap();
    }
    fs::set_permissions(home, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// Taking a folder or an identity away takes root, as which containers run tests.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// The last line of a hub that ends by itself; one that starts after all is ended.
fn refusal(mut command: Command, data: &Path) -> String {
    let command = command.args(["up", "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--data"]).arg(data);
    let log = data.with_extension("log");
    let mut child = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if began.elapsed() > PATIENCE => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("error: "), "{said}");
    last
}

#[test]
fn c05_few_descriptors_are_enough_or_refused_with_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let (home, data) = (home.path(), home.path().join("data"));
    let said = refusal(under(home, &["prlimit", "--nofile=64:64"], &program()), &data);
    assert!(said.contains("64 files") && said.contains("ulimit -n"), "{said}");
    let hub = Hub::start_as(under(home, &["prlimit", "--nofile=64:256"], &program()), home, &data, &[]);
    hub.json(home, &["login", "--url", &hub.text("/url"), "--api-key", &hub.text("/api_key")]);
    assert_eq!(hub.json(home, &["whoami"])["username"], "owner");
    hub.stop();
}

#[test]
fn c05_another_user_with_nothing_to_write_but_its_folder() {
    // A container may not let even root make a view of the files of its own.
    let try_it = ["--mount", "mount", "-o", "remount,bind,ro", "/"];
    let may = is_root() && Command::new("unshare").args(try_it).status().is_ok_and(|status| status.success());
    if !may {
        eprintln!("not tried: nothing can be taken away here");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let data = home.join("data");
    fs::create_dir(&data).unwrap();
    let program = program_in(home);
    for folder in [home, &data] {
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // The folder stays as it is while everything else becomes read-only; no folder for temporary files is left.
    let script = format!(
        "mount --bind {home} {home} && mount -o remount,bind,ro / && ! touch /etc/roadstead-was-here 2>/dev/null && \
         TMPDIR=/nonexistent exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --bounding-set=-all \
         --no-new-privs \"$0\" \"$@\"",
        home = home.display()
    );
    let command = under(home, &["unshare", "--mount", "sh", "-c", &script], &program);
    let hub = Hub::start_as(command, home, &data, &[]);
    hub.json(home, &["login", "--url", &hub.text("/url"), "--api-key", &hub.text("/api_key")]);
    assert_eq!(hub.json(home, &["clusters", "ls"]), serde_json::json!([]));
    hub.stop();
}

#[test]
fn c02_a_database_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (home, data) = (home.path(), home.path().join("data"));
    Hub::start(home, &data, &[]).stop();
    let file = data.join("user.db");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let command = if is_root() {
        for entry in fs::read_dir(&data).unwrap() {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        under(home, &nobody, &program_in(home))
    } else {
        roadstead(home)
    };
    let said = refusal(command, &data);
    assert!(said.contains(&file.display().to_string()) && said.contains("readonly database"), "{said}");
}
