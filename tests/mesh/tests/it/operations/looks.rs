//! Rollouts' looks through real agents at a real API server: what was applied is looked at once more at the end of each
//! wave's bake.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use roadstead_mesh_tests::checker::AuditLog;
use roadstead_mesh_tests::client;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

use super::cluster::{self, OWNER};
use super::fleet::{CLUSTERS, until};
use super::rig::{Rig, config_map};

/// The name of what is rolled out.
const NAME: &str = "shop";
/// Time in which something can break between two waves.
const BAKE_SECONDS: u32 = 3;
/// A wave is applied, ready and baking within this time; the look at one that is broken takes half a minute.
const LIMIT: Duration = Duration::from_secs(90);

/// Three clusters in two waves: everything stays as it is, and each cluster is looked at once.
pub async fn all_pass(rig: &Rig) -> Result<()> {
    let places = places(rig, "calm").await?;
    let text = config_map(&places[0], NAME, "1");
    let made = rollout(rig, &places, ("v1", "ConfigMap"), text, (&[34, 66], 1)).await?;
    let done = until(rig, &made, &["succeeded", "halted", "failed"]).await?;
    ensure!(done["state"] == "succeeded" && done["clusters"]["succeeded"] == 3, "{done}");
    for place in &places {
        ensure!(cluster::value(rig, place, NAME).await?.is_some(), "nothing is in {place}");
    }
    let looks = looks(rig, &made).await?;
    ensure!(looks.iter().all(|look| look["state"] == "succeeded"), "{looks:?}");
    let mut names: Vec<&str> = looks.iter().filter_map(|look| look["cluster_name"].as_str()).collect();
    names.sort_unstable();
    let mut all = CLUSTERS;
    all.sort_unstable();
    ensure!(names == all, "these were looked at: {names:?}");
    Ok(())
}

/// A workload that was ready breaks during the bake of the second of three waves: the look finds it, the third is never
/// touched. Mended and retried, the rollout ends.
pub async fn one_breaks(rig: &Rig) -> Result<()> {
    let places = places(rig, "storm").await?;
    let audit = AuditLog::from_now(&rig.kubeconfig);
    let text = deployment(&places[0]).to_string();
    let made = rollout(rig, &places, ("apps/v1", "Deployment"), text, (&[33, 33, 34], BAKE_SECONDS)).await?;
    baking(rig, &made, "wave 2 of 3 bakes").await?;
    // Not before: it was ready when its operation ended.
    let applied = rig.api.get(&format!("/api/v1/operations?rollout={made}&state=succeeded")).await?.expect(200)?;
    let second = |one: &&Value| one["cluster_name"] == CLUSTERS[1] && one["dry_run"] == false;
    ensure!(applied.as_array().into_iter().flatten().any(|one| second(&one)), "{applied}");
    set_ready(rig, &places[1], false).await?;

    let halted = until(rig, &made, &["halted", "succeeded", "failed"]).await?;
    ensure!(halted["state"] == "halted", "{halted}");
    ensure!(halted["reason"] == "1 clusters failed (1 of them were not ready after the bake), 0 may", "{halted}");
    let counts = &halted["clusters"];
    ensure!(counts["succeeded"] == 1 && counts["failed"] == 1 && counts["untouched"] == 1, "{halted}");
    let shown = halted["waves"][1]["clusters"][0]["operation_id"].as_str().context("the second has no operation")?;
    let look = rig.operation(shown).await?;
    ensure!(look["dry_run"] == true && look["state"] == "failed", "{look}");
    ensure!(look["error"]["detail"].to_string().contains("0 of 2 replicas are available"), "{look}");
    untouched(rig, &halted, &places[2]).await?;

    set_ready(rig, &places[1], true).await?;
    rig.api.post(&format!("/api/v1/rollouts/{made}/retry"), &json!({})).await?.expect(200)?;
    let done = until(rig, &made, &["succeeded", "halted", "failed"]).await?;
    ensure!(done["state"] == "succeeded" && done["clusters"]["succeeded"] == 3, "{done}");
    let mut ends: Vec<(String, String)> = looks(rig, &made).await?.iter().map(end).collect();
    ends.sort();
    let second = CLUSTERS[1];
    let mut expected =
        [(CLUSTERS[0], "succeeded"), (second, "failed"), (second, "succeeded"), (CLUSTERS[2], "succeeded")]
            .map(|(cluster, state)| (cluster.to_owned(), state.to_owned()));
    expected.sort();
    ensure!(ends == expected, "{ends:?}");
    let Some(audit) = audit else { return Ok(()) };
    // The looks changed nothing: each was applied once, and the one that was retried once more.
    for (place, applies) in places.iter().zip([1, 2, 1]) {
        let effects = audit.effects(place, &["deployments"]).await?;
        let own: Vec<_> = effects.iter().filter(|effect| effect.user == OWNER).collect();
        ensure!(own.len() == applies && own.iter().all(|effect| effect.verb == "patch"), "{place}: {own:?}");
    }
    Ok(())
}

/// A namespace for each cluster: the agents share one API server here.
async fn places(rig: &Rig, what: &str) -> Result<Vec<String>> {
    let mut places = Vec::new();
    for cluster in CLUSTERS {
        places.push(rig.made_place(&format!("{what}-{cluster}")).await?);
    }
    Ok(places)
}

/// Begins one of what stands in the first cluster's namespace; the others have it in their own. Answers its id.
async fn rollout(
    rig: &Rig,
    places: &[String],
    (api_version, kind): (&str, &str),
    manifests: String,
    (waves, bake_seconds): (&[u8], u32),
) -> Result<String> {
    let object = json!({ "api_version": api_version, "kind": kind, "namespace": places[0], "name": NAME });
    let own = |(cluster, place): (&str, &String)| json!({ "cluster": cluster, "object": object, "patch": { "metadata": { "namespace": place } } });
    let overrides: Vec<Value> = CLUSTERS.into_iter().zip(places).map(own).collect();
    let body = json!({
        "name": NAME, "clusters": CLUSTERS, "kind": "apply", "manifests": manifests, "wait": true, "confirmed": true,
        "plan": { "waves": waves, "failure_budget": 0, "bake_seconds": bake_seconds, "overrides": overrides },
    });
    let made = rig.api.post("/api/v1/rollouts", &body).await?.expect(201)?;
    Ok(made["id"].as_str().context("no id")?.to_owned())
}

async fn baking(rig: &Rig, id: &str, reason: &str) -> Result<()> {
    eventually(reason, LIMIT, || async {
        let rollout = rig.api.get(&format!("/api/v1/rollouts/{id}")).await?.expect(200)?;
        ensure!(rollout["reason"] == reason, "{rollout}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(())
}

/// The third cluster has no operation, and nothing is where its objects were to be.
async fn untouched(rig: &Rig, rollout: &Value, place: &str) -> Result<()> {
    let third = &rollout["waves"][2]["clusters"][0];
    ensure!(third["cluster_name"] == CLUSTERS[2] && third["operation_id"].is_null(), "{rollout}");
    let all: Api<Deployment> = Api::namespaced(client(&rig.kubeconfig).await?, place);
    ensure!(all.list(&ListParams::default()).await?.items.is_empty(), "something is in {place}");
    Ok(())
}

/// The looks of a rollout: its operations that only asked.
async fn looks(rig: &Rig, id: &str) -> Result<Vec<Value>> {
    let all = rig.api.get(&format!("/api/v1/operations?rollout={id}")).await?.expect(200)?;
    let all = all.as_array().context("no list")?;
    Ok(all.iter().filter(|one| one["dry_run"] == true).cloned().collect())
}

fn end(operation: &Value) -> (String, String) {
    let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
    (text("cluster_name"), text("state"))
}

/// Pods of a namespace crash, or are well again: their status is written as a kubelet would, and the real controllers do the
/// rest. Answers once those have seen it.
async fn set_ready(rig: &Rig, place: &str, ready: bool) -> Result<()> {
    let client = client(&rig.kubeconfig).await?;
    let (pods, all): (Api<Pod>, Api<Deployment>) =
        (Api::namespaced(client.clone(), place), Api::namespaced(client, place));
    let word = if ready { "True" } else { "False" };
    let conditions = ["Ready", "ContainersReady"].map(|kind| json!({ "type": kind, "status": word }));
    let status = Patch::Strategic(json!({ "status": { "conditions": conditions } }));
    for pod in pods.list(&ListParams::default()).await? {
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &status).await.context("a pod's status")?;
    }
    let due = if ready { 2 } else { 0 };
    eventually("its controllers have seen it", LIMIT, || async {
        let available = all.get(NAME).await?.status.and_then(|status| status.available_replicas).unwrap_or(0);
        ensure!(available == due, "{available} replicas are available");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(())
}

fn deployment(place: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": NAME, "namespace": place },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": NAME } },
            "template": {
                "metadata": { "labels": { "app": NAME } },
                "spec": { "containers": [{ "name": NAME, "image": "registry.example/shop:1" }] },
            },
        },
    })
}
