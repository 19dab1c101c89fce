//! The program itself: arguments, exit codes, memory.

use std::process::Stdio;
use std::time::Duration;

use roadstead_contracts::agent::Notice;
use tokio::process::{Child, Command};

use crate::api::{Api, Manner};
use crate::hub::{Hub, TOKEN, heartbeat, send};

/// The product's goal is 15 MiB in all, measured in `benches/`; the agent's own share was 2.9 MB when this was written.
const OWN_MAX: usize = 5 * 1024 * 1024;

fn program(hub: &str, api: &Api, folder: &std::path::Path, command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_roadstead-agent"));
    program
        .args([command, "--hub", hub, "--name", "east"])
        .arg("--kubeconfig")
        .arg(api.kubeconfig(folder))
        .arg("--state")
        .arg(folder.join("state"))
        .env_clear()
        .env("ROADSTEAD_JOIN_TOKEN", TOKEN)
        .env("ROADSTEAD_AGENT_SERVER_PORT", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    program
}

/// Resident memory by kind, bytes: `RssAnon` is the agent's own, `RssFile` the program's code (much larger in debug
/// builds).
fn resident(child: &Child, kind: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let line = text.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

async fn signal(child: &Child, name: &str) {
    let number = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", name, &number]).status().await.unwrap().success());
}

#[tokio::test]
async fn the_program_joins_serves_and_stops() {
    let (mut hub, api) = (Hub::start().await, Api::start(Manner::default()).await);
    let folder = tempfile::tempdir().unwrap();
    let agent = program(&hub.url(), &api, folder.path(), "run").spawn().unwrap();
    let (session, mut incoming) = hub.session().await;
    heartbeat(&mut incoming).await;
    signal(&agent, "TERM").await;
    let output = tokio::time::timeout(Duration::from_secs(15), agent.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!log.contains(TOKEN) && !log.contains("PRIVATE"), "{log}");
    session.closed().await;

    let agent = program(&hub.url(), &api, folder.path(), "run").spawn().unwrap();
    let (session, _incoming) = hub.session().await;
    send(&session, &Notice::Revoked {});
    let output = tokio::time::timeout(Duration::from_secs(15), agent.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_preflight_prints_what_is_broken() {
    let (hub, api) = (Hub::start().await, Api::start(Manner::default()).await);
    let folder = tempfile::tempdir().unwrap();
    let fine = program(&hub.url(), &api, folder.path(), "preflight").output().await.unwrap();
    assert_eq!(fine.status.code(), Some(0), "{}", String::from_utf8_lossy(&fine.stderr));
    let broken = program("http://127.0.0.1:1", &api, folder.path(), "preflight").output().await.unwrap();
    let text = String::from_utf8_lossy(&broken.stdout);
    assert_eq!(broken.status.code(), Some(1));
    assert!(text.contains("FAIL  TCP"), "{text}");
    let unset = program("", &api, folder.path(), "run").output().await.unwrap();
    assert_eq!(unset.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unset.stderr).contains("--hub"), "{}", String::from_utf8_lossy(&unset.stderr));
}

#[tokio::test]
async fn an_agent_at_rest_is_small() {
    let (mut hub, api) = (Hub::start().await, Api::start(Manner::default()).await);
    let folder = tempfile::tempdir().unwrap();
    let agent = program(&hub.url(), &api, folder.path(), "run").spawn().unwrap();
    let (_session, mut incoming) = hub.session().await;
    for _ in 0..3 {
        heartbeat(&mut incoming).await;
    }
    let (own, code) = (resident(&agent, "RssAnon"), resident(&agent, "RssFile"));
    println!("an agent at rest takes {} KiB of its own and {} KiB of code", own / 1024, code / 1024);
    assert!(own <= OWN_MAX, "{own} bytes");
}
