//! One change to three clusters in three waves; the second is broken. Looks after a bake are in `looks.rs`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::JOIN_LIMIT;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

use super::cluster;
use super::rig::{CLUSTER, Rig, config_map};

/// The clusters of a rollout, in its order. Their agents share one API server.
pub const CLUSTERS: [&str; 3] = [CLUSTER, "reef", "shoal"];
/// The waves go by themselves; each takes an operation's time, and, where it bakes, that of its bake and its look.
const LIMIT: Duration = Duration::from_secs(120);

/// Starts the agents of all but the first, which is there.
pub async fn begin(rig: &mut Rig) -> Result<()> {
    for name in &CLUSTERS[1..] {
        rig.mesh.start_agent(name, None).await?;
        rig.mesh.status(name, "connected", JOIN_LIMIT).await?;
    }
    Ok(())
}

/// Ends them.
pub fn end(rig: &Rig) -> Result<()> {
    CLUSTERS[1..].iter().try_for_each(|name| rig.mesh.kill(&format!("agent-{name}")))
}

/// The first cluster gets it, the second fails, the third is never touched; mended, the rest is done.
pub async fn rollout_halts(rig: &Rig) -> Result<()> {
    let place = rig.made_place("rollout").await?;
    let object = json!({ "api_version": "v1", "kind": "ConfigMap", "namespace": place, "name": "shop" });
    // The three agents share a cluster here: each gets an object of its own. The second's is no object that can be.
    let named = |cluster: &str, name: &str| {
        json!({
            "cluster": cluster, "object": object, "patch": { "metadata": { "name": name } },
        })
    };
    let body = json!({
        "name": "shop", "clusters": CLUSTERS, "kind": "apply", "manifests": config_map(&place, "shop", "1"),
        "plan": {
            "waves": [33, 33, 34], "failure_budget": 0,
            "overrides": [named(CLUSTER, "on-quay"), named("reef", "Not A Name"), named("shoal", "on-shoal")],
        },
    });
    let would = rig.api.post("/api/v1/rollouts", &body).await?.expect(200)?;
    ensure!(would["confirmed"] == false && would["clusters"] == 3 && would["destructive"] == false, "{would}");
    ensure!(cluster::count(rig, &place).await? == 0, "it was begun");
    let mut confirmed = body.clone();
    confirmed["confirmed"] = json!(true);
    let made = rig.api.post("/api/v1/rollouts", &confirmed).await?.expect(201)?;
    let id = made["id"].as_str().context("no id")?.to_owned();
    let halted = until(rig, &id, &["halted"]).await?;
    let counts = &halted["clusters"];
    ensure!(counts["succeeded"] == 1 && counts["failed"] == 1 && counts["untouched"] == 1, "{halted}");
    let third = &halted["waves"][2]["clusters"][0];
    ensure!(third["cluster_name"] == "shoal" && third["operation_id"].is_null(), "{halted}");
    ensure!(cluster::value(rig, &place, "on-quay").await?.is_some());
    ensure!(cluster::value(rig, &place, "on-shoal").await?.is_none(), "the third was touched");

    let given_up = rig.api.post(&format!("/api/v1/rollouts/{id}/cancel"), &json!({})).await?.expect(200)?;
    ensure!(given_up["state"] == "cancelled", "{given_up}");
    let mut good = confirmed;
    good["plan"]["overrides"][1] = named("reef", "on-reef");
    let made = rig.api.post("/api/v1/rollouts", &good).await?.expect(201)?;
    let done = until(rig, made["id"].as_str().context("no id")?, &["succeeded", "halted", "failed"]).await?;
    ensure!(done["state"] == "succeeded" && done["clusters"]["succeeded"] == 3, "{done}");
    for name in ["on-quay", "on-reef", "on-shoal"] {
        ensure!(cluster::value(rig, &place, name).await?.is_some(), "{name} is missing");
    }
    Ok(())
}

/// Waits until it is in one of these states.
pub async fn until(rig: &Rig, id: &str, states: &[&str]) -> Result<Value> {
    let (rollout, _) = eventually(&format!("the rollout is {states:?}"), LIMIT, || async {
        let rollout = rig.api.get(&format!("/api/v1/rollouts/{id}")).await?.expect(200)?;
        ensure!(rollout["state"].as_str().is_some_and(|state| states.contains(&state)), "{rollout}");
        Ok::<_, anyhow::Error>(rollout)
    })
    .await?;
    Ok(rollout)
}
