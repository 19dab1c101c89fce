//! Changes while everything dies: `kill -9` of each process at random times, then the checker's five zeros. The short form is
//! part of every test run; `cargo xtask campaign operations` is the long one.
//!
//! A run is told by its seed, which is printed: `ROADSTEAD_CAMPAIGN_SEED` plays it again as far as a machine can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::checker::Wanted;
use roadstead_mesh_tests::{Api, Layout, TestMesh, Tuning};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cluster::Log;
use super::rig::{CLUSTER, Rig, config_maps};

/// Objects of one change.
const OBJECTS: usize = 4;
/// Callers at once.
const CALLERS: usize = 4;
/// Everything has ended this long after the last death (catalogue, section 2).
const QUIET: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn campaign_in_one_process() {
    let _alone = crate::alone().await;
    let Some(size) = size() else {
        campaign(Layout::OneProcess, Size { operations: 16, deaths: 4 }, seed()).await.unwrap();
        return;
    };
    campaign(Layout::OneProcess, size, seed()).await.unwrap();
}

/// The long form alone: a mesh takes half a minute to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn campaign_over_a_mesh() {
    let _alone = crate::alone().await;
    let Some(size) = size() else {
        println!("part of `cargo xtask campaign operations` only");
        return;
    };
    campaign(Layout::Mesh, size, seed()).await.unwrap();
}

#[derive(Debug, Clone, Copy)]
struct Size {
    operations: usize,
    deaths: usize,
}

fn size() -> Option<Size> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    Some(Size { operations: number("ROADSTEAD_CAMPAIGN_OPERATIONS")?, deaths: number("ROADSTEAD_CAMPAIGN_DEATHS")? })
}

fn seed() -> u64 {
    let given = std::env::var("ROADSTEAD_CAMPAIGN_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    })
}

/// Marsaglia's xorshift: enough to choose who dies when.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most.max(1) as u64).unwrap_or(0)
    }
}

async fn campaign(layout: Layout, size: Size, seed: u64) -> Result<()> {
    println!("{layout:?}: {size:?}, seed {seed}");
    let mesh = TestMesh::start(layout, Tuning::default().without_quotas()).await?;
    let mut rig = Rig::start(mesh).await?;
    let place = rig.made_place("campaign").await?;
    let log = Log::begin(&rig, &place).await?;
    let apis = (0..rig.mesh.doors.len()).map(|door| rig.mesh.owner(door)).collect::<Result<Vec<_>>>()?;
    let callers = Callers::start(&apis, &place, size.operations);

    let mut dice = Dice(seed | 1);
    let mut victims = rig.mesh.parts();
    // As often as all parts together: it is where the effects are.
    victims.extend(std::iter::repeat_n(format!("agent-{CLUSTER}"), victims.len()));
    let mut deaths = 0;
    while deaths < size.deaths {
        // Spread over the work, so that each falls on some of it.
        let due = size.operations * deaths / size.deaths.max(1);
        if callers.begun() < due && !callers.is_done() {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        sleep(Duration::from_millis(dice.below(120) as u64)).await;
        let victim = victims[dice.below(victims.len())].clone();
        rig.mesh.kill(&victim)?;
        sleep(Duration::from_millis(dice.below(400) as u64)).await;
        if let Some(name) = victim.strip_prefix("agent-") {
            rig.mesh.restart_agent(name)?;
        } else {
            rig.mesh.start_part(&victim)?;
            rig.mesh.ready(&victim, Duration::from_secs(30)).await?;
        }
        deaths += 1;
        println!("{deaths}: {victim} died with {} begun", callers.begun());
    }
    let mut wanted = callers.end().await;
    let healed = Instant::now();
    rig.mesh.status(CLUSTER, "connected", Duration::from_secs(30)).await?;
    for one in &mut wanted {
        settle(&apis[0], one, QUIET.saturating_sub(healed.elapsed())).await?;
    }
    println!("quiet {:?} after the last death", healed.elapsed());
    let accepted = wanted.iter().filter(|one| one.operation.is_some()).count();
    ensure!(accepted == wanted.len(), "{} changes were never accepted", wanted.len() - accepted);
    log.judge(&wanted, deaths).await.with_context(|| format!("seed {seed}"))?;
    rig.end().await
}

/// Reads on until the operation has ended, then its record.
async fn settle(api: &Api, one: &mut Wanted, limit: Duration) -> Result<()> {
    let Some(id) = one.operation.clone() else { return Ok(()) };
    let began = Instant::now();
    loop {
        let operation = api.get(&format!("/api/v1/operations/{id}")).await?;
        if let Some(state) = operation.body["state"].as_str() {
            one.states.push(state.to_owned());
        }
        if !operation.body["finished_at"].is_null() || began.elapsed() > limit {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let steps = api.get(&format!("/api/v1/operations/{id}/steps?limit=1000")).await?.expect(200)?;
    let objects = steps.as_array().into_iter().flatten().filter_map(|step| step["key"]["name"].as_str());
    one.told = objects.map(str::to_owned).collect();
    // Once more, after everything: nothing may have moved.
    let state = api.get(&format!("/api/v1/operations/{id}")).await?.expect(200)?;
    one.states.extend(state["state"].as_str().map(str::to_owned));
    Ok(())
}

/// Callers that send changes, ask again when they hear nothing, and look at what they sent.
struct Callers {
    tasks: JoinSet<Vec<Wanted>>,
    begun: Arc<AtomicUsize>,
    operations: usize,
}

impl Callers {
    fn start(apis: &[Api], place: &str, operations: usize) -> Self {
        let (begun, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(0..operations)));
        let mut tasks = JoinSet::new();
        for number in 0..CALLERS {
            let (begun, next, place) = (Arc::clone(&begun), Arc::clone(&next), place.to_owned());
            let apis = apis.to_vec();
            tasks.spawn(async move {
                let mut all = Vec::new();
                loop {
                    let change = next.lock().unwrap().next();
                    let Some(change) = change else { return all };
                    all.push(send(&apis, number, &place, change, &begun).await);
                }
            });
        }
        Self { tasks, begun, operations }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    fn is_done(&self) -> bool {
        self.begun() >= self.operations
    }

    async fn end(mut self) -> Vec<Wanted> {
        let mut all = Vec::new();
        while let Some(some) = self.tasks.join_next().await {
            all.extend(some.unwrap_or_default());
        }
        all
    }
}

async fn send(apis: &[Api], caller: usize, place: &str, change: usize, begun: &AtomicUsize) -> Wanted {
    let objects: Vec<String> = (0..OBJECTS).map(|number| format!("op-{change:04}-{number}")).collect();
    let mut one = Wanted { key: format!("{place}-{change}"), objects, ..Wanted::default() };
    let path = format!("/api/v1/clusters/{CLUSTER}/manifests");
    let text = config_maps(place, &one.objects);
    let mut first = true;
    for attempt in 0..600 {
        let api = apis[(caller + attempt) % apis.len()].header("idempotency-key", &one.key);
        let answer = api.post_as(&path, "application/yaml", text.clone()).await;
        if std::mem::take(&mut first) {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        match answer {
            Ok(answer) if answer.status == 202 => {
                one.operation = answer.body["operation_id"].as_str().map(str::to_owned);
                break;
            }
            Ok(answer) if answer.status < 500 && answer.status != 429 => {
                println!("change {change}: {answer:?}");
                return one;
            }
            // Not heard, or away for the moment: the key makes the repeat harmless.
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
    let Some(id) = one.operation.clone() else { return one };
    for attempt in 0..4 {
        let api = &apis[(caller + attempt) % apis.len()];
        let state = api.get(&format!("/api/v1/operations/{id}")).await.map_or(Value::Null, |answer| answer.body);
        one.states.extend(state["state"].as_str().map(str::to_owned));
        sleep(Duration::from_millis(30)).await;
    }
    one
}
