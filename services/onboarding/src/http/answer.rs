//! Answers of the agents' door: JSON, and the one error body (RFC 9457).

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use roadstead_contracts::{Code, Error};
use roadstead_runtime::Ids;
use serde::Serialize;

/// An answer with its body.
pub(super) type Answer = Response<Bytes>;

/// Longest request id that is taken over from a client.
const REQUEST_ID_MAX: usize = 64;

/// The client's id of the request if it is sane, else a new one.
pub(super) fn request_id(request: &Request<Bytes>, ids: &Ids) -> String {
    let sane = |text: &&str| {
        !text.is_empty()
            && text.len() <= REQUEST_ID_MAX
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok()).filter(sane);
    given.map_or_else(|| ids.uuid().to_string(), str::to_owned)
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).unwrap_or_default();
    with_type(status, "application/json", body)
}

pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The error body. `Date` always goes with it: an agent whose clock is wrong corrects itself by it.
pub(super) fn refuse(fault: &Error, request_id: &str, now: DateTime<Utc>) -> Answer {
    let status = match fault.code {
        Code::Validation => 422,
        code => code.status(),
    };
    let mut body = serde_json::json!({
        "type": format!("urn:roadstead:error:{}", fault.code),
        "title": fault.code.title(),
        "status": status,
        "detail": fault.detail,
        "error": fault.detail,
        "code": fault.code,
        "request_id": request_id,
    });
    if !fault.errors.is_empty() {
        body["errors"] = serde_json::to_value(&fault.errors).unwrap_or_default();
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = with_type(status, "application/problem+json", serde_json::to_vec(&body).unwrap_or_default());
    let headers = answer.headers_mut();
    let http_date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&http_date) {
        headers.insert(DATE, date);
    }
    if let Some(seconds) = fault.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    answer
}
