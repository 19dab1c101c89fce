//! A person's command to a rollout.

use roadstead_contracts::audit::Resource;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{CancelOperation, ChangeRollout, Rollout, RolloutCommand};
use roadstead_contracts::{Error, Result};

use super::get::{no_rollout, require_of_rollout, sees};
use super::{App, cancel_operation};
use crate::domain::{Command, command, shown};
use crate::store::{Change, RolloutEffects};

pub(crate) async fn change_rollout(
    app: &App,
    request: ChangeRollout,
    change: Change,
    request_id: &str,
) -> Result<Rollout> {
    let principal = &request.principal;
    let action =
        if request.command == RolloutCommand::Cancel { Action::OperationsCancel } else { Action::OperationsWrite };
    let found = app.store.find_rollout(request.id).await?;
    let (doc, _) = found.filter(|(doc, _)| sees(principal, doc, change.at)).ok_or_else(no_rollout)?;
    require_of_rollout(app, principal, action, &doc)?;
    let mut answer: Result<(Command, Rollout)> = Err(no_rollout());
    app.store
        .change_rollout(request.id, &change, &mut |doc, states| {
            let states = states.iter().copied().collect();
            let mut effects = RolloutEffects::default();
            match command(doc, request.command, principal.user_id, &states, change.at) {
                Ok(done) => {
                    effects.touched = true;
                    effects.next_at = doc.finished_at.is_none().then_some(change.at);
                    let word = serde_json::to_value(request.command).ok();
                    let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned();
                    let resource = Resource::id("rollout", doc.id);
                    let entry = app.done(principal, request_id, "rollout.change", resource, &change);
                    effects.audit.push(entry.with("command", &word));
                    let shown = shown(doc, &states);
                    effects.reply = serde_json::to_value(&shown).ok();
                    answer = Ok((done, shown));
                }
                Err(error) => answer = Err(error),
            }
            effects
        })
        .await?;
    let (done, shown) = answer?;
    app.committed();
    app.rollouts.notify_one();
    for id in done.cancel {
        let reason = format!("its rollout was cancelled: {}", shown.name);
        let cancel = CancelOperation { principal: principal.clone(), id, reason };
        // One that has just ended needs no cancellation.
        let cancelled: Result<_, Error> = cancel_operation(app, cancel, app.own_change(), request_id).await;
        if let Err(error) = cancelled {
            tracing::debug!(operation_id = %id, "an operation of a rollout was not cancelled: {error}");
        }
    }
    Ok(shown)
}
