//! Callers that send changes, ask again when they hear nothing, and look at what they sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadstead_mesh_tests::Api;
use roadstead_mesh_tests::checker::Wanted;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::cluster::Log;
use super::super::rig::{CLUSTER, Rig, config_maps};
use super::QUIET;

/// Objects of one change.
const OBJECTS: usize = 4;
/// Callers at once.
const CALLERS: usize = 4;
/// A caller looks so often at a change before it sends the next.
const LOOKS: usize = 40;
/// An agent is back within this time: its longest wait between two dials is 30 s, and then it dials on a machine at work.
pub(super) const BACK: Duration = Duration::from_secs(60);

/// Callers at work in one namespace.
pub(super) struct Callers {
    tasks: JoinSet<Vec<Wanted>>,
    shared: Arc<Shared>,
}

struct Shared {
    place: String,
    most: usize,
    next: AtomicUsize,
    begun: AtomicUsize,
    stop: AtomicBool,
}

impl Callers {
    /// Sends so many changes, or until they are ended.
    pub(super) fn start(rig: &Rig, place: &str, most: usize) -> Result<Self> {
        let apis = (0..rig.mesh.doors.len()).map(|door| rig.mesh.owner(door)).collect::<Result<Vec<_>>>()?;
        let shared = Arc::new(Shared {
            place: place.to_owned(),
            most,
            next: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let (apis, shared) = (apis.clone(), Arc::clone(&shared));
            tasks.spawn(async move {
                let mut all = Vec::new();
                loop {
                    let change = shared.next.fetch_add(1, Ordering::Relaxed);
                    if change >= shared.most || shared.stop.load(Ordering::Relaxed) {
                        return all;
                    }
                    all.push(send(&apis, caller, change, &shared).await);
                }
            });
        }
        Ok(Self { tasks, shared })
    }

    /// Changes that were sent for the first time.
    pub(super) fn begun(&self) -> usize {
        self.shared.begun.load(Ordering::Relaxed)
    }

    /// Whether all are under way.
    pub(super) fn is_done(&self) -> bool {
        self.begun() >= self.shared.most
    }

    /// Ends them; answers what they were told when everything is quiet.
    pub(super) async fn end(mut self, rig: &Rig) -> Result<Vec<Wanted>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut wanted = Vec::new();
        while let Some(some) = self.tasks.join_next().await {
            wanted.extend(some.unwrap_or_default());
        }
        rig.mesh.status(CLUSTER, "connected", BACK).await?;
        let healed = Instant::now();
        for one in &mut wanted {
            settle(&rig.api, one, QUIET.saturating_sub(healed.elapsed())).await?;
        }
        let accepted = wanted.iter().filter(|one| one.operation.is_some()).count();
        ensure!(accepted == wanted.len(), "{} changes were never accepted", wanted.len() - accepted);
        Ok(wanted)
    }

    /// All that they sent, ends, and the checker's word over it.
    pub(super) async fn judge(self, rig: &Rig, log: Log, deaths: usize) -> Result<()> {
        let healed = Instant::now();
        let wanted = self.end(rig).await?;
        println!("{} changes; quiet {:?} after the last fault", wanted.len(), healed.elapsed());
        log.judge(rig, &wanted, deaths).await
    }
}

/// Reads on until the operation has ended, then its record.
pub(in super::super) async fn settle(api: &Api, one: &mut Wanted, limit: Duration) -> Result<()> {
    let Some(id) = one.operation.clone() else { return Ok(()) };
    let began = Instant::now();
    loop {
        let operation = api.get(&format!("/api/v1/operations/{id}")).await?;
        if let Some(state) = operation.body["state"].as_str() {
            one.states.push(state.to_owned());
        }
        if operation.body["finished_at"].is_string() || began.elapsed() > limit {
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

async fn send(apis: &[Api], caller: usize, change: usize, shared: &Shared) -> Wanted {
    let place = &shared.place;
    let objects: Vec<String> = (0..OBJECTS).map(|number| format!("op-{change:04}-{number}")).collect();
    let mut one = Wanted { key: format!("{place}-{change}"), objects, ..Wanted::default() };
    let path = format!("/api/v1/clusters/{CLUSTER}/manifests");
    let text = config_maps(place, &one.objects);
    let mut first = true;
    for attempt in 0..600 {
        let api = apis[(caller + attempt) % apis.len()].header("idempotency-key", &one.key);
        let answer = api.post_as(&path, "application/yaml", text.clone()).await;
        if std::mem::take(&mut first) {
            shared.begun.fetch_add(1, Ordering::Relaxed);
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
    // Until its end, or for a while: what waits for an agent must not grow without bound.
    for attempt in 0..LOOKS {
        let api = &apis[(caller + attempt) % apis.len()];
        let state = api.get(&format!("/api/v1/operations/{id}")).await.map_or(Value::Null, |answer| answer.body);
        one.states.extend(state["state"].as_str().map(str::to_owned));
        if state["finished_at"].is_string() {
            break;
        }
        sleep(Duration::from_millis(30)).await;
    }
    one
}
