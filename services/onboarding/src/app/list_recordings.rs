//! Recorded sessions: an admin's are all of them, anybody else's their own.

use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::message::{ListRecordings, Page, Recording};
use roadstead_contracts::{Code, Error, Result};
use roadstead_store::Window;

use super::{App, require, require_somewhere};
use crate::recording::unseal_facts;
use crate::store::KeptRecording;

pub(crate) async fn list_recordings(app: &App, request: ListRecordings) -> Result<Page<Recording>> {
    let principal = &request.principal;
    require_somewhere(app, principal, Action::ClustersRead)?;
    let window = Window::of(&request.page)?;
    let (kept, total) = app.store.list_recordings(only(app, principal), window).await?;
    let recordings = kept.into_iter().map(|kept| shown(app, kept)).collect::<Result<Vec<_>>>()?;
    Ok(window.page(recordings, total, |recording| recording.seq))
}

/// Whose recordings a caller sees; `None`: everybody's.
fn only(app: &App, principal: &Principal) -> Option<UserId> {
    let all = require(app, principal, Action::SystemRead).is_ok();
    (!all).then_some(principal.user_id)
}

/// A recording that exists for the caller.
pub(super) async fn visible(
    app: &App,
    principal: &Principal,
    request: roadstead_contracts::ids::RecordingId,
) -> Result<KeptRecording> {
    let missing = || Error::not_found("Recording not found");
    let kept = app.store.find_recording(request).await?.ok_or_else(missing)?;
    match only(app, principal) {
        Some(user) if user != kept.user => Err(missing()),
        _ => Ok(kept),
    }
}

fn shown(app: &App, kept: KeptRecording) -> Result<Recording> {
    let session = unseal_facts(&app.sealer, kept.id, &kept.facts).map_err(|_| Error::of(Code::IntegrityError))?;
    Ok(Recording {
        id: kept.id,
        seq: kept.seq,
        session,
        request_id: kept.request_id,
        started_at: kept.started_at,
        ended_at: kept.ended_at,
        bytes: kept.bytes,
    })
}
