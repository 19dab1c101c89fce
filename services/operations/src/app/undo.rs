//! Puts back what an operation changed, as a new operation: its body are the recorded earlier states, last object first.

use bytes::Bytes;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Operation, UndoOperation};
use roadstead_contracts::operation::{BODY_MAX, Restore, Work};
use roadstead_contracts::{Code, Error, Result};
use roadstead_seal::Sealed;
use serde_json::json;

use super::create::key_of;
use super::retry::again;
use super::{App, Draft, require_of, stage_body};
use crate::domain::Record;
use crate::store::{Change, StoredObject};

pub(crate) async fn undo_operation(
    app: &App,
    request: UndoOperation,
    change: Change,
    request_id: &str,
) -> Result<Operation> {
    let record = app.visible(&request.principal, request.id).await?;
    require_of(app, &request.principal, Action::OperationsWrite, &record)?;
    let key = request.idempotency_key.as_deref().map(|key| {
        let asked = json!(["undo", request.id, request.force]);
        key_of(&request.principal, "operation", key, &asked)
    });
    if !record.state().is_terminal() {
        return Err(Error::new(Code::Conflict, "the operation has not ended; cancel it first"));
    }
    let objects = app.store.objects(request.id, record.doc.shown.epoch).await?;
    let mut body = Vec::new();
    for object in objects.iter().rev().filter(|object| object.undoable) {
        let restore = Restore {
            key: object.key.clone(),
            before: before(app, &record, object).await?,
            left_version: object.left_version.clone(),
        };
        serde_json::to_writer(&mut body, &restore).map_err(|_| Error::of(Code::Internal))?;
        body.push(b'\n');
        if body.len() > BODY_MAX {
            let message = "the earlier states are larger than one operation takes";
            return Err(Error::new(Code::PayloadTooLarge, message));
        }
    }
    if body.is_empty() {
        return Err(Error::new(Code::Conflict, "the operation changed nothing that can be put back"));
    }
    let sha256 = stage_body(app, Bytes::from(body)).await?;
    let draft = Draft {
        work: Work::Undo { force: request.force },
        description: format!("undo of {}", request.id),
        webhook_url: app.webhook_of(&record)?,
        ..again(&record, request.id)
    };
    let draft = app.checked(draft, &request.principal, Some(&sha256), request_id).await?;
    app.make(draft, &request.principal, key.transpose()?, change, request_id).await
}

/// The earlier state of an object; `None` when it did not exist.
async fn before(app: &App, record: &Record, object: &StoredObject) -> Result<Option<serde_json::Value>> {
    if !object.existed {
        return Ok(None);
    }
    let (id, epoch) = (record.doc.shown.id, record.doc.shown.epoch);
    let parts = app.store.before(id, epoch, object.position).await?;
    let mut text = Vec::new();
    for (part, sealed) in parts.iter().enumerate() {
        let row = before_row(id, epoch, object.position, part);
        let sealed = Sealed::parse(sealed)?;
        text.extend_from_slice(&app.sealer.unseal("object_parts", "sealed_before", row, &sealed)?);
    }
    serde_json::from_slice(&text).map(Some).map_err(|_| Error::of(Code::IntegrityError))
}

/// What a part of an earlier state is bound to.
pub(crate) fn before_row(
    operation: roadstead_contracts::ids::OperationId,
    epoch: i64,
    position: u32,
    part: usize,
) -> String {
    format!("{operation}/{epoch}/{position}/{part}")
}
