//! Begins a change to many clusters, or says what it would touch.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_contracts::audit::Resource;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{CreateRollout, RolloutCreated, RolloutOverride, RolloutState};
use roadstead_contracts::operation::Work;
use roadstead_contracts::{Code, Error, Result};

use super::create::{key_of, mismatch, no_body};
use super::permit::{changes, require_changes};
use super::{App, load_body, require_somewhere};
use crate::domain::{Body, RolloutDoc, Target, check_plan, needs_body, patched, shown, waves_of};
use crate::limits::{NAME_MAX, ROLLOUT_CLUSTERS};
use crate::store::{Change, Created};

pub(crate) async fn create_rollout(
    app: &App,
    request: CreateRollout,
    change: Change,
    request_id: &str,
) -> Result<RolloutCreated> {
    let principal = request.principal.clone();
    require_somewhere(app, &principal, Action::OperationsWrite)?;
    let fault = |field: &str, message: &str| Err(Error::field(&["body", field], "value_error", message));
    if request.name.is_empty() || request.name.len() > NAME_MAX {
        return fault("name", "name must have 1 to 200 bytes");
    }
    if request.targets.is_empty() {
        return fault("selector", "the selector matches no cluster");
    }
    if request.targets.len() > ROLLOUT_CLUSTERS {
        return fault("selector", "the selector matches more clusters than one rollout takes");
    }
    if matches!(request.work, Work::Exec { .. }) {
        return fault("work", "a command cannot be rolled out");
    }
    if matches!(request.work, Work::Helm { .. }) {
        return fault("work", "a release is changed in one cluster after the other");
    }
    check_plan(&request.plan)?;
    // What was asked for, not what it matches now: a cluster that joins between two tries is no other request.
    let clusters = match &request.clusters_asked {
        Some(asked) => serde_json::json!(asked),
        None => serde_json::json!(request.targets),
    };
    let asked = serde_json::json!([request.name, clusters, request.work, request.body_sha256, request.plan]);
    let key = request.idempotency_key.as_deref().map(|key| key_of(&principal, "rollout", key, &asked)).transpose()?;

    let body = match (needs_body(&request.work), &request.body_sha256) {
        (false, None) => None,
        (false, Some(_)) => return fault("manifests", "this kind of operation takes no manifests"),
        (true, None) => return fault("manifests", "manifests are missing"),
        (true, Some(sha256)) => {
            let length = app.store.body_length(sha256).await?.ok_or_else(no_body)?;
            Some(Body { sha256: sha256.clone(), length })
        }
    };
    let changed = changes(app, &request.work, body.as_ref()).await?;
    let mut targets = Vec::with_capacity(request.targets.len());
    let mut names = BTreeSet::new();
    for target in request.targets {
        if !names.insert(target.cluster_id) {
            return fault("selector", "a cluster is named twice");
        }
        let cluster = app.cluster(&principal, target.cluster_id, request_id).await?;
        // Nothing is begun anywhere that is not allowed everywhere; with a cluster's patches it is judged once more when
        // its turn comes.
        require_changes(app, &principal, &cluster.policy_facts(), &changed)?;
        targets.push(Target::of(target, cluster.owner_id));
    }
    let objects = check_bodies(app, body.as_ref(), &targets, &request.plan.overrides).await?;
    if !request.confirmed {
        return Ok(RolloutCreated::WouldTouch {
            clusters: u32::try_from(targets.len()).unwrap_or(u32::MAX),
            objects,
            destructive: is_destructive(&request.work),
        });
    }
    let state = if request.plan.needs_approval { RolloutState::AwaitingApproval } else { RolloutState::Running };
    let mut doc = RolloutDoc {
        id: app.ids.next(),
        name: request.name,
        state,
        reason: String::new(),
        work: waiting(request.work),
        waves: waves_of(targets, &request.plan.waves),
        plan: request.plan.into(),
        sealed_overrides: None,
        principal: principal.clone(),
        approved_by: None,
        cancelled_by: None,
        body,
        changes: changed,
        current: 0,
        forgiven: 0,
        created_at: change.at,
        updated_at: change.at,
        finished_at: None,
    };
    app.seal_overrides(&mut doc)?;
    let entry = app
        .done(&principal, request_id, "rollout.create", Resource::id("rollout", doc.id), &change)
        .with("name", &doc.name)
        .with("clusters", &names.len().to_string());
    let answer = |doc: &RolloutDoc| RolloutCreated::Rollout(Box::new(shown(doc, &BTreeMap::new())));
    let reply = serde_json::to_value(answer(&doc)).map_err(|_| Error::of(Code::Internal))?;
    let entries = [entry];
    let made = match app.store.create_rollout(&doc, key.as_ref(), &entries, &reply, &change).await {
        // Somebody with the same key was a moment faster.
        Err(roadstead_store::Error::Conflict { .. }) if key.is_some() => {
            app.store.create_rollout(&doc, key.as_ref(), &entries, &reply, &change).await?
        }
        other => other?,
    };
    match made {
        Ok(doc) => {
            app.committed();
            app.rollouts.notify_one();
            Ok(answer(&doc))
        }
        Err(Created::NoBody) => Err(no_body()),
        Err(_) => Err(mismatch()),
    }
}

/// A wave is judged by its operations' endings, so they end when the new generation is ready.
fn waiting(mut work: Work) -> Work {
    match &mut work {
        Work::Apply { wait, dry_run, .. } | Work::Delete { wait, dry_run, .. } => *wait = !*dry_run,
        Work::Scale { wait, .. } | Work::Restart { wait, .. } | Work::Rollback { wait, .. } => *wait = true,
        Work::Exec { .. } | Work::Sync { .. } | Work::Undo { .. } | Work::Helm { .. } => {}
    }
    work
}

fn is_destructive(work: &Work) -> bool {
    matches!(work, Work::Delete { dry_run: false, .. } | Work::Undo { .. } | Work::Apply { prune: Some(_), .. })
}

/// Reads the body with every cluster's patches once, so that a mistake is told now and not in the third wave; answers the
/// number of objects.
async fn check_bodies(
    app: &App,
    body: Option<&Body>,
    targets: &[Target],
    overrides: &[RolloutOverride],
) -> Result<u32> {
    let Some(body) = body else { return Ok(0) };
    let plain = load_body(app, Some(body)).await?;
    let (targets, overrides) = (targets.to_vec(), overrides.to_vec());
    let is_meant = |target: &Target, one: &RolloutOverride| target.is_meant_by(one.cluster.as_deref(), &one.labels);
    let reading = tokio::task::spawn_blocking(move || -> Result<u32> {
        if overrides.is_empty() {
            return Ok(count(&plain));
        }
        let unused = overrides.iter().any(|one| !targets.iter().any(|target| is_meant(target, one)));
        if unused {
            return Err(Error::field(&["body", "plan", "overrides"], "value_error", "an override is for no cluster"));
        }
        let mut seen: Vec<Vec<usize>> = Vec::new();
        for target in &targets {
            let meant: Vec<usize> = (0..overrides.len()).filter(|index| is_meant(target, &overrides[*index])).collect();
            if !meant.is_empty() && !seen.contains(&meant) {
                patched(&plain, &meant.iter().map(|index| &overrides[*index]).collect::<Vec<_>>())?;
                seen.push(meant);
            }
        }
        Ok(count(&plain))
    });
    reading.await.map_err(|_| Error::of(Code::Internal))?
}

/// Documents of a body; what cannot be read is the agent's to refuse.
fn count(body: &[u8]) -> u32 {
    roadstead_manifest::parse(body).map_or(0, |documents| u32::try_from(documents.len()).unwrap_or(u32::MAX))
}
