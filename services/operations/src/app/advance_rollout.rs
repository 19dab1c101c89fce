//! Takes rollouts on: begins clusters, halts, finishes. A rollout and the operations that it begins are stored together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roadstead_contracts::Result;
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::ids::{ClusterId, OperationId, RolloutId};
use roadstead_contracts::message::{RolloutOverride, RolloutState};
use roadstead_contracts::operation::OperationState;
use tokio::time::sleep;

use super::permit::changes;
use super::{App, Draft, load_body, stage_body};
use crate::domain::{Body, Progress, RolloutDoc, Target, advance, patched};
use crate::limits::{POLL, ROLLOUT_LOOK, STORE_RETRY};
use crate::store::{NewOperation, RolloutEffects};

/// Looks after rollouts until the process stops. Several processes may: a rollout changes under its row's lock.
pub(crate) async fn run_rollouts(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    let mut woken = false;
    loop {
        let pause = match advance_due(&app, woken).await {
            Ok(()) => POLL,
            Err(error) => {
                tracing::warn!("rollouts were not looked at: {error}");
                STORE_RETRY
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = app.rollouts.notified() => woken = true,
            () = sleep(pause) => woken = false,
        }
    }
}

/// One of the running ones may be able to go on when an operation has ended: those are looked at before their time.
async fn advance_due(app: &App, woken: bool) -> Result<()> {
    let before = if woken { app.clock.now() + ROLLOUT_LOOK } else { app.clock.now() };
    for id in app.store.due_rollouts(before).await? {
        if let Err(error) = advance_one(app, id).await {
            tracing::warn!(rollout_id = %id, "a rollout was not taken on: {error}");
        }
    }
    Ok(())
}

/// Takes one on. What it would begin is prepared first, outside the lock; what changed meanwhile waits for the next look.
async fn advance_one(app: &App, id: RolloutId) -> Result<()> {
    let Some((mut doc, states)) = app.store.find_rollout(id).await? else { return Ok(()) };
    let states: BTreeMap<OperationId, OperationState> = states.into_iter().collect();
    let change = app.own_change();
    let begin = advance(&mut doc, &states, change.at).begin;
    let mut bodies: BTreeMap<ClusterId, (Option<Body>, Vec<RequestKind>)> = BTreeMap::new();
    let mut broken: BTreeSet<ClusterId> = BTreeSet::new();
    for (wave, place) in &begin {
        let target = &doc.waves[*wave].targets[*place];
        let prepared = async {
            let body = body_of(app, &doc, target).await?;
            let changes = changes(app, &doc.work, body.as_ref()).await?;
            Ok::<_, roadstead_contracts::Error>((body, changes))
        };
        match prepared.await {
            Ok(prepared) => {
                bodies.insert(target.cluster_id, prepared);
            }
            Err(error) => {
                tracing::warn!(rollout_id = %id, "the manifests of a cluster were not made: {error}");
                broken.insert(target.cluster_id);
            }
        }
    }
    let mut begun = false;
    app.store
        .change_rollout(id, &change, &mut |doc, states| {
            let states = states.iter().copied().collect();
            let mut progress = advance(doc, &states, change.at);
            if !broken.is_empty() && doc.state == RolloutState::Running {
                // Not tried for ever: a person looks at it.
                doc.state = RolloutState::Halted;
                "the manifests of a cluster cannot be made".clone_into(&mut doc.reason);
                progress = Progress::default();
            }
            let mut effects = RolloutEffects { touched: true, next_at: progress.look_at, ..RolloutEffects::default() };
            for (wave, place) in progress.begin {
                let target = &doc.waves[wave].targets[place];
                let Some((body, changes)) = bodies.get(&target.cluster_id) else { continue };
                match app.record(
                    draft(doc, target, body.clone(), changes.clone()),
                    &doc.principal,
                    &change,
                    &doc.id.to_string(),
                ) {
                    Ok(record) => {
                        let target = &mut doc.waves[wave].targets[place];
                        target.operation_id = Some(record.doc.shown.id);
                        target.body.clone_from(body);
                        effects.create.push(NewOperation { record, key: None, audit: Vec::new() });
                        begun = true;
                    }
                    Err(error) => tracing::warn!(rollout_id = %id, "a cluster was not begun: {error}"),
                }
            }
            effects
        })
        .await?;
    app.committed();
    if begun {
        app.work.notify_one();
    }
    Ok(())
}

fn draft(doc: &RolloutDoc, target: &Target, body: Option<Body>, changes: Vec<RequestKind>) -> Draft {
    Draft {
        cluster_id: target.cluster_id,
        cluster_name: target.cluster_name.clone(),
        cluster_owner: target.owner,
        cluster: Some(target.facts()),
        changes,
        work: doc.work.clone(),
        body,
        only: None,
        source: "rollout".to_owned(),
        description: doc.name.clone(),
        priority: None,
        deadline_seconds: doc.plan.cluster_deadline_seconds,
        webhook_url: None,
        rollout_id: Some(doc.id),
        origin_id: None,
    }
}

/// The body for one cluster: staged now, so that it lies there for a moment only before its operation names it.
async fn body_of(app: &App, doc: &RolloutDoc, target: &Target) -> Result<Option<Body>> {
    let Some(body) = &doc.body else { return Ok(None) };
    let patches: Vec<RolloutOverride> =
        doc.plan.overrides.iter().filter(|patch| target.is_meant_by(patch)).cloned().collect();
    if patches.is_empty() {
        return Ok(Some(body.clone()));
    }
    let plain = load_body(app, Some(body)).await?;
    let merged = tokio::task::spawn_blocking(move || patched(&plain, &patches.iter().collect::<Vec<_>>()));
    let merged = merged.await.map_err(|_| roadstead_contracts::Code::Internal)??;
    let length = merged.len() as u64;
    Ok(Some(Body { sha256: stage_body(app, merged.into()).await?, length }))
}
