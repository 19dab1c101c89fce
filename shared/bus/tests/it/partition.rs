//! Row F04: a network that falls apart between three brokers. A message that was confirmed comes out, whoever it was that was cut off;
//! none comes out that nobody sent. That it comes twice is allowed, and none of it is tried again.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roadstead_bus::rabbit::Rabbit;
use roadstead_bus::{Arrival, Destination, Message, Shape, Subscription, Transport, dead_letter_queue};
use roadstead_runtime::Tasks;
use tokio::task::JoinSet;

use crate::nodes::{NODES, Nodes, url};
use crate::rig::open;

/// Says that this is the process in the network of its own, and names the file that it leaves when everything was right.
const INSIDE: &str = "ROADSTEAD_TEST_PARTITION_INSIDE";
/// How many runs, and how long one takes: `cargo xtask campaign partitions` sets them.
const RUNS: &str = "ROADSTEAD_TEST_PARTITION_RUNS";
const SECONDS: &str = "ROADSTEAD_TEST_PARTITION_SECONDS";
const QUEUE: &str = "test_f04";
/// How long it stays apart: longer than the nodes take to notice, and shorter.
const APART: [Duration; 2] = [Duration::from_secs(14), Duration::from_secs(4)];
/// Between two times.
const TOGETHER: Duration = Duration::from_secs(3);
/// Longest wait for a confirm; what was not confirmed by then may have been taken or not.
const CONFIRM: Duration = Duration::from_secs(5);
/// Between two messages of a publisher.
const PAUSE: Duration = Duration::from_millis(20);
/// How soon everything that was taken has come out, once everybody is together: a minute, on a machine of its own.
const QUIET: Duration = Duration::from_secs(120);

/// Which links are cut.
const SHAPES: [(&str, &[[usize; 2]]); 5] = [
    ("one alone", &[[0, 1], [0, 2]]),
    ("no two see the same majority", &[[0, 1]]),
    ("everybody alone", &[[0, 1], [0, 2], [1, 2]]),
    ("another alone", &[[1, 0], [1, 2]]),
    ("the third alone", &[[2, 0], [2, 1]]),
];

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
#[ignore = "needs rabbitmq, and root for networks"]
fn f04_a_network_that_falls_apart_between_brokers() {
    if !Command::new("unshare").args(["--net", "ip", "link"]).output().is_ok_and(|tried| tried.status.success()) {
        assert!(std::env::var_os(RUNS).is_none(), "no networks can be made here");
        println!("not tried: no networks can be made here");
        return;
    }
    let right = std::env::temp_dir().join(format!("roadstead-f04-{}", std::process::id()));
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "partition::f04_within_its_network", "--ignored", "--nocapture"])
        .env(INSIDE, &right)
        .status()
        .unwrap();
    // A test of another name would be none, and no failure.
    let ran = std::fs::remove_file(right).is_ok();
    assert!(status.success() && ran, "{status}");
}

/// What is known of every message.
#[derive(Default)]
struct Ledger {
    stop: AtomicBool,
    sent: AtomicU64,
    refused: AtomicU64,
    confirmed: Mutex<BTreeSet<u64>>,
    seen: Mutex<BTreeSet<u64>>,
    deliveries: AtomicU64,
}

impl Ledger {
    fn see(&self, message: &Message) {
        let number = message.id.parse().unwrap_or_else(|_| panic!("nobody sent {message:?}"));
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        self.seen.lock().unwrap().insert(number);
    }

    /// What was confirmed and has not come out.
    fn missing(&self) -> Vec<u64> {
        self.confirmed.lock().unwrap().difference(&self.seen.lock().unwrap()).copied().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run by the test before it, in a network of its own"]
async fn f04_within_its_network() {
    let Some(right) = std::env::var_os(INSIDE) else { return };
    roadstead_runtime::install_crypto();
    let nodes = tokio::task::spawn_blocking(Nodes::start).await.unwrap();
    let tasks = Tasks::new();
    let members: Vec<Arc<Rabbit>> = (0..NODES).map(|node| Arc::new(open(&url(node), tasks.clone()))).collect();
    let (ledger, mut at_work) = (Arc::new(Ledger::default()), JoinSet::new());
    for member in &members {
        at_work.spawn(read(Arc::clone(member), Arc::clone(&ledger)));
    }
    together(&members).await;
    for member in &members {
        at_work.spawn(write(Arc::clone(member), Arc::clone(&ledger)));
    }
    let (runs, seconds) = (number(RUNS, 3), number(SECONDS, 0));
    for run in 0..usize::try_from(runs).unwrap() {
        let (name, links) = SHAPES[run % SHAPES.len()];
        let began = Instant::now();
        let before = ledger.confirmed.lock().unwrap().len();
        loop {
            for link in links {
                nodes.cut(*link);
            }
            tokio::time::sleep(APART[run % APART.len()]).await;
            for link in links {
                nodes.mend(*link);
            }
            tokio::time::sleep(TOGETHER).await;
            if began.elapsed() >= Duration::from_secs(seconds) {
                break;
            }
        }
        together(&members).await;
        comes_out(&members, &ledger).await;
        let confirmed = ledger.confirmed.lock().unwrap().len();
        println!(
            "{name}: {} confirmed of {} sent so far, {} refused or unknown, {} deliveries",
            confirmed,
            ledger.sent.load(Ordering::Relaxed),
            ledger.refused.load(Ordering::Relaxed),
            ledger.deliveries.load(Ordering::Relaxed)
        );
        assert!(confirmed > before, "{name}: nothing was sent meanwhile");
    }
    ledger.stop.store(true, Ordering::Relaxed);
    comes_out(&members, &ledger).await;
    assert!(ledger.refused.load(Ordering::Relaxed) > 0, "nobody noticed anything");
    let sent = ledger.sent.load(Ordering::Relaxed);
    assert!(ledger.seen.lock().unwrap().last().is_none_or(|last| *last < sent), "one that nobody sent");
    tasks.finish(Duration::from_secs(1)).await;
    drop(nodes);
    std::fs::write(right, "").unwrap();
}

/// Takes whatever comes, and says that it is done.
async fn read(member: Arc<Rabbit>, ledger: Arc<Ledger>) {
    let mut deliveries = member.consume(Subscription {
        queue: QUEUE.to_owned(),
        shape: Shape::Change,
        dead: Some(dead_letter_queue(QUEUE)),
        results: None,
        patterns: Vec::new(),
        prefetch: 16,
        auto_settle: false,
    });
    while let Some(arrival) = deliveries.next().await {
        if let Arrival::Message(delivery) = arrival {
            ledger.see(&delivery.message);
            delivery.ack();
        }
    }
}

/// Sends numbers, one after the other.
async fn write(member: Arc<Rabbit>, ledger: Arc<Ledger>) {
    while !ledger.stop.load(Ordering::Relaxed) {
        let number = ledger.sent.fetch_add(1, Ordering::Relaxed);
        let message = Message {
            id: number.to_string(),
            kind: "f04.v1".to_owned(),
            service: "tests".to_owned(),
            persistent: true,
            body: number.to_string().into(),
            ..Message::default()
        };
        let sending = member.publish(Destination::Queue(QUEUE.to_owned()), message);
        if matches!(tokio::time::timeout(CONFIRM, sending).await, Ok(Ok(()))) {
            ledger.confirmed.lock().unwrap().insert(number);
        } else {
            ledger.refused.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until every member is connected and reads.
async fn together(members: &[Arc<Rabbit>]) {
    for member in members {
        let mut connected = member.connected();
        let waited = tokio::time::timeout(QUIET, connected.wait_for(|connected| *connected)).await;
        assert!(waited.is_ok_and(|state| state.is_ok()), "not connected: {}", member.detail());
    }
}

/// Waits until what was confirmed has come out, be it as a dead letter.
async fn comes_out(members: &[Arc<Rabbit>], ledger: &Ledger) {
    let began = Instant::now();
    // What is confirmed from now on is looked at after the next run.
    let wanted = ledger.confirmed.lock().unwrap().clone();
    loop {
        while let Ok(Some(letter)) = members[0].take(&dead_letter_queue(QUEUE)).await {
            ledger.see(&letter);
        }
        let missing: Vec<u64> = ledger.missing().into_iter().filter(|number| wanted.contains(number)).collect();
        if missing.is_empty() {
            return;
        }
        assert!(began.elapsed() < QUIET, "lost: {missing:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
