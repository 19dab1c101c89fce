//! Drift: what others change is listed by itself, also what they change while the agent is away, and goes when it is put
//! right.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

use super::cluster;
use super::rig::{CLUSTER, Rig, config_maps};

/// Watched, told and stored within two seconds; deaths and a loaded machine included.
const LIMIT: Duration = Duration::from_secs(45);

/// Waits until these have drifted in a namespace: name, state, manager of the first field.
async fn drifted(rig: &Rig, place: &str, expected: &[(&str, &str, Value)]) -> Result<Value> {
    let what = format!("{} objects have drifted", expected.len());
    let (last, _) = eventually(&what, LIMIT, || async {
        let drift = rig.api.get(&format!("/api/v1/clusters/{CLUSTER}/drift")).await?.expect(200)?;
        let objects = drift["objects"].as_array().context("no objects")?;
        let here: Vec<&Value> = objects.iter().filter(|object| object["key"]["namespace"] == place).collect();
        let same = here.len() == expected.len()
            && expected.iter().all(|(name, state, manager)| {
                here.iter().any(|object| {
                    object["key"]["name"] == *name
                        && object["state"] == *state
                        && object["fields"][0]["manager"] == *manager
                })
            });
        ensure!(same && !drift["reported_at"].is_null(), "{drift}");
        Ok::<_, anyhow::Error>(drift)
    })
    .await?;
    Ok(last)
}

pub async fn noticed(rig: &mut Rig) -> Result<()> {
    let place = rig.made_place("drift").await?;
    let names: Vec<String> = ["kept", "edited", "removed"].map(str::to_owned).into();
    let id = rig.applied(&config_maps(&place, &names)).await?;
    let edited = ("edited", "changed", json!("kubectl-edit"));
    cluster::edit_as(rig, "kubectl-edit", &place, "edited", "theirs").await?;
    let drift = drifted(rig, &place, std::slice::from_ref(&edited)).await?;
    let of = |drift: &Value, name: &str| {
        drift["objects"].as_array().into_iter().flatten().find(|object| object["key"]["name"] == name).cloned()
    };
    let object = of(&drift, "edited").context("not listed")?;
    ensure!(object["operation_id"] == id.as_str() && object["fields"][0]["path"] == ".data.value", "{object}");
    ensure!(!drift.to_string().contains("theirs"), "a value is told: {drift}");

    // While the agent is away nothing is noticed; on its return it is.
    rig.mesh.kill(&format!("agent-{CLUSTER}"))?;
    cluster::remove_map(rig, &place, "removed").await?;
    rig.mesh.restart_agent(CLUSTER)?;
    let both = [edited, ("removed", "missing", Value::Null)];
    let later = drifted(rig, &place, &both).await?;
    ensure!(of(&later, "edited").context("not listed")?["since"] == object["since"], "it is older than that: {later}");

    let listed = super::watching::run(rig, &["drift", "ls", CLUSTER]).await?;
    ensure!(listed.code == 0 && listed.out.contains(".data.value (kubectl-edit)"), "{listed:?}");
    ensure!(listed.out.contains("roadstead ops sync") && listed.out.contains(&id), "{listed:?}");
    let synced = super::watching::run(rig, &["ops", "sync", &id, "--wait"]).await?;
    ensure!(synced.code == 0 && synced.out.contains("1 created"), "{synced:?}");
    drifted(rig, &place, &[]).await?;
    ensure!(cluster::value(rig, &place, "edited").await?.as_deref() == Some("1"));
    Ok(())
}
