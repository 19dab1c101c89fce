//! The audit trail over HTTP: search, export, checkpoints. And what the routes of this service are called in it.

use actix_web::{HttpRequest, HttpResponse};
use async_trait::async_trait;
use chrono::DateTime;
use roadstead_contracts::audit::{
    Actor, AuditRecord, AuditStart, CheckpointLine, EXPORT_FORM, ExportHead, ExportLine, Resource,
};
use roadstead_contracts::names::Username;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Auditor, Caller, QueryPairs, Word};
use roadstead_store::audit::Trail;

use super::Shared;
use super::shapes::Problem;
use crate::app::{App, Issued};
use crate::domain::UserRef;
use crate::domain::audit::{AuditFilter, EXPORT_MAX};

/// Rows of a page when none is asked for.
const PAGE: u32 = 100;
/// Longest value of a filter: nothing in a record is longer.
const FILTER_MAX: usize = 256;

/// Writes the service's records into its own outbox. Without one only the list of routes is wanted.
pub(super) struct Recorder(pub(super) Option<Trail>);

#[async_trait]
impl Auditor for Recorder {
    fn word(&self, method: &str, path: &str) -> Option<Word> {
        word(method, path)
    }

    async fn write(&self, record: &AuditRecord) -> Result<()> {
        match &self.0 {
            Some(trail) => trail.write(record).await,
            None => Err(Code::AuditUnavailable.into()),
        }
    }
}

/// What a changing route is called. The paths of the seeds and ours mean the same.
#[expect(clippy::match_same_arms, reason = "a row for each family of routes")]
pub(super) fn word(method: &str, path: &str) -> Option<Word> {
    // A provider sends browsers back with GET: that logs in.
    let returns = method == "GET" && path.ends_with("/callback");
    if matches!(method, "GET" | "HEAD" | "OPTIONS") && !returns {
        return None;
    }
    let path = path.strip_prefix(super::ALIAS_PREFIX).or_else(|| path.strip_prefix("/api/v1")).unwrap_or(path);
    let here = Word::here;
    Some(match (method, path) {
        ("GET", _) => here("user.login", "session"),
        ("POST", "/auth/login" | "/auth/token" | "/auth/oidc/exchange" | "/auth/oidc/device/token") => {
            here("user.login", "session")
        }
        ("POST", "/auth/passkeys/login") => here("user.login", "session"),
        ("POST", "/auth/oidc/device" | "/auth/passkeys/login/begin") => here("user.begin_login", "session"),
        ("POST", "/auth/oidc/logout" | "/auth/oidc/backchannel-logout") => here("session.end", "session"),
        ("POST", "/auth/oidc/links") => here("user.link", "user"),
        ("POST", "/auth/authenticator" | "/auth/authenticator/confirm") => here("user.add_factor", "user"),
        ("POST", "/auth/authenticator/remove") => here("user.remove_factor", "user"),
        ("DELETE", "/auth/authenticator/{user}" | "/auth/second-factors/{user}") => here("user.remove_factor", "user"),
        ("POST", "/auth/passkeys" | "/auth/passkeys/begin") => here("user.add_factor", "passkey"),
        ("PUT", "/auth/passkeys/{id}") => here("user.rename_factor", "passkey"),
        ("POST", "/auth/passkeys/{id}/remove") => here("user.remove_factor", "passkey"),
        ("POST", "/auth/password-resets") => here("user.begin_reset", "user"),
        ("POST", "/auth/password-reset") => here("user.reset_password", "user"),
        ("POST", "/policies") => here("policy.create", "rule"),
        ("POST", "/policies/import") => here("policy.import", "policy"),
        ("POST", "/policies/test") => here("policy.test", "policy"),
        ("PUT", "/policies/{id}") => here("policy.change", "rule"),
        ("DELETE", "/policies/{id}") => here("policy.delete", "rule"),
        ("POST", "/auth/refresh" | "/auth/token/refresh") => here("session.refresh", "session"),
        ("POST", "/auth/logout") => here("session.end", "session"),
        ("DELETE", "/auth/sessions" | "/auth/sessions/{id}") => here("session.end", "session"),
        ("POST", "/auth/register" | "/users") => here("user.create", "user"),
        ("POST", "/auth/register-admin") => here("user.create_admin", "user"),
        ("POST", "/auth/confirm/{id}/{answer}") => here("user.confirm", "user"),
        ("POST", "/auth/resend-confirm") => here("user.remind", "registration"),
        ("POST", "/auth/reset-admin-password") => here("user.change_password", "user"),
        ("POST", "/auth/change-password" | "/auth/change-password/{user_id}") => here("user.change_password", "user"),
        ("PUT", "/users/{id}") => here("user.change", "user"),
        ("DELETE", "/users/{id}") => here("user.delete", "user"),
        ("POST", "/api-keys") => here("api_key.create", "api_key"),
        ("PUT", "/api-keys/{id}") => here("api_key.change", "api_key"),
        ("DELETE", "/api-keys/{id}") => here("api_key.revoke", "api_key"),
        ("POST", "/api-keys/{id}/regenerate") => here("api_key.regenerate", "api_key"),
        ("POST", "/access-requests") => here("access.request", "access_request"),
        ("POST", path) if path.starts_with("/access-requests/") => {
            let action = match path.rsplit('/').next() {
                Some("approve") => "access.approve",
                Some("deny") => "access.deny",
                Some("withdraw") => "access.withdraw",
                _ => "access.end",
            };
            here(action, "access_request")
        }
        (method, path) if path.starts_with("/service-accounts") => {
            let action = match (method, path.contains("/keys")) {
                ("POST", true) if path.ends_with("/keys") => "api_key.create",
                ("POST", true) => "api_key.rotate",
                ("DELETE", true) => "api_key.revoke",
                ("POST", false) => "service_account.create",
                ("DELETE", false) => "service_account.delete",
                _ => "service_account.change",
            };
            here(action, "service_account")
        }
        // Whatever else changes something here is about somebody's own ways to log in, or a route that is newer than this list.
        (_, path) if path.starts_with("/auth/") => here("user.change_login", "user"),
        (_, path) if path.starts_with("/users") => here("user.change", "user"),
        _ => here("user.change_other", "user"),
    })
}

/// Adds to the record of a login whose it was. A name that is no account's is not kept: it may be a password.
pub(super) async fn login_tried(app: &App, request: &HttpRequest, name: &str, result: &Result<Issued>) {
    if let Ok(issued) = result {
        return logged_in(request, issued, "password");
    }
    about_account(app, request, name).await;
}

/// Names the account that a sign-in is about, when there is one.
pub(super) async fn about_account(app: &App, request: &HttpRequest, name: &str) {
    let Ok(name) = Username::parse(name) else { return };
    if let Ok(Some(user)) = app.store.user(&UserRef::Name(name)).await {
        note(request).resource(Resource::named("user", &user.username));
    }
}

/// Adds to the record of a login that succeeded whose it is.
pub(super) fn logged_in(request: &HttpRequest, issued: &Issued, by: &'static str) {
    note(request)
        .actor(Actor::account(issued.user.id, &issued.user.username, by))
        .resource(Resource::id("session", issued.session_id));
}

/// Rows of the trail, newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", operation_id = "searchAudit",
    params(
        ("action" = Option<String>, Query, description = "Action; a `*` at the end takes every one that begins so"),
        ("actor" = Option<String>, Query, description = "Name or id of who did it"),
        ("resource_kind" = Option<String>, Query, description = "Kind of what it was done to"),
        ("resource" = Option<String>, Query, description = "Name or id of what it was done to"),
        ("cluster_id" = Option<String>, Query, description = "Id of the cluster"),
        ("namespace" = Option<String>, Query, description = "Namespace"),
        ("phase" = Option<String>, Query, description = "`intent` or `outcome`"),
        ("outcome" = Option<String>, Query, description = "`succeeded`, `refused` or `failed`"),
        ("source" = Option<String>, Query, description = "Address of the client"),
        ("request_id" = Option<String>, Query, description = "Id of the request"),
        ("since" = Option<String>, Query, description = "At this time or later"),
        ("until" = Option<String>, Query, description = "Before this time"),
        ("limit" = Option<u32>, Query, description = "Most rows, 100 unless told, at most 1,000"),
        ("cursor" = Option<String>, Query, description = "Where the page begins, from `Link`")
    ),
    responses(
        (status = 200, description = "Rows: `seq`, `prev`, `hash` and the `record`", body = Vec<serde_json::Value>),
        (status = 403, description = "The trail is not the caller's to read", body = Problem)
    )
)]
pub(super) async fn search(app: Shared, request: HttpRequest, caller: Caller, query: QueryPairs) -> ApiResult {
    let asked = Asked::read(&query)?;
    let (rows, next) =
        app.search_audit(&caller.principal, &asked.filter, asked.cursor, asked.limit.unwrap_or(PAGE)).await?;
    let mut response = HttpResponse::Ok();
    if let Some(next) = next {
        response.insert_header(("Link", format!("<{}>; rel=\"next\"", next_page(&request, next))));
    }
    Ok(response.json(rows))
}

/// Rows of the trail, oldest first, as a file that `roadstead audit verify` checks without the hub. In pages: ask on with
/// `after` until a page has no row.
#[utoipa::path(
    get, path = "/api/v1/audit/export", tag = "audit", operation_id = "exportAudit",
    params(
        ("format" = Option<String>, Query, description = "`jsonl` (can be verified) or `csv`"),
        ("after" = Option<i64>, Query, description = "Only rows after this number"),
        ("limit" = Option<u32>, Query, description = "Most rows, at most 5,000")
    ),
    responses(
        (status = 200, description = "Lines", body = String, content_type = "application/x-ndjson"),
        (status = 403, description = "The trail is not the caller's to read", body = Problem)
    )
)]
pub(super) async fn export(app: Shared, caller: Caller, query: QueryPairs) -> ApiResult {
    let asked = Asked::read(&query)?;
    let after = asked.after.unwrap_or(0);
    let csv = match asked.format.as_deref() {
        None | Some("jsonl") => false,
        Some("csv") => true,
        Some(_) => return Err(Error::field(&["query", "format"], "value_error", "format must be jsonl or csv").into()),
    };
    let limit = asked.limit.unwrap_or(EXPORT_MAX);
    let (head, rows) = app.export_audit(&caller.principal, after, limit).await?;
    if csv {
        return Ok(HttpResponse::Ok()
            .content_type("text/csv; charset=utf-8")
            .body(super::audit_csv::table(&rows, after == 0)));
    }
    // A page that begins before the first row that is left begins there.
    let before = if after <= head.start.seq {
        head.start
    } else {
        AuditStart { seq: after, hash: rows.first().map(|row| row.prev.clone()).unwrap_or_default() }
    };
    let mut text = Vec::new();
    if asked.after.is_none() {
        let head = ExportHead {
            roadstead_audit: EXPORT_FORM,
            exported_at: app.clock.now(),
            key: app.audit_key(),
            after: before,
        };
        push(&mut text, &ExportLine::Head(head))?;
    }
    let checkpoints = app.audit_checkpoints(&caller.principal, after).await?.checkpoints;
    let mut checkpoints = checkpoints.into_iter().peekable();
    for row in rows {
        let seq = row.seq;
        push(&mut text, &ExportLine::Row(row))?;
        while let Some(checkpoint) = checkpoints.next_if(|checkpoint| checkpoint.seq <= seq) {
            push(&mut text, &ExportLine::Checkpoint(CheckpointLine { checkpoint }))?;
        }
    }
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(text))
}

/// The signed checkpoints of the trail, the key that signs them, and where the trail begins.
#[utoipa::path(
    get, path = "/api/v1/audit/checkpoints", tag = "audit", operation_id = "listAuditCheckpoints",
    params(("after" = Option<i64>, Query, description = "Only checkpoints of rows after this number")),
    responses(
        (status = 200, description = "`checkpoints`, `key` and `start`", body = serde_json::Value),
        (status = 403, description = "The trail is not the caller's to read", body = Problem)
    )
)]
pub(super) async fn checkpoints(app: Shared, caller: Caller, query: QueryPairs) -> ApiResult {
    let after = Asked::read(&query)?.after.unwrap_or(0);
    Ok(HttpResponse::Ok().json(app.audit_checkpoints(&caller.principal, after).await?))
}

fn push(text: &mut Vec<u8>, line: &ExportLine) -> Result<()> {
    serde_json::to_writer(&mut *text, line).map_err(|_| Error::of(Code::Internal))?;
    text.push(b'\n');
    Ok(())
}

/// What a query asks for.
#[derive(Debug, Default)]
struct Asked {
    filter: AuditFilter,
    cursor: Option<i64>,
    after: Option<i64>,
    limit: Option<u32>,
    format: Option<String>,
}

impl Asked {
    fn read(query: &QueryPairs) -> Result<Self> {
        let mut asked = Self::default();
        for (name, value) in query.pairs() {
            let fault = |message: &str| Error::field(&["query", name], "value_error", format!("{name} {message}"));
            if value.len() > FILTER_MAX {
                return Err(fault("is too long"));
            }
            let text = || Some(value.to_owned());
            let number =
                || value.parse::<i64>().ok().filter(|number| *number >= 0).ok_or_else(|| fault("must be a number"));
            let time = || {
                let read = DateTime::parse_from_rfc3339(value);
                read.map(|time| Some(time.to_utc())).map_err(|_| fault("must be an RFC 3339 time"))
            };
            match name {
                "action" => asked.filter.action = text(),
                "actor" => asked.filter.actor = text(),
                "resource_kind" => asked.filter.resource_kind = text(),
                "resource" => asked.filter.resource = text(),
                "cluster_id" => asked.filter.cluster_id = text(),
                "namespace" => asked.filter.namespace = text(),
                "phase" => asked.filter.phase = text(),
                "outcome" => asked.filter.outcome = text(),
                "source" => asked.filter.source = text(),
                "request_id" => asked.filter.request_id = text(),
                "since" => asked.filter.since = time()?,
                "until" => asked.filter.until = time()?,
                "format" => asked.format = text(),
                "cursor" => asked.cursor = Some(number()?),
                "after" => asked.after = Some(number()?),
                "limit" => asked.limit = Some(u32::try_from(number()?).map_err(|_| fault("is too large"))?),
                _ => return Err(fault("is not a filter")),
            }
        }
        Ok(asked)
    }
}

/// The same question for the rows before a number.
fn next_page(request: &HttpRequest, before: i64) -> String {
    let kept = request.query_string().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut query: Vec<String> = kept.map(str::to_owned).collect();
    query.push(format!("cursor={before}"));
    format!("{}?{}", request.path(), query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changing_route_has_a_word_of_its_own() {
        for row in crate::routes() {
            let method = row.method.as_str();
            let changing = !matches!(method, "GET" | "HEAD" | "OPTIONS") || row.path.ends_with("/callback");
            let word = word(method, &row.path);
            assert_eq!(word.is_some(), changing, "{} {}", row.method, row.path);
            if let Some(word) = word {
                assert_ne!(word.action, "user.change_other", "{} {} is not named in the trail", row.method, row.path);
            }
        }
    }
}
