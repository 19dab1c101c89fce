//! The hub's own errors in Kubernetes' words, because Kubernetes' clients read nothing else
//! (API conventions, "Response Status Kind").

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use roadstead_contracts::{Code, Error};
use serde_json::json;

/// `reason` of a Kubernetes Status for a code of ours.
fn reason(code: Code) -> &'static str {
    match code.status() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}

/// The answer for an error of the hub: a `Status` with our code among the causes and the request id in the message.
pub(crate) fn answer(error: &Error, request_id: &str) -> Response<Full<Bytes>> {
    let status = error.code.status();
    // kubectl shows the message only: what is missing, which rule, and whom to ask belong into it.
    let told =
        error.errors.first().map_or_else(|| error.detail.to_string(), |one| format!("{}: {}", error.detail, one.msg));
    let mut details =
        json!({ "causes": [{ "reason": error.code.as_str(), "message": error.detail, "field": "roadstead" }] });
    if let Some(causes) = details["causes"].as_array_mut() {
        causes.extend(
            error
                .errors
                .iter()
                .map(|one| json!({ "reason": one.kind, "message": one.msg, "field": one.loc.join(".") })),
        );
    }
    if let Some(seconds) = error.retry_after {
        details["retryAfterSeconds"] = json!(seconds);
    }
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("roadstead: {told} (request {request_id})"),
        "reason": reason(error.code),
        "details": details,
        "code": status,
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code.status() == 401 {
        headers.insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn our_errors_are_kubernetes_statuses() {
        let error = Error::of(Code::AgentOffline).retry_after(5);
        let response = answer(&error, "r-1");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "5");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["kind"], "Status");
        assert_eq!(body["reason"], "ServiceUnavailable");
        assert_eq!(body["details"]["causes"][0]["reason"], "agent_offline");
        assert!(body["message"].as_str().unwrap().contains("r-1"));
    }
}
