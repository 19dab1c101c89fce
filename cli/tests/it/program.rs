//! Runs of the `roadstead` program that need no hub.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// The program without the caller's settings.
pub fn roadstead(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
    command.env_clear().env("HOME", home).env("NO_COLOR", "1");
    command
}

fn run(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    roadstead(home).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reliability rows C01 and A19.
#[test]
fn wrong_settings_end_with_code_2_and_every_problem() {
    let home = tempfile::tempdir().unwrap();
    let variables = [
        ("PORT", "abc"),
        ("ROADSTEAD_SERVER_HSOT", "0.0.0.0"),
        ("JWT_SECRET_KEY", "your-secret-key-here"),
        ("DATABASE_URL", "postgres://a:canary-one@db/x"),
        ("RABBITMQ_PASSWORD", "guest"),
    ];
    let run = run(home.path(), &["serve", "user"], &variables);
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{said}");
    for part in [
        "PORT: must be a port",
        "ROADSTEAD_SERVER_HSOT: is no setting; did you mean ROADSTEAD_SERVER_HOST?",
        "JWT_SECRET_KEY: is a sample",
        "ROADSTEAD_MESH_SECRET: must be set",
        "RABBITMQ_PASSWORD: guest/guest is refused",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    for secret in ["your-secret-key-here", "canary"] {
        assert!(!said.contains(secret) && !text(&run.stdout).contains(secret), "{said}");
    }
}

/// Row K09: what a hub, or a cluster behind it, says of an error is text on the terminal.
#[test]
fn regression_k09_an_error_of_a_hub_moves_no_cursor() {
    let hub = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hub.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in hub.incoming() {
            let mut client = client.unwrap();
            let mut asked = [0; 4096];
            assert!(client.read(&mut asked).unwrap() > 0);
            let body = r#"{"detail":"not yours\u001b]52;c;aGk=\u0007","code":"forbidden","request_id":"r"}"#;
            let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let _ = client.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    });
    let home = tempfile::tempdir().unwrap();
    let variables = [("ROADSTEAD_URL", url.as_str()), ("ROADSTEAD_API_KEY", "rsk_x")];
    let run = run(home.path(), &["whoami"], &variables);
    let said = text(&run.stderr);
    assert!(!run.status.success() && said.contains("not yours"), "{said:?}");
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
}

#[test]
fn up_does_not_listen_to_bare_names() {
    let home = tempfile::tempdir().unwrap();
    let variables = [("PORT", "abc"), ("DATABASE_URL", "nonsense"), ("ROADSTEAD_SERVER_PORT", "70000")];
    let run = run(home.path(), &["up"], &variables);
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("1 problem") && said.contains("ROADSTEAD_SERVER_PORT"), "{said}");
}

#[test]
fn schemas_go_up_and_down() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let data = data.to_str().unwrap();
    let migrate = |arguments: &[&str]| {
        let run = run(home.path(), &[&["migrate", "--data", data], arguments].concat(), &[]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        text(&run.stdout)
    };
    let applied = || {
        let steps: Vec<serde_json::Value> = serde_json::from_str(&migrate(&["status", "-o", "json"])).unwrap();
        (steps.iter().filter(|step| !step["applied_at"].is_null()).count(), steps.len())
    };
    let (none, all) = applied();
    assert!(none == 0 && all >= 2);
    migrate(&["up"]);
    assert_eq!(applied(), (all, all));
    migrate(&["down"]);
    assert_eq!(applied(), (all - 1, all));
    for _ in 0..all {
        migrate(&["down"]);
    }
    assert_eq!(applied(), (0, all));
    migrate(&["up"]);
    assert_eq!(applied(), (all, all));
}

#[test]
fn without_a_hub_the_client_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [&["whoami"][..], &["clusters", "ls"], &["namespaces", "x"]] {
        let run = run(home.path(), arguments, &[]);
        assert_eq!(run.status.code(), Some(1));
        assert!(text(&run.stderr).contains("roadstead login"), "{}", text(&run.stderr));
    }
    let run =
        run(home.path(), &["doctor"], &[("ROADSTEAD_URL", "http://127.0.0.1:9"), ("ROADSTEAD_API_KEY", "canary")]);
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stdout);
    assert!(said.contains("tcp") && said.contains("broken") && !said.contains("canary"), "{said}");
}

#[test]
fn every_shell_gets_its_completion() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let run = run(home.path(), &["completion", shell], &[]);
        assert!(run.status.success() && text(&run.stdout).contains("join-token"), "{shell}");
    }
}
