//! `POST /agent/v1/enrol`.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use roadstead_contracts::agent::Enrol;
use roadstead_contracts::{Code, Error, Result};

use super::Door;
use super::answer::{Answer, json};
use crate::app;
use crate::limits::ENROL_BODY_MAX;

pub(super) async fn post(door: &Door, request: Request<Bytes>) -> Result<Answer> {
    let _place = door.admission.enter(0)?;
    if request.uri().query().is_some() {
        // A token in a URL ends up in logs (reliability row W01).
        return Err(Code::InvalidJoinToken.into());
    }
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Code::UnsupportedMediaType.into());
    }
    if request.body().len() > ENROL_BODY_MAX {
        return Err(Code::PayloadTooLarge.into());
    }
    let enrol: Enrol = serde_json::from_slice(request.body()).map_err(|fault| {
        // The position only: the message may quote what was sent.
        let place = format!("the body is not an enrolment, see line {} column {}", fault.line(), fault.column());
        Error::new(Code::BadJson, place)
    })?;
    let enrolled = app::enrol(&door.app, enrol).await;
    door.app.count_handshake(if enrolled.is_ok() { "enrolled" } else { "enrol_refused" });
    Ok(json(StatusCode::CREATED, &enrolled?))
}
