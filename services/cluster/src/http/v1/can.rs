//! `/api/v1/auth/can`: whether the caller may do something, which rule says so, and what is missing.

use actix_web::HttpResponse;
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::{Action, Decision};
use roadstead_contracts::names::is_dns_label;
use roadstead_contracts::policy::{ClusterFacts, Pattern};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};
use roadstead_policy::{Asked, Ground, Object, Verdict as Decided, kubernetes};
use serde::Serialize;
use utoipa::ToSchema;

use super::{NO_CLUSTER, reference};
use crate::http::State;

/// Whether it is allowed, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// Whether it is allowed.
    allowed: bool,
    /// The permission that it takes.
    permission: String,
    /// Why, for people.
    reason: String,
    /// Whom to ask when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<String>,
    /// The cluster that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    /// The rule that decided, when one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
}

/// A rule of the policy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rule {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
}

/// Whether the caller may do something, to a cluster, to something in it, or at all. Nothing is done.
#[utoipa::path(
    get, path = "/api/v1/auth/can", tag = "auth", operation_id = "can",
    params(
        ("permission" = Option<String>, Query, description = "`clusters:delete`, `operations:write`, …; may be left out beside `kind`"),
        ("cluster" = Option<String>, Query, description = "Id, number or name of a cluster"),
        ("kind" = Option<String>, Query, description = "Something in the cluster: `pods`, `deployments.apps`, `pods/exec`"),
        ("verb" = Option<String>, Query, description = "Verb of Kubernetes for `kind`: `get` (when left out), `list`, `create`, `delete`, …"),
        ("namespace" = Option<String>, Query, description = "Namespace for `kind`; left out: all of them, or none where it has none"),
    ),
    security(("api_key" = []), ("bearer" = [])),
    responses(
        (status = 200, description = "What was decided, and why", body = Verdict),
        (status = 400, description = "There is no such permission, or a kind without a cluster")
    )
)]
pub(crate) async fn can(app: State, caller: Caller, context: RequestContext, query: QueryPairs) -> ApiResult {
    let (action, request) = read(&query)?;
    let principal = caller.principal.as_ref();
    let now = app.clock.now();
    let cluster = query.one("cluster")?.map(str::to_owned);
    let facts = match &cluster {
        Some(text) => match found(app.cluster(&caller, text, &context), text).await {
            // A rule keeps the caller out of the whole cluster: then the answer is known.
            Err(refused) if refused.code == Code::Forbidden => return Ok(kept_out(action, cluster, &refused)),
            found => found?,
        },
        None => None,
    };
    let decided = match (&cluster, facts, action, &request) {
        (None, _, action, _) => roadstead_policy::gate(principal, action.unwrap_or(Action::ClustersRead), now),
        (Some(_), None, action, _) => {
            let action = action.unwrap_or(Action::ClustersRead);
            Decided { allowed: false, action, ground: Ground::Invisible }
        }
        (Some(_), Some(facts), Some(action), Some(request)) => {
            let place = kubernetes::place(request);
            let kind = request.kind.as_deref().unwrap_or_default();
            let object = Object { verb: &request.verb, kind, also: None, place };
            roadstead_policy::decide(principal, &Asked::object(action, &facts, object), now)
        }
        (Some(_), Some(facts), None, Some(request)) => roadstead_policy::judge(principal, &facts, request, now).verdict,
        (Some(_), Some(facts), action, None) => {
            let action = action.unwrap_or(Action::ClustersRead);
            roadstead_policy::decide(principal, &Asked::cluster(action, &facts), now)
        }
    };
    let rule = decided.rule().map(|(id, name)| Rule { id: id.to_string(), name: name.to_owned() });
    let Decision { allowed, permission, reason, ask } = decided.decision(principal);
    Ok(HttpResponse::Ok().json(Verdict { allowed, permission, reason, ask, cluster, rule }))
}

fn kept_out(action: Option<Action>, cluster: Option<String>, refused: &Error) -> HttpResponse {
    let (resource, verb) = action.unwrap_or(Action::ClustersRead).words();
    let reason = refused.errors.first().map_or_else(|| refused.detail.to_string(), |one| one.msg.clone());
    let permission = format!("{resource}:{verb}");
    HttpResponse::Ok().json(Verdict { allowed: false, permission, reason, ask: None, cluster, rule: None })
}

/// What is asked about.
fn read(query: &QueryPairs) -> Result<(Option<Action>, Option<RequestKind>)> {
    let fault = |name: &str, message: &str| Error::field(&["query", name], "value_error", message);
    let kind = query.one("kind")?;
    let action = match kind {
        Some(_) => query.one("permission")?,
        None => Some(query.required("permission")?),
    };
    let action =
        action.map(|word| Action::parse(word).ok_or_else(|| fault("permission", "there is no such permission")));
    let action = action.transpose()?;
    let (verb, namespace) = (query.one("verb")?, query.one("namespace")?);
    let Some(kind) = kind else {
        if verb.is_some() || namespace.is_some() {
            return Err(fault("kind", "verb and namespace are of a kind: name it"));
        }
        return Ok((action, None));
    };
    if query.one("cluster")?.is_none() {
        return Err(fault("cluster", "a kind is in a cluster: name it"));
    }
    let plain = |text: &str| Pattern::parse(text).is_ok() && !text.contains('*');
    let verb = verb.unwrap_or("get");
    if !plain(kind) {
        return Err(fault("kind", "kind must be a resource: pods, deployments.apps, pods/exec"));
    }
    if !plain(verb) {
        return Err(fault("verb", "verb must be one of Kubernetes"));
    }
    if namespace.is_some_and(|namespace| !is_dns_label(namespace)) {
        return Err(fault("namespace", "namespace must be the name of one"));
    }
    // Without a namespace `get` is asked about all of them.
    let verb = if verb == "get" && namespace.is_none() { "list" } else { verb };
    Ok((action, Some(RequestKind::of(verb, kind, namespace))))
}

/// What rules look at of a cluster; none when it is not there or not the caller's, which look the same, here as everywhere.
async fn found(
    asking: impl Future<Output = Result<roadstead_contracts::message::Cluster>>,
    cluster: &str,
) -> Result<Option<ClusterFacts>> {
    if reference(cluster, NO_CLUSTER).is_err() {
        return Ok(None);
    }
    match asking.await {
        Ok(cluster) => Ok(Some(cluster.policy_facts())),
        Err(error) if error.code == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
