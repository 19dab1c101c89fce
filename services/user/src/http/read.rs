//! What handlers read out of requests besides bodies.

use actix_web::http::header::{CONTENT_TYPE, SET_COOKIE, USER_AGENT};
use actix_web::{HttpRequest, HttpResponseBuilder};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{Body, RequestContext, body, cookie};
use roadstead_runtime::Secret;
use serde::de::DeserializeOwned;

use crate::app::{App, Issued, LoginFrom};
use crate::domain::SessionOrigin;

/// Longest text about a client that is kept.
const ORIGIN_TEXT_MAX: usize = 256;
/// Header of the bootstrap token.
const BOOTSTRAP_HEADER: &str = "x-bootstrap-token";

/// Whether a path is MCKMT's: its words differ from KubeSage's.
fn under_v1(request: &HttpRequest) -> bool {
    request.path().starts_with("/api/v1/")
}

/// Where a login comes from.
pub(super) fn origin(request: &HttpRequest, context: &RequestContext) -> SessionOrigin {
    let text = |name: &str| {
        let value = request.headers().get(name)?.to_str().ok()?;
        Some(value.chars().filter(|character| !character.is_control()).take(ORIGIN_TEXT_MAX).collect())
    };
    SessionOrigin {
        source: Some(context.client.to_string()),
        user_agent: text(USER_AGENT.as_str()),
        device: text("x-device-info"),
    }
}

/// How long a browser keeps the mark of its device: half a year.
const DEVICE_SECONDS: u64 = 180 * 24 * 3_600;

/// Which names of cookies count here: the front door sends on plain ones only of hosts without neighbours.
pub(super) fn cookie_names(app: &App) -> cookie::Names {
    if app.by_tls() { cookie::Names::Prefixed } else { cookie::Names::Both }
}

/// Where a login comes from, and what it brings.
pub(super) fn login_from(
    app: &App,
    request: &HttpRequest,
    context: &RequestContext,
    code: Option<Secret>,
) -> LoginFrom {
    LoginFrom {
        source: Some(context.client),
        origin: origin(request, context),
        device: cookie::read(request.headers(), cookie::DEVICE, cookie_names(app)),
        code,
        browser: false,
    }
}

/// Marks the device of a login, so that others' failures do not keep it out the next time.
pub(super) fn mark_device(app: &App, issued: &Issued, response: &mut HttpResponseBuilder) -> Result<()> {
    let mark = app.device_mark(issued.user.id)?;
    response.append_header((SET_COOKIE, cookie::set(cookie::DEVICE, app.by_tls(), mark.expose(), DEVICE_SECONDS)));
    Ok(())
}

/// The bootstrap token, when the request brings exactly one.
pub(super) fn bootstrap_token(request: &HttpRequest) -> Result<Option<Secret>> {
    let mut values = request.headers().get_all(BOOTSTRAP_HEADER);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| Error::new(Code::InvalidCredential, "Invalid bootstrap token"))?;
            Ok(Some(Secret::new(text)))
        }
        (Some(_), Some(_)) => Err(Error::new(Code::InvalidCredential, "exactly one credential is expected")),
    }
}

/// A refused login in the words of the seed whose path it is.
pub(super) fn login_fault(request: &HttpRequest, error: Error) -> Error {
    if error.code == Code::InvalidLogin && under_v1(request) {
        return Error::new(Code::InvalidLogin, "Invalid credentials");
    }
    error
}

/// A field that must be there and not empty, in MCKMT's words.
pub(super) fn required<T>(field: &'static str, value: Option<T>, is_empty: impl Fn(&T) -> bool) -> Result<T> {
    value
        .filter(|value| !is_empty(value))
        .ok_or_else(|| Error::field(&["body", field], "missing", format!("{field} is required")))
}

/// A body that is a form or JSON, as its type says (one handler, the type decides).
pub(super) fn form_or_json<T: DeserializeOwned>(request: &HttpRequest, bytes: &Body) -> Result<T> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => body::parse(&bytes.0),
        "application/x-www-form-urlencoded" => serde_urlencoded::from_bytes(&bytes.0)
            // The parser's own sentence may repeat what was sent.
            .map_err(|_| Error::new(Code::BadRequest, "the form is malformed")),
        _ => Err(Error::new(
            Code::UnsupportedMediaType,
            "the content type must be application/json or application/x-www-form-urlencoded",
        )),
    }
}

/// A time as the seeds' clients send it: with a zone, without one (UTC), or only a date. Empty means none.
pub(super) fn time(field: &'static str, text: Option<&str>) -> Result<Option<DateTime<Utc>>> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Some(time.to_utc()));
    }
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M"))
        .or_else(|_| NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|date| date.and_time(NaiveTime::MIN)));
    naive
        .map(|naive| Some(naive.and_utc()))
        .map_err(|_| Error::field(&["body", field], "datetime_parsing", format!("{field} must be an RFC 3339 time")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_the_seeds() {
        for good in
            ["2030-01-02T03:04:05Z", "2030-01-02T03:04:05", "2030-01-02T03:04:05.000", "2030-01-02T05:04:05+02:00"]
        {
            let read = time("expires_at", Some(good)).unwrap().unwrap();
            assert_eq!(read.to_rfc3339(), "2030-01-02T03:04:05+00:00", "{good}");
        }
        assert_eq!(time("expires_at", Some("2030-01-02")).unwrap().unwrap().to_rfc3339(), "2030-01-02T00:00:00+00:00");
        assert_eq!(time("expires_at", Some(" ")).unwrap(), None);
        assert!(time("expires_at", Some("tomorrow")).is_err());
    }

    proptest! {
        #[test]
        fn garbage_times_do_not_panic(text in ".{0,40}") {
            let _ = time("expires_at", Some(&text));
        }
    }
}
