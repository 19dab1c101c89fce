//! The one error body ("Errors" in `ARCHITECTURE.md`): RFC 9457 with both seeds' members.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use roadstead_contracts::{Code, Error};
use serde::Serialize;

/// When to come back to a service that is away and did not say: our own reconnects take less than five seconds.
const RETRY_SECONDS: u32 = 2;

/// What a handler gives back.
pub type ApiResult<T = HttpResponse> = Result<T, ApiFailure>;

/// A refusal on its way to the client. The frame writes its body, because only the frame knows the request's id and
/// which prefix it came under.
#[derive(Debug, Clone)]
pub struct ApiFailure {
    error: Error,
    allow: Option<String>,
}

/// The error inside a response that the frame has still to write.
#[derive(Debug)]
pub(crate) struct Pending(pub(crate) Error);

impl ApiFailure {
    /// A method that the route does not have; `allow` names those it has.
    pub fn method_not_allowed(allow: impl Into<String>) -> Self {
        Self { error: Error::of(Code::MethodNotAllowed), allow: Some(allow.into()) }
    }

    /// The error itself.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl From<Error> for ApiFailure {
    fn from(error: Error) -> Self {
        Self { error, allow: None }
    }
}

impl From<Code> for ApiFailure {
    fn from(code: Code) -> Self {
        Error::of(code).into()
    }
}

impl fmt::Display for ApiFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for ApiFailure {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status_code());
        if let Some(allow) = self.allow.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            response.headers_mut().insert(ALLOW, allow);
        }
        let away = self.error.code.status() == 503;
        if let Some(seconds) = self.error.retry_after.or(away.then_some(RETRY_SECONDS)) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Pending(self.error.clone()));
        response
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    error: &'a str,
    code: Code,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [roadstead_contracts::FieldError],
}

/// Status and body of an error. Validation is 400 under `/api/v1` and 422 elsewhere.
pub(crate) fn render(error: &Error, under_v1: bool, request_id: &str) -> (StatusCode, Vec<u8>) {
    let status = if error.code == Code::Validation && !under_v1 { 422 } else { error.code.status() };
    let problem = Problem {
        kind: format!("urn:roadstead:error:{}", error.code),
        title: error.code.title(),
        status,
        detail: &error.detail,
        error: &error.detail,
        code: error.code,
        request_id,
        errors: &error.errors,
    };
    // Plain text and numbers always serialize; an empty body would still carry the right status.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
}

/// The error for a status that the framework chose by itself.
pub(crate) fn from_status(status: StatusCode) -> Error {
    let code = Code::ALL.iter().copied().find(|code| code.status() == status.as_u16());
    Error::of(match status {
        StatusCode::BAD_REQUEST => Code::BadRequest,
        StatusCode::UNPROCESSABLE_ENTITY => Code::Validation,
        _ if status.is_server_error() => code.unwrap_or(Code::Internal),
        _ => code.unwrap_or(Code::BadRequest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_both_seeds_members() {
        let error = Error::field(&["query", "limit"], "value_error", "Limit must be positive");
        let (status, body) = render(&error, true, "r-1");
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "{\"type\":\"urn:roadstead:error:validation_failed\",\"title\":\"Validation failed\",\"status\":400,\
             \"detail\":\"Limit must be positive\",\"error\":\"Limit must be positive\",\"code\":\"validation_failed\",\
             \"request_id\":\"r-1\",\"errors\":[{\"loc\":[\"query\",\"limit\"],\"msg\":\"Limit must be positive\",\
             \"type\":\"value_error\"}]}"
        );
        assert_eq!(render(&error, false, "r-1").0, StatusCode::UNPROCESSABLE_ENTITY);
        let (status, body) = render(&Error::of(Code::NotFound), true, "r-2");
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(!String::from_utf8(body).unwrap().contains("errors"));
    }

    #[test]
    fn every_status_of_the_framework_has_a_code() {
        for number in 400..600 {
            let status = StatusCode::from_u16(number).unwrap();
            let error = from_status(status);
            assert_eq!(error.code.status() >= 500, number >= 500, "{number}");
        }
    }
}
