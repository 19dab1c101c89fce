//! A person's command to a rollout.

use roadstead_contracts::Result;
use roadstead_contracts::audit::Resource;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{ChangeRollout, Rollout, RolloutCommand};

use super::App;
use super::get::{no_rollout, require_of_rollout, sees};
use crate::domain::{KnownOperations, command, shown};
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
    let mut answer: Result<Rollout> = Err(no_rollout());
    app.store
        .change_rollout(request.id, &change, &mut |doc, known| {
            let known: KnownOperations = known.iter().copied().collect();
            let mut effects = RolloutEffects::default();
            match command(doc, request.command, principal, &known, change.at) {
                Ok(()) => {
                    effects.touched = true;
                    // Of a cancelled one too: what is open of it is cancelled by the look, which comes whatever becomes of
                    // this process.
                    effects.next_at = Some(change.at);
                    let word = serde_json::to_value(request.command).ok();
                    let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned();
                    let resource = Resource::id("rollout", doc.id);
                    let entry = app.done(principal, request_id, "rollout.change", resource, &change);
                    effects.audit.push(entry.with("command", &word));
                    let shown = shown(doc, &known);
                    effects.reply = serde_json::to_value(&shown).ok();
                    answer = Ok(shown);
                }
                Err(error) => answer = Err(error),
            }
            effects
        })
        .await?;
    let shown = answer?;
    app.committed();
    app.rollouts.notify_one();
    Ok(shown)
}
