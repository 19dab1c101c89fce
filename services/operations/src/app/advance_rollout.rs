//! Takes rollouts on: begins clusters, looks at them once more, halts, finishes; cancels what a cancelled one left. A rollout
//! and the operations that it begins are stored together.

use std::collections::BTreeMap;
use std::sync::Arc;

use roadstead_contracts::Result;
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::audit::{Actor, AuditRecord, Origin, Outcome};
use roadstead_contracts::ids::{ClusterId, OperationId, RolloutId};
use roadstead_contracts::message::RolloutState;
use roadstead_contracts::names::Labels;
use roadstead_contracts::operation::{OperationState, Work};
use tokio::time::sleep;

use super::cancel::ask_to_stop;
use super::permit::changes;
use super::{App, Draft, load_body, stage_body};
use crate::domain::life_cycle::Next;
use crate::domain::{
    Body, KnownOperations, LOOK_SECONDS, Progress, RolloutDoc, Target, advance, look_work, open, patched,
};
use crate::limits::{POLL, ROLLOUT_LOOK, ROLLOUT_WAIT, STORE_RETRY};
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

/// What is needed to make a cluster's operation.
type Prepared = (Option<Body>, Vec<RequestKind>);

/// Takes one on. What it would begin is prepared first, outside the lock; what changed meanwhile waits for the next look.
async fn advance_one(app: &App, id: RolloutId) -> Result<()> {
    let Some((mut doc, known)) = app.store.find_rollout(id).await? else { return Ok(()) };
    let known: KnownOperations = known.into_iter().collect();
    if doc.state == RolloutState::Cancelled {
        return stop_what_is_open(app, &doc, &known).await;
    }
    let change = app.own_change();
    let progress = advance(&mut doc, &known, change.at);
    let mut prepared: BTreeMap<ClusterId, Prepared> = BTreeMap::new();
    let mut broken = false;
    let work = [(&progress.begin, Some(doc.work.clone())), (&progress.looks, look_work(&doc.work))];
    for (places, work) in work {
        for (wave, place) in places {
            let (Some(target), Some(work)) = (target_at(&doc, *wave, *place), &work) else { continue };
            match prepare(app, &doc, target, work).await {
                Ok(made) => drop(prepared.insert(target.cluster_id, made)),
                Err(error) => {
                    tracing::warn!(rollout_id = %id, "the manifests of a cluster were not made: {error}");
                    broken = true;
                }
            }
        }
    }
    let mut begun = false;
    app.store
        .change_rollout(id, &change, &mut |doc, known| {
            let known = known.iter().copied().collect();
            if doc.state == RolloutState::Cancelled {
                // Since it was read: the look at it is due.
                return RolloutEffects::default();
            }
            let mut progress = advance(doc, &known, change.at);
            if broken && doc.state == RolloutState::Running {
                // Not tried for ever: a person looks at it.
                doc.state = RolloutState::Halted;
                "the manifests of a cluster cannot be made".clone_into(&mut doc.reason);
                progress = Progress::default();
            }
            let mut effects = RolloutEffects { touched: true, next_at: progress.look_at, ..RolloutEffects::default() };
            let begin = progress.begin.into_iter().map(|place| (place, false));
            let looks = progress.looks.into_iter().map(|place| (place, true));
            for ((wave, place), look) in begin.chain(looks) {
                let Some(target) = target_at(doc, wave, place) else { continue };
                let Some(prepared) = prepared.get(&target.cluster_id) else { continue };
                let draft = if look { look_draft(doc, target, prepared) } else { Some(draft(doc, target, prepared)) };
                let Some(draft) = draft else { continue };
                let record = match app.record(draft, &doc.principal, &change, &doc.id.to_string()) {
                    Ok(record) => record,
                    Err(error) => {
                        tracing::warn!(rollout_id = %id, "a cluster was not begun: {error}");
                        continue;
                    }
                };
                if let Some(target) = doc.waves.get_mut(wave).and_then(|wave| wave.targets.get_mut(place)) {
                    if look {
                        target.look_id = Some(record.doc.shown.id);
                    } else {
                        target.operation_id = Some(record.doc.shown.id);
                        target.body.clone_from(&prepared.0);
                    }
                }
                effects.create.push(NewOperation { record, key: None, audit: Vec::new() });
                begun = true;
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

fn target_at(doc: &RolloutDoc, wave: usize, place: usize) -> Option<&Target> {
    doc.waves.get(wave)?.targets.get(place)
}

/// A look is at the very body that was applied.
async fn prepare(app: &App, doc: &RolloutDoc, target: &Target, work: &Work) -> Result<Prepared> {
    let body = if target.operation_id.is_some() { target.body.clone() } else { body_of(app, doc, target).await? };
    let changes = changes(app, work, body.as_ref()).await?;
    Ok((body, changes))
}

/// Cancels what is open of a cancelled rollout, and comes again until nothing is: a process may end between the two.
async fn stop_what_is_open(app: &App, doc: &RolloutDoc, known: &KnownOperations) -> Result<()> {
    let mut asked = true;
    for (id, state) in open(known) {
        if matches!(state, OperationState::CancelRequested | OperationState::Cancelling) {
            continue;
        }
        if let Err(error) = stop_one(app, doc, id).await {
            tracing::warn!(operation_id = %id, "an operation of a cancelled rollout was not cancelled: {error}");
            asked = false;
        }
    }
    let change = app.own_change();
    // Those that were asked end in their own time.
    let again = change.at + if asked { ROLLOUT_WAIT } else { ROLLOUT_LOOK };
    app.store
        .change_rollout(doc.id, &change, &mut |_, known| {
            let is_open = known.iter().any(|(_, known)| !known.state.is_terminal());
            RolloutEffects { touched: true, next_at: is_open.then_some(again), ..RolloutEffects::default() }
        })
        .await?;
    Ok(())
}

async fn stop_one(app: &App, doc: &RolloutDoc, id: OperationId) -> Result<()> {
    let change = app.own_change();
    // Cancelled by a process of before, which did not write down who asked.
    let actor = doc.cancelled_by.clone().unwrap_or_else(|| Actor::of(&doc.principal));
    let why = format!("its rollout was cancelled: {}", doc.name);
    let mut ended = false;
    let changed = app
        .store
        .change(id, &[], &change, &mut |record, _| {
            let (origin, done) = (Origin::request(&doc.id.to_string()), Outcome::succeeded());
            let entry = |resource| {
                let id = app.ids.next();
                AuditRecord::outcome(id, change.at, origin, actor.clone(), "operation.cancel", resource, done)
            };
            let (next, effects) = ask_to_stop(app, record, &why, entry, &change);
            ended = matches!(next, Next::To(state, _) if state.is_terminal());
            effects
        })
        .await?;
    app.committed();
    app.running.cancel(id);
    app.work.notify_one();
    if let Some(record) = changed.filter(|_| ended) {
        app.ended(&record);
    }
    Ok(())
}

fn draft(doc: &RolloutDoc, target: &Target, (body, changes): &Prepared) -> Draft {
    Draft {
        cluster_id: target.cluster_id,
        cluster_name: target.cluster_name.clone(),
        cluster_owner: target.owner,
        cluster: Some(target.facts()),
        changes: changes.clone(),
        work: doc.work.clone(),
        body: body.clone(),
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

/// The look at whether what a cluster got is ready still.
fn look_draft(doc: &RolloutDoc, target: &Target, prepared: &Prepared) -> Option<Draft> {
    Some(Draft {
        work: look_work(&doc.work)?,
        description: format!("{} (looked at once more after the bake)", doc.name),
        deadline_seconds: Some(LOOK_SECONDS),
        ..draft(doc, target, prepared)
    })
}

/// The body for one cluster: staged now, so that it lies there for a moment only before its operation names it.
async fn body_of(app: &App, doc: &RolloutDoc, target: &Target) -> Result<Option<Body>> {
    let Some(body) = &doc.body else { return Ok(None) };
    let is_meant = |name: Option<&str>, labels: &Labels| target.is_meant_by(name, labels);
    if !doc.plan.overrides.iter().any(|one| is_meant(one.cluster.as_deref(), &one.labels)) {
        return Ok(Some(body.clone()));
    }
    let mut patches = app.overrides_of(doc)?;
    patches.retain(|one| is_meant(one.cluster.as_deref(), &one.labels));
    let plain = load_body(app, Some(body)).await?;
    let merged = tokio::task::spawn_blocking(move || patched(&plain, &patches.iter().collect::<Vec<_>>()));
    let merged = merged.await.map_err(|_| roadstead_contracts::Code::Internal)??;
    let length = merged.len() as u64;
    Ok(Some(Body { sha256: stage_body(app, merged.into()).await?, length }))
}
