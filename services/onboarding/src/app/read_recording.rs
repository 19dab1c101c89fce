//! A part of a recording.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{ReadRecording, RecordingPart};
use roadstead_contracts::{Error, Result};

use super::list_recordings::visible;
use super::{App, require_somewhere};
use crate::recording::unseal_lines;

pub(crate) async fn read_recording(app: &App, request: ReadRecording) -> Result<RecordingPart> {
    require_somewhere(app, &request.principal, Action::ClustersRead)?;
    let kept = visible(app, &request.principal, request.id).await?;
    let part = app.store.recording_part(kept.id, request.part).await?;
    let (sealed, more) = part.ok_or_else(|| Error::not_found("Recording not found"))?;
    let lines = unseal_lines(&app.sealer, kept.id, request.part, &sealed)?;
    Ok(RecordingPart { lines, next: more.then_some(request.part + 1) })
}
