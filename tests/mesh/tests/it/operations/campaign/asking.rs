//! How a change of the mix is asked for: until it is accepted, and then looked at.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api as Objects, Client, ResourceExt as _};
use roadstead_mesh_tests::checker::{Deed, Wanted};
use roadstead_mesh_tests::{Api, client};
use roadstead_testkit::wait::eventually;
use serde_json::Value;
use tokio::time::sleep;

use super::super::rig::Rig;
use super::mix::Change;

/// A caller asks so often for one change, a tenth of a second apart, before it takes the hub for dead.
const ASKS: usize = 600;
/// A restart is done, and its workload's controllers have seen it, within this time; deaths on the way included.
const CONTROLLERS: Duration = Duration::from_secs(120);

/// A caller who knows all the front doors, and the cluster itself.
#[derive(Clone)]
pub(super) struct Asking {
    apis: Vec<Api>,
    objects: Client,
    cluster: &'static str,
}

impl Asking {
    /// For changes of this cluster.
    pub(super) async fn of(rig: &Rig, cluster: &'static str) -> Result<Self> {
        let apis = (0..rig.mesh.doors.len()).map(|door| rig.mesh.owner(door)).collect::<Result<Vec<_>>>()?;
        Ok(Self { apis, objects: client(&rig.kubeconfig).await?, cluster })
    }

    /// Asks until it is accepted, first at this door; `first` is called when it was sent once.
    pub(super) async fn accepted(&self, change: &mut Change, door: usize, first: impl FnOnce()) -> Result<()> {
        self.stands(change).await?;
        let (path, kind, text) = change.request(self.cluster);
        let mut first = Some(first);
        for attempt in 0..ASKS {
            let api = self.apis[(door + attempt) % self.apis.len()].header("idempotency-key", &change.wanted.key);
            let answer = api.post_as(&path, kind, text.clone()).await;
            if let Some(first) = first.take() {
                first();
            }
            match answer {
                Ok(answer) if answer.status == 202 => {
                    let id = answer.body["operation_id"].as_str().context("no operation")?;
                    change.wanted.operation = Some(id.to_owned());
                    return Ok(());
                }
                Ok(answer) => {
                    ensure!(answer.status >= 500 || answer.status == 429, "{}: {answer:?}", change.wanted.key);
                }
                // Not heard: the key makes the repeat harmless.
                Err(_) => {}
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until a change has what it stands on. That is so when the one before it is accepted, but for a rollback: the
    /// controllers of the workload, who are no part of the hub and are asked themselves, must keep the template before.
    pub(super) async fn stands(&self, change: &Change) -> Result<()> {
        if change.wanted.deed != Deed::Rollback {
            return Ok(());
        }
        let name = change.wanted.objects.first().context("a change of nothing")?;
        let workloads: Objects<Deployment> = Objects::namespaced(self.objects.clone(), &change.place);
        eventually("the controllers keep two revisions", CONTROLLERS, || async {
            let workload = workloads.get(name).await?;
            let observed = workload.status.as_ref().and_then(|status| status.observed_generation);
            let revision = workload.annotations().get("deployment.kubernetes.io/revision").cloned();
            let second = revision.as_ref().is_some_and(|text| text.parse().is_ok_and(|number: u64| number >= 2));
            ensure!(second && observed >= workload.metadata.generation, "it is at {revision:?}, {observed:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    }

    /// Looks at it so often, or until its end: what waits for an agent must not grow without bound.
    pub(super) async fn looked_at(&self, one: &mut Wanted, door: usize, looks: usize) {
        let Some(id) = one.operation.clone() else { return };
        for attempt in 0..looks {
            let api = &self.apis[(door + attempt) % self.apis.len()];
            let state = api.get(&format!("/api/v1/operations/{id}")).await.map_or(Value::Null, |answer| answer.body);
            one.states.extend(state["state"].as_str().map(str::to_owned));
            if state["finished_at"].is_string() {
                break;
            }
            sleep(Duration::from_millis(30)).await;
        }
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
    one.told = told(steps.as_array().map(Vec::as_slice).unwrap_or_default());
    // Once more, after everything: nothing may have moved.
    let operation = api.get(&format!("/api/v1/operations/{id}")).await?.expect(200)?;
    one.states.extend(operation["state"].as_str().map(str::to_owned));
    one.ended = operation["finished_at"].as_str().and_then(|text| text.parse().ok());
    Ok(())
}

/// What the steps of an operation tell of each object.
pub(in super::super) fn told(steps: &[Value]) -> std::collections::BTreeMap<String, String> {
    let told = |step: &Value| Some((step["key"]["name"].as_str()?.to_owned(), step["outcome"].as_str()?.to_owned()));
    steps.iter().filter_map(told).collect()
}
