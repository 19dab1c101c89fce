//! Row F30: a machine with little memory. Each process of the mesh has 256 MiB for its data, and what it asks for beyond is
//! refused, which ends it. Manifests are large, and so many at once take what `docker-compose.yml` gives.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{Layout, TestMesh, Tuning};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// What a process has.
const MEMORY: u64 = 256 * 1024 * 1024;
/// What it has by `mem_limit` of the compose file.
const DEPLOYED: u64 = 1024 * 1024 * 1024;
/// Requests under way at the same time.
const READS: usize = 5_000;
/// The same beside what takes longer.
const READS_BESIDE: usize = 1_000;
/// Passwords that are looked at, each with the megabytes that a hash takes.
const LOGINS: usize = 100;
/// Manifests that are sent, and what is in each.
const UPLOADS: usize = 60;
const UPLOAD_BYTES: usize = 900 * 1024;
/// As long as the door waits for a head: one program takes its time to send so many.
const PATIENCE: Duration = Duration::from_secs(180);
/// How soon a hub that has answered everything is ready.
const READY: Duration = Duration::from_secs(15);

/// What somebody sends.
#[derive(Clone, Copy, PartialEq)]
enum Sent {
    Read,
    Login,
    Upload,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq, postgres, redis"]
async fn f30_little_memory_is_enough_or_refused_with_503() {
    let _alone = crate::alone().await;
    let tuning = Tuning::default().without_quotas().with_memory(MEMORY).with("ROADSTEAD_SERVER_READ_TIMEOUT", "3m");
    let mesh = TestMesh::start(Layout::Mesh, tuning).await.unwrap();
    mesh.owner(0).unwrap().post("/api/v1/clusters", &json!({ "name": "berth" })).await.unwrap().expect(201).unwrap();
    holds(&mesh, &[(Sent::Read, READS)]).await.unwrap();
    holds(&mesh, &[(Sent::Read, READS_BESIDE), (Sent::Login, LOGINS)]).await.unwrap();
    for pid in mesh.pids() {
        let limit = [format!("--pid={pid}"), format!("--data={DEPLOYED}:")];
        assert!(Command::new("prlimit").args(limit).status().unwrap().success());
    }
    holds(&mesh, &[(Sent::Read, READS_BESIDE), (Sent::Upload, UPLOADS)]).await.unwrap();
    mesh.end();
}

/// Sends everything at once. Everybody is answered, well or with a refusal, and every process is the one that it was.
async fn holds(mesh: &TestMesh, mix: &[(Sent, usize)]) -> Result<()> {
    let pids = mesh.pids();
    let together = Arc::new(Barrier::new(mix.iter().map(|(_, count)| count).sum()));
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large, namespace: default}}\ndata: {{value: {}}}\n",
        "x".repeat(UPLOAD_BYTES)
    );
    let text: Arc<str> = text.into();
    let (owner, mut tasks, began) = (mesh.owner(0)?.within(PATIENCE)?, JoinSet::new(), Instant::now());
    for (sent, count) in mix {
        for number in 0..*count {
            let (sent, api) = (*sent, owner.at(&mesh.doors[number % mesh.doors.len()]));
            let (together, text) = (Arc::clone(&together), Arc::clone(&text));
            tasks.spawn(async move {
                together.wait().await;
                let wrong = json!({ "username": format!("nobody-{number}"), "password": "correct horse battery 9" });
                let answer = match sent {
                    Sent::Read => api.get("/api/v1/clusters/berth").await,
                    Sent::Login => api.post("/api/v1/auth/login", &wrong).await,
                    Sent::Upload => {
                        let path = "/api/v1/clusters/berth/manifests?dry_run=true";
                        api.post_as(path, "application/yaml", &*text).await
                    }
                };
                Ok::<_, anyhow::Error>((sent, answer?))
            });
        }
    }
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (sent, answer) = done?.with_context(|| last_words(mesh))?;
        // 429: logins of one address, and operations of one cluster, have a limit of their own.
        let own: &[u16] = match sent {
            Sent::Read => &[200],
            Sent::Login => &[401, 429],
            Sent::Upload => &[202, 429],
        };
        ensure!(own.contains(&answer.status) || matches!(answer.status, 503 | 504), "{answer:?}");
        *counts.entry(answer.status).or_default() += 1;
    }
    for name in mesh.parts() {
        // A process that breaks lets go of its connections before it is gone.
        mesh.ready(&name, READY).await.with_context(|| last_words(mesh))?;
    }
    // Refusals alone would be no hub.
    let uploads = mix.iter().any(|(sent, _)| *sent == Sent::Upload);
    let some = counts.contains_key(&200) && (!uploads || counts.contains_key(&202));
    ensure!(some && last_words(mesh).is_empty(), "{counts:?}\n{}", last_words(mesh));
    ensure!(owner.get("/api/v1/clusters/berth").await?.status == 200);
    println!(
        "answers {counts:?} in {:?}; data {:?} MiB",
        began.elapsed(),
        pids.iter().map(|pid| data(*pid)).collect::<Vec<_>>()
    );
    Ok(())
}

/// What the processes of the hub said last that is no line of a log.
fn last_words(mesh: &TestMesh) -> String {
    let said = |name: &String| {
        let tail = mesh.tail(name);
        let words = tail.lines().filter(|line| !line.starts_with('{'));
        words.map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
    };
    mesh.parts().iter().flat_map(said).collect::<Vec<_>>().join("\n")
}

/// What a process has for its data now (`proc_pid_status(5)`).
fn data(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes / 1024)
}
