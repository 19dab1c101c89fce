//! `POST /api/v1/clusters/{cluster}/charts`: a Helm chart and its values in, an operation out.

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Path;
use bytes::Bytes;
use roadstead_contracts::operation::{HelmAction, RELEASE_MAX, Work};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiResult, Body, Caller, QueryPairs, RequestContext, room};

use super::apply_query::{self, OrderParams};
use super::{NO_CLUSTER, manifests, named, reference};
use crate::app::{ChartSource, NewChart, SourceFile};
use crate::domain::multipart;
use crate::http::State;
use crate::http::operation_view::{PreviewView, QueuedView};

/// Fields of the form.
const CHART: &str = "chart";
const VALUES: &str = "values";
/// Namespace of a release whose caller names none, as Helm has it.
const NAMESPACE: &str = "default";

/// Installs a release of a Helm chart, or upgrades it.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/charts", tag = "operations", operation_id = "installChart",
    params(
        ("cluster" = String, Path, description = "Id, integer or name"),
        ("release" = String, Query, description = "Name of the release"),
        ("namespace" = Option<String>, Query, description = "Its namespace; `default`"),
        ("chart" = Option<String>, Query, description = "Address of the archive, instead of the form's field; the hub fetches it"),
        ("create_namespace" = Option<bool>, Query, description = "Make the namespace when it is not there"),
        OrderParams,
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within a day is the same operation"),
    ),
    request_body(content((String = "multipart/form-data"), (String = "application/gzip")),
        description = "A form with the file `chart` (.tgz) and any number of files `values`, or the archive alone"),
    responses(
        (status = 202, body = QueuedView, headers(("Location" = String, description = "The operation"))),
        (status = 200, body = PreviewView, description = "A dry run that has ended"),
        (status = 400, description = "The archive is no chart, or its address is not allowed"),
        (status = 404, description = "No such cluster, or not the caller's"),
        (status = 413, description = "More than 8 MiB"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn install(
    app: State,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    request: HttpRequest,
    context: RequestContext,
    body: Body,
) -> ApiResult {
    let cluster = reference(&path, NO_CLUSTER)?.to_owned();
    // What is not the caller's is not there, whatever else came.
    app.cluster(&caller, &cluster, &context).await.map_err(named(NO_CLUSTER))?;
    let terms = apply_query::terms(&query, request.headers())?;
    let asked = apply_query::read(&query)?;
    let work = Work::Helm {
        action: HelmAction::Install,
        release: check_release("query", query.get("release"))?,
        namespace: asked.namespace.unwrap_or_else(|| NAMESPACE.to_owned()),
        revision: None,
        create_namespace: apply_query::flag(&query, "create_namespace")?,
        dry_run: asked.dry_run.unwrap_or(false),
        wait: asked.wait,
    };
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (archive, values) = files(kind, &body.0)?;
    let chart = match (archive, query.get(CHART)) {
        (Some(archive), None) => ChartSource::Archive(archive),
        (None, Some(address)) if address.len() <= apply_query::URL_MAX => {
            ChartSource::Address(address.to_owned(), room::share(&request))
        }
        (Some(_), Some(_)) => return Err(fault("the chart came as a file and as an address").into()),
        (None, _) => return Err(Error::field(&["body", CHART], "missing", "Field required").into()),
    };
    let new = NewChart { cluster, work, chart, values, terms };
    let created = app.install_chart(&caller, new, &context).await.map_err(named(NO_CLUSTER))?;
    body.let_go(&request);
    manifests::answer(app, caller, created, &request, context).await
}

/// The name of a release: what Helm takes.
pub(super) fn check_release(place: &str, name: Option<&str>) -> Result<String> {
    let fault = |kind: &str, message: &str| Error::field(&[place, "release"], kind, message);
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| fault("missing", "Field required"))?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let good = bytes.len() <= RELEASE_MAX && bytes.iter().all(|byte| plain(*byte));
    if good && edge(bytes.first()) && edge(bytes.last()) {
        return Ok(name.to_owned());
    }
    Err(fault("value_error", "release must be letters, digits, dots and dashes, at most 53"))
}

/// The chart's archive, if one came, and the values.
fn files(kind: &str, body: &Bytes) -> Result<(Option<Bytes>, Vec<SourceFile>)> {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/gzip" | "application/x-gzip" | "application/x-tar" => {
            Ok((Some(body.clone()).filter(|body| !body.is_empty()), Vec::new()))
        }
        "" | "application/json" if body.is_empty() => Ok((None, Vec::new())),
        "multipart/form-data" => {
            let broken = || Error::new(Code::BadRequest, "Failed to parse multipart form");
            let boundary = multipart::boundary_of(kind).ok_or_else(broken)?;
            let (mut chart, mut values) = (None, Vec::new());
            for part in multipart::parse(body, &boundary).map_err(|_| broken())? {
                match part.field.as_str() {
                    CHART if chart.is_some() => return Err(fault("the form has more than one chart")),
                    CHART => chart = Some(part.body),
                    VALUES => values.push(SourceFile { name: VALUES.to_owned(), text: part.body }),
                    _ => {}
                }
            }
            Ok((chart, values))
        }
        _ => Err(Error::new(
            Code::UnsupportedMediaType,
            "send a form (multipart/form-data) with the field chart, or the archive as application/gzip",
        )),
    }
}

fn fault(message: &'static str) -> Error {
    Error::field(&["body", CHART], "value_error", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_named_as_helm_takes_them() {
        for good in ["a", "buoy", "buoy-2", "a.b", &"x".repeat(RELEASE_MAX)] {
            assert_eq!(check_release("query", Some(good)).unwrap(), good);
        }
        for bad in ["", "-a", "a-", "--post-renderer", "A", "a b", "a/b", &"x".repeat(RELEASE_MAX + 1)] {
            assert!(check_release("query", Some(bad)).is_err(), "{bad}");
        }
        assert!(check_release("query", None).is_err());
    }

    #[test]
    fn forms_bring_a_chart_and_values() {
        let form = Bytes::from_static(
            b"--b\r\nContent-Disposition: form-data; name=\"chart\"; filename=\"c.tgz\"\r\n\r\n\x1f\x8b\x08\r\n\
              --b\r\nContent-Disposition: form-data; name=\"values\"\r\n\r\na: 1\r\n--b--\r\n",
        );
        let (chart, values) = files("multipart/form-data; boundary=b", &form).unwrap();
        assert_eq!((&chart.unwrap()[..], &values[0].text[..]), (&b"\x1f\x8b\x08"[..], &b"a: 1"[..]));
        assert!(files("application/gzip", &Bytes::from_static(b"x")).unwrap().0.is_some());
        assert!(files("application/json", &Bytes::new()).unwrap().0.is_none());
        assert_eq!(files("text/plain", &form).unwrap_err().code, Code::UnsupportedMediaType);
        let twice = [&form[..form.len() - 7], &form[..]].concat();
        assert!(files("multipart/form-data; boundary=b", &twice.into()).is_err());
    }
}
