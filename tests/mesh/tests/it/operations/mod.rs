//! Changes to a real cluster as operations, from manifests to undo, on both layouts.

mod alarm;
mod campaign;
mod cluster;
mod drift;
mod fleet;
mod looks;
mod material;
mod rig;
mod watching;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{Layout, READY_LIMIT, TestMesh, Tuning};
use serde_json::json;

use crate::tell;

use self::rig::{CLUSTER, END_LIMIT, Rig, config_map, config_maps, namespace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn changes_through_one_process() {
    conformance(Layout::OneProcess).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn changes_through_a_mesh() {
    conformance(Layout::Mesh).await.unwrap();
}

async fn conformance(layout: Layout) -> Result<()> {
    let _alone = crate::alone().await;
    let mesh = TestMesh::start(layout, Tuning::default().without_quotas()).await?;
    let mut rig = Rig::start(mesh).await?;
    macro_rules! scenario {
        ($name:literal, $future:expr) => {{
            let began = std::time::Instant::now();
            $future.await.context($name)?;
            tell(format_args!("{layout:?}: {} in {:?}", $name, began.elapsed()))?;
        }};
    }
    scenario!("apply, re-apply, undo", apply_and_undo(&rig));
    if layout == Layout::OneProcess {
        scenario!("manifests of others", material::well_known(&rig));
    }
    scenario!("preview", preview(&rig));
    scenario!("a conflict names its owner", conflict(&rig));
    scenario!("retry of what failed", retry(&rig));
    scenario!("one key, one operation", idempotency(&rig));
    scenario!("progress", watching::progress(&rig));
    scenario!("the command line", watching::command_line(&rig));
    scenario!("the client of the seed", watching::python(&rig));
    scenario!("a fleet joins", fleet::begin(&mut rig));
    scenario!("a rollout halts", fleet::rollout_halts(&rig));
    scenario!("a rollout looks again", looks::all_pass(&rig));
    scenario!("a look finds what broke during the bake", looks::one_breaks(&rig));
    fleet::end(&rig)?;
    scenario!("work waits for its cluster", offline(&mut rig));
    scenario!("drift is noticed", drift::noticed(&mut rig));
    scenario!("an agent dies in the middle", agent_dies(&mut rig));
    scenario!("cancel of running work", cancel(&rig));
    if layout == Layout::Mesh {
        scenario!("the operations service dies", operations_dies(&mut rig));
        scenario!("the broker's disk is full", alarm::full_broker(&mut rig));
    }
    rig.end().await
}

/// Apply makes everything, in an order that works; again it changes nothing; undo leaves the cluster as it was.
async fn apply_and_undo(rig: &Rig) -> Result<()> {
    let place = rig.place("apply");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "shop", "namespace": place },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "shop" } },
            "template": {
                "metadata": { "labels": { "app": "shop" } },
                "spec": { "containers": [{ "name": "shop", "image": "registry.example/shop:1" }] },
            },
        },
    });
    // The namespace comes last in the file and must be made first.
    let text = format!("{}---\n{}\n---\n{}", config_map(&place, "settings", "1"), deployment, namespace(&place));
    let first = rig.apply("?wait=true", &text).await?;
    let done = rig.ended(&first, "succeeded").await?;
    ensure!(done["status"] == "success" && done["counts"]["created"] == 3, "{done}");
    ensure!(done["undoable"] == true && done["created_by"] == "owner", "{done}");
    let steps = rig.steps(&first).await?;
    let numbers: Vec<i64> = steps.iter().filter_map(|step| step["number"].as_i64()).collect();
    ensure!(numbers == (1..=i64::try_from(steps.len())?).collect::<Vec<_>>(), "gaps in {numbers:?}");
    let states: Vec<&str> = steps.iter().filter_map(|step| step["state"].as_str()).collect();
    ensure!(states.first() == Some(&"queued") && states.last() == Some(&"succeeded"), "{states:?}");
    let manager = cluster::managers(rig, &place, "settings").await?;
    ensure!(manager == ["roadstead"], "applied by {manager:?}");

    let again = rig.apply("", &text).await?;
    let done = rig.ended(&again, "succeeded").await?;
    ensure!(done["counts"]["unchanged"] == 3 && done["counts"]["configured"] == 0, "{done}");
    let changed = rig.apply("", &text.replace("value: \"1\"", "value: \"2\"")).await?;
    let done = rig.ended(&changed, "succeeded").await?;
    ensure!(done["counts"]["configured"] == 1 && done["counts"]["unchanged"] == 2, "{done}");

    // Undone one after the other, last first: the value, then everything.
    let undo = rig.follow_up(&changed, "undo").await?;
    rig.ended(&undo, "succeeded").await?;
    ensure!(cluster::value(rig, &place, "settings").await?.as_deref() == Some("1"));
    let undo = rig.follow_up(&first, "undo").await?;
    rig.ended(&undo, "succeeded").await?;
    cluster::gone(rig, &place).await
}

/// A dry run answers at once with what would change, and changes nothing.
async fn preview(rig: &Rig) -> Result<()> {
    let place = rig.made_place("preview").await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "door", "namespace": place },
        "stringData": { "password": "hunter2-canary" },
    });
    rig.applied(&config_map(&place, "settings", "1")).await?;
    let text = format!("{}---\n{secret}\n", config_map(&place, "settings", "2"));
    let path = format!("/api/v1/clusters/{CLUSTER}/manifests?dry_run=server");
    let answer = rig.api.post_as(&path, "application/yaml", text).await?;
    let body = answer.expect(200)?;
    ensure!(body["state"] == "succeeded" && body["dry_run"] == true, "{body}");
    let objects = body["objects"].as_array().context("no objects")?;
    let of = |name: &str| objects.iter().find(|object| object["key"]["name"] == name).cloned().unwrap_or_default();
    let diff = of("settings")["diff"].as_str().unwrap_or_default().to_owned();
    ensure!(diff.contains('-') && diff.contains('+') && !diff.contains("managedFields"), "{diff}");
    ensure!(of("settings")["outcome"] == "configured" && of("door")["outcome"] == "created", "{body}");
    ensure!(!body.to_string().contains("hunter2-canary"), "a secret is shown");
    ensure!(cluster::value(rig, &place, "settings").await?.as_deref() == Some("1"), "it was changed");
    Ok(())
}

/// Somebody else's field is left, and its owner named; with force it is taken over.
async fn conflict(rig: &Rig) -> Result<()> {
    let place = rig.made_place("conflict").await?;
    cluster::apply_as(rig, "helm", &place, "settings", "theirs").await?;
    let text = config_map(&place, "settings", "ours");
    let first = rig.apply("", &text).await?;
    let failed = rig.ended(&first, "failed").await?;
    ensure!(failed["status"] == "failed" && failed["counts"]["failed"] == 1, "{failed}");
    let steps = rig.steps(&first).await?;
    let object = steps.iter().find(|step| step["type"] == "object").context("no object")?;
    ensure!(object["error"]["code"] == "apply_conflict" && object["error"].to_string().contains("helm"), "{object}");
    ensure!(cluster::value(rig, &place, "settings").await?.as_deref() == Some("theirs"));
    let forced = rig.apply("?force=true", &text).await?;
    rig.ended(&forced, "succeeded").await?;
    ensure!(cluster::value(rig, &place, "settings").await?.as_deref() == Some("ours"));
    Ok(())
}

/// What failed is done once more, and nothing else.
async fn retry(rig: &Rig) -> Result<()> {
    let (place, later) = (rig.made_place("retry").await?, rig.place("retry-later"));
    let text = format!("{}---\n{}", config_map(&place, "good", "1"), config_map(&later, "bad", "1"));
    let first = rig.apply("", &text).await?;
    let failed = rig.ended(&first, "failed").await?;
    ensure!(failed["counts"]["created"] == 1 && failed["counts"]["failed"] == 1, "{failed}");
    rig.applied(&namespace(&later)).await?;
    let again = rig.follow_up(&first, "retry").await?;
    let done = rig.ended(&again, "succeeded").await?;
    ensure!(done["origin_id"] == first.as_str(), "{done}");
    ensure!(done["counts"]["created"] == 1 && done["counts"]["unchanged"] == 0, "{done}");
    Ok(())
}

/// Row R14: fifty at once with one key are one operation; another body with that key is refused.
async fn idempotency(rig: &Rig) -> Result<()> {
    let place = rig.made_place("idempotency").await?;
    let path = format!("/api/v1/clusters/{CLUSTER}/manifests");
    let text = config_map(&place, "once", "1");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let api = rig.mesh.owner(number % rig.mesh.doors.len())?.header("idempotency-key", &place);
        let (path, text) = (path.clone(), text.clone());
        tasks.spawn(async move { api.post_as(&path, "application/yaml", text).await?.expect(202) });
    }
    let mut ids = std::collections::BTreeSet::new();
    while let Some(answer) = tasks.join_next().await {
        ids.insert(answer??["operation_id"].to_string());
    }
    ensure!(ids.len() == 1, "{} operations of one key", ids.len());
    let api = rig.api.header("idempotency-key", &place);
    let other = api.post_as(&path, "application/yaml", config_map(&place, "once", "2")).await?;
    ensure!(other.status == 422 && other.code() == "idempotency_mismatch", "{other:?}");
    Ok(())
}

/// What is asked of a cluster that is away is done when it is back; what is cancelled meanwhile is not.
async fn offline(rig: &mut Rig) -> Result<()> {
    let place = rig.made_place("offline").await?;
    rig.mesh.kill(&format!("agent-{CLUSTER}"))?;
    rig.mesh.status(CLUSTER, "disconnected", Duration::from_secs(25)).await?;
    let kept = rig.apply("", &config_map(&place, "kept", "1")).await?;
    let dropped = rig.apply("", &config_map(&place, "dropped", "1")).await?;
    ensure!(rig.operation(&kept).await?["state"] == "queued");
    let cancelled = rig.api.post(&format!("/api/v1/operations/{dropped}/cancel"), &json!({})).await?.expect(200)?;
    ensure!(cancelled["status"] == "cancelled", "{cancelled}");
    rig.mesh.restart_agent(CLUSTER)?;
    rig.ended(&kept, "succeeded").await?;
    ensure!(rig.operation(&dropped).await?["state"] == "cancelled");
    ensure!(cluster::value(rig, &place, "dropped").await?.is_none(), "cancelled work was done");
    let twice = rig.api.post(&format!("/api/v1/operations/{kept}/cancel"), &json!({})).await?;
    ensure!(twice.status == 409 && twice.code() == "operation_terminal", "{twice:?}");
    Ok(())
}

/// Row F09: the agent is killed in the middle of twenty objects, and goes on after the last that it wrote down.
async fn agent_dies(rig: &mut Rig) -> Result<()> {
    const OBJECTS: usize = 20;
    for kill_after in [1, 10] {
        let place = rig.made_place(&format!("agent-dies-{kill_after}")).await?;
        let log = cluster::Log::begin(rig, &place).await?;
        let names: Vec<String> = (0..OBJECTS).map(|number| format!("map-{number:02}")).collect();
        let id = rig.apply("", &config_maps(&place, &names)).await?;
        rig.objects(&id, kill_after).await?;
        rig.mesh.kill(&format!("agent-{CLUSTER}"))?;
        rig.mesh.restart_agent(CLUSTER)?;
        let done = rig.ended(&id, "succeeded").await?;
        ensure!(done["counts"]["failed"] == 0 && done["objects"] == OBJECTS, "{done}");
        let steps = rig.steps(&id).await?;
        let told = steps.iter().filter(|step| step["type"] == "object").count();
        ensure!(told == OBJECTS, "{told} objects are told of");
        log.each_once(rig, &id, &names, 1).await?;
    }
    Ok(())
}

/// A cancel reaches the agent between two objects; what was done and what was not adds up.
async fn cancel(rig: &Rig) -> Result<()> {
    const OBJECTS: usize = 300;
    let place = rig.made_place("cancel").await?;
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("map-{number:03}")).collect();
    let id = rig.apply("", &config_maps(&place, &names)).await?;
    rig.objects(&id, 1).await?;
    let asked = rig.api.post(&format!("/api/v1/operations/{id}/cancel"), &json!({ "reason": "enough" })).await?;
    // It may have been faster than the question.
    ensure!(matches!(asked.status, 202 | 409), "{asked:?}");
    let ended = rig.ended_somehow(END_LIMIT, &id).await?;
    let there = cluster::count(rig, &place).await?;
    let counts = &ended["counts"];
    let (created, skipped) = (counts["created"].as_u64().unwrap_or(0), counts["skipped"].as_u64().unwrap_or(0));
    match ended["state"].as_str() {
        Some("cancelled") => {
            ensure!(asked.status == 202 && created + skipped == OBJECTS as u64 && skipped > 0, "{ended}");
        }
        Some("succeeded") => ensure!(created == OBJECTS as u64, "{ended}"),
        _ => anyhow::bail!("{ended}"),
    }
    ensure!(there as u64 == created, "{there} objects are there, {created} are told of");
    // What was applied can be put back.
    let undo = rig.follow_up(&id, "undo").await?;
    rig.ended(&undo, "succeeded").await?;
    ensure!(cluster::count(rig, &place).await? == 0);
    Ok(())
}

/// The operations service is killed while its work runs; the work goes on and its end is told.
async fn operations_dies(rig: &mut Rig) -> Result<()> {
    const OBJECTS: usize = 60;
    let place = rig.made_place("operations-dies").await?;
    let log = cluster::Log::begin(rig, &place).await?;
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("map-{number:02}")).collect();
    let id = rig.apply("", &config_maps(&place, &names)).await?;
    rig.objects(&id, 1).await?;
    rig.mesh.kill("operations")?;
    rig.mesh.start_part("operations")?;
    rig.mesh.ready("operations", READY_LIMIT).await?;
    rig.ended(&id, "succeeded").await?;
    log.each_once(rig, &id, &names, 0).await
}
