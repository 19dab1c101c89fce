//! `/api/v1/policies`: the rules, and what would be decided by them.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use roadstead_contracts::audit::Resource;
use roadstead_contracts::policy::{RuleDraft, Subject};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::audit::note;
use roadstead_http_kit::{ApiResult, Body, Caller, Json, QueryPairs, RequestContext, body};
use serde::Serialize;

use super::policy_shapes::{AnswerView, ImportView, RuleBody, RuleSet, RuleView, TestBody, view};
use super::shapes::Problem;
use super::{Shared, policy_file};
use crate::app::{Question, RULES_PAGE_MAX, RuleFilter};
use crate::domain::StoredRule;

/// Rules of a page when none is asked for.
const PAGE: usize = 100;

/// Rules by name.
#[utoipa::path(
    get, path = "/api/v1/policies", tag = "policies", operation_id = "listPolicies",
    params(
        ("subject" = Option<String>, Query, description = "Only rules for this subject: `user:ada`"),
        ("limit" = Option<u32>, Query, description = "Most rules, 100 unless told, at most 1,000"),
        ("cursor" = Option<String>, Query, description = "Where the page begins, from `Link`")
    ),
    responses((status = 200, description = "Rules", body = [RuleView]), (status = 403, description = "Not an admin", body = Problem))
)]
pub(super) async fn list(app: Shared, request: HttpRequest, caller: Caller, query: QueryPairs) -> ApiResult {
    let fault = |name: &str, message: String| Error::field(&["query", name], "value_error", message);
    let limit = match query.one("limit")? {
        None => PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=RULES_PAGE_MAX).contains(limit))
            .ok_or_else(|| fault("limit", format!("limit must be 1 to {RULES_PAGE_MAX}")))?,
    };
    let subject = query.one("subject")?.map(Subject::parse).transpose().map_err(|words| fault("subject", words))?;
    let filter = RuleFilter { subject, after: query.one("cursor")?.map(str::to_owned), limit };
    let page = app.list_rules(&caller.principal, &filter).await?;
    let now = app.clock.now();
    let last = page.rules.last().filter(|_| page.more).map(|stored| stored.rule.name.clone());
    let shown: Vec<RuleView> = page.rules.into_iter().map(|stored| view(stored, now)).collect();
    let mut response = HttpResponse::Ok();
    response.insert_header(("X-Total-Count", page.total));
    if let Some(last) = last {
        response.insert_header(("Link", format!("<{}>; rel=\"next\"", next_page(&request, &last))));
    }
    Ok(response.json(shown))
}

/// The same question for the rules after a name. Names of rules need no escaping.
fn next_page(request: &HttpRequest, after: &str) -> String {
    let kept = request.query_string().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut query: Vec<String> = kept.map(str::to_owned).collect();
    query.push(format!("cursor={after}"));
    format!("{}?{}", request.path(), query.join("&"))
}

/// Makes a rule. It counts everywhere within seconds.
#[utoipa::path(
    post, path = "/api/v1/policies", tag = "policies", operation_id = "createPolicy",
    request_body = RuleBody,
    responses(
        (status = 201, description = "Made", body = RuleView),
        (status = 403, description = "Not an admin, or the rule gives more than the caller has", body = Problem),
        (status = 409, description = "The name is taken, or the caller would lock itself out", body = Problem)
    )
)]
pub(super) async fn create(app: Shared, request: HttpRequest, caller: Caller, Json(body): Json<RuleBody>) -> ApiResult {
    caller.whole()?;
    let stored = app.create_rule(&caller.principal, &body.into()).await?;
    named(&request, &stored);
    Ok(HttpResponse::Created().json(view(stored, app.clock.now())))
}

/// A rule.
#[utoipa::path(
    get, path = "/api/v1/policies/{id}", tag = "policies", operation_id = "getPolicy",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The rule", body = RuleView), (status = 404, description = "No such rule", body = Problem))
)]
pub(super) async fn show(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    let stored = app.rule(&caller.principal, &which).await?;
    Ok(HttpResponse::Ok().json(view(stored, app.clock.now())))
}

/// Puts another rule in the place of one; what is left out is left out of it.
#[utoipa::path(
    put, path = "/api/v1/policies/{id}", tag = "policies", operation_id = "replacePolicy",
    params(("id" = String, Path, description = "Id or name")),
    request_body = RuleBody,
    responses(
        (status = 200, description = "The rule as it is now", body = RuleView),
        (status = 404, description = "No such rule", body = Problem),
        (status = 409, description = "The name is taken, the rule is not a person's, or the caller would lock itself out", body = Problem)
    )
)]
pub(super) async fn replace(
    app: Shared,
    request: HttpRequest,
    caller: Caller,
    which: web::Path<String>,
    Json(body): Json<RuleBody>,
) -> ApiResult {
    caller.whole()?;
    let stored = app.replace_rule(&caller.principal, &which, &body.into()).await?;
    named(&request, &stored);
    Ok(HttpResponse::Ok().json(view(stored, app.clock.now())))
}

/// Removes a rule.
#[utoipa::path(
    delete, path = "/api/v1/policies/{id}", tag = "policies", operation_id = "deletePolicy",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such rule", body = Problem))
)]
pub(super) async fn delete(app: Shared, caller: Caller, which: web::Path<String>) -> ApiResult {
    caller.whole()?;
    app.delete_rule(&caller.principal, &which).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes and changes rules by their names, from JSON or YAML: all of them or none.
#[utoipa::path(
    post, path = "/api/v1/policies/import", tag = "policies", operation_id = "importPolicies",
    params(("replace" = Option<bool>, Query, description = "Remove the rules that are not among them; those that an access request made stay")),
    request_body(content((RuleSet = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 200, description = "What was done", body = ImportView),
        (status = 403, description = "Not an admin, or a rule gives more than the caller has", body = Problem),
        (status = 409, description = "The caller would lock itself out", body = Problem)
    )
)]
pub(super) async fn import(
    app: Shared,
    request: HttpRequest,
    caller: Caller,
    query: QueryPairs,
    bytes: Body,
) -> ApiResult {
    caller.whole()?;
    let replace = match query.one("replace")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            return Err(Error::field(&["query", "replace"], "value_error", "replace must be true or false").into());
        }
    };
    let drafts: Vec<RuleDraft> = rule_set(&request, &bytes)?.rules.into_iter().map(RuleDraft::from).collect();
    let done = app.import_rules(&caller.principal, &drafts, replace).await?;
    Ok(HttpResponse::Ok().json(ImportView::from(done)))
}

fn rule_set(request: &HttpRequest, bytes: &Body) -> Result<RuleSet> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => body::parse(&bytes.0),
        "application/yaml" | "application/x-yaml" | "text/yaml" => policy_file::read(&bytes.0),
        _ => {
            Err(Error::new(Code::UnsupportedMediaType, "the content type must be application/json or application/yaml"))
        }
    }
}

/// The rules that people wrote, as YAML that an import takes.
#[utoipa::path(
    get, path = "/api/v1/policies/export", tag = "policies", operation_id = "exportPolicies",
    responses(
        (status = 200, description = "YAML", body = String, content_type = "application/yaml"),
        (status = 403, description = "Not an admin", body = Problem)
    )
)]
pub(super) async fn export(app: Shared, caller: Caller) -> ApiResult {
    #[derive(Serialize)]
    struct File {
        rules: Vec<RuleDraft>,
    }
    let rules = app.export_rules(&caller.principal).await?;
    let file = File { rules: rules.iter().map(|stored| stored.rule.draft()).collect() };
    let text = serde_saphyr::to_string(&file).map_err(|_| Error::of(Code::Internal))?;
    Ok(HttpResponse::Ok().content_type("application/yaml").body(text))
}

/// What would be decided about somebody, by the rules that stand or by others. Nothing is saved.
#[utoipa::path(
    post, path = "/api/v1/policies/test", tag = "policies", operation_id = "testPolicies",
    request_body = TestBody,
    responses(
        (status = 200, description = "An answer to each question, in order", body = [AnswerView]),
        (status = 403, description = "Not an admin", body = Problem)
    )
)]
pub(super) async fn test(
    app: Shared,
    caller: Caller,
    context: RequestContext,
    Json(body): Json<TestBody>,
) -> ApiResult {
    let questions = body.questions.into_iter().enumerate().map(|(index, question)| question.read(index));
    let questions: Vec<Question> = questions.collect::<Result<_>>()?;
    let drafts: Option<Vec<RuleDraft>> = body.rules.map(|rules| rules.into_iter().map(RuleDraft::from).collect());
    let proposed = drafts.as_deref().map(|drafts| (drafts, body.replace));
    let answers = app.test_policy(&caller.principal, proposed, &questions, &context.request_id).await?;
    Ok(HttpResponse::Ok().json(answers.into_iter().map(AnswerView::from).collect::<Vec<_>>()))
}

/// Names the rule in the audit trail.
fn named(request: &HttpRequest, stored: &StoredRule) {
    note(request).resource(Resource::named("rule", &stored.rule.name));
}
