//! Many agents at once, from a second process of this binary, so that only the hub's side is counted here.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roadstead_runtime::retry::Backoff;
use roadstead_runtime::{Ids, SystemClock};
use roadstead_tunnel::ws::DialError;

use crate::agent::{Agent, Joined, enrol, try_dial};
use crate::rig::Rig;

const FLEET: &str = "ONBOARDING_TEST_FLEET";

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

async fn wait_for(rig: &Rig, count: usize, limit: Duration) -> Duration {
    let began = Instant::now();
    let mut told = 0;
    while rig.replicas.last().unwrap().service.sessions() != count {
        if began.elapsed().as_secs() >= told {
            told += 5;
            let page = crate::wire::get(rig.address(), "/metrics").await.body;
            let page = String::from_utf8_lossy(&page).into_owned();
            let lines: Vec<_> = page.lines().filter(|line| line.starts_with("roadstead_agent_handshakes_total") || line.starts_with("roadstead_dropped_total")).collect();
            println!("{:?} {lines:?}", began.elapsed());
        }
        assert!(began.elapsed() < limit, "{} of {count}", rig.replicas.last().unwrap().service.sessions());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, run by hand"]
async fn idle_agents_are_small() {
    let agents: usize = std::env::var("AGENTS").map_or(2_000, |text| text.parse().unwrap());
    let rig = Rig::with(&[], 1).await;
    let (token, _) = rig.join_token(&rig.alice, 10_000).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fleet::the_fleet", "--include-ignored", "--nocapture"])
        .env(FLEET, format!("{} {token} {agents}", rig.address()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut before = resident();
    let mut seen = 0;
    let began = Instant::now();
    while seen < agents {
        let now = rig.replicas[0].service.sessions();
        if seen == 0 && now > agents / 4 {
            before = resident();
            seen = now;
            println!("at {now}: {before}");
        }
        if now == agents {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(300));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("all there after {:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(12)).await;
    let after = resident();
    println!(
        "resident {before} at {seen}, {after} at {agents}: {} bytes an agent",
        after.saturating_sub(before) / (agents - seen) as u64
    );
    // The replica is killed; another one takes its place and its port.
    let mut rig = rig;
    rig.settings.server.agent_port = rig.address().port();
    let began = Instant::now();
    rig.replicas[0].tasks.cut();
    rig.replicas.clear();
    let next = loop {
        match rig.try_build().await {
            Ok(next) => break next,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    next.service.start().await.unwrap();
    rig.replicas.push(next);
    wait_for(&rig, agents, Duration::from_secs(60)).await;
    println!("all back after {:?}", began.elapsed());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = wait_for(&rig, 0, Duration::from_secs(30)).await;
    println!("gone after {gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of idle_agents_are_small"]
async fn the_fleet() {
    let Ok(text) = std::env::var(FLEET) else { return };
    roadstead_runtime::install_crypto();
    let mut words = text.split(' ');
    let address = words.next().unwrap().parse().unwrap();
    let (token, count) = (words.next().unwrap().to_owned(), words.next().unwrap().parse::<usize>().unwrap());
    let mut joined = Vec::new();
    for number in 0..count {
        joined.push(enrol(address, &token, Some(&format!("fleet-{number}"))).await);
    }
    let mut living = tokio::task::JoinSet::new();
    let opening = std::sync::Arc::new(tokio::sync::Semaphore::new(100));
    for joined in joined {
        let first = std::sync::Arc::clone(&opening).acquire_owned().await.unwrap();
        living.spawn(async move {
            let mut agent = come(address, &joined).await;
            drop(first);
            loop {
                agent.session.closed().await;
                // As the agent does: at once, with full jitter.
                let ids = Ids::system(SystemClock::shared());
                tokio::time::sleep(ids.jitter(Duration::from_secs(1))).await;
                agent = come(address, &joined).await;
            }
        });
    }
    std::future::pending::<()>().await;
}

/// Dials as the agent does: exponential back-off with full jitter, after what the hub asks for.
async fn come(address: std::net::SocketAddr, joined: &Joined) -> Agent {
    let ids = Ids::system(SystemClock::shared());
    let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };
    for attempt in 0.. {
        let asked = match try_dial(address, joined).await {
            Ok(agent) => {
                agent.beat(roadstead_contracts::message::ClusterFacts::default());
                return agent;
            }
            Err(DialError::Refused(answer)) => {
                answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok())
            }
            Err(_) => None,
        };
        let asked = Duration::from_secs(asked.unwrap_or(0));
        tokio::time::sleep(asked + backoff.delay(attempt, &ids)).await;
    }
    unreachable!()
}
