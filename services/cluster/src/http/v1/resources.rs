//! `GET /api/v1/clusters/{cluster}/resources`: what is in a cluster, as the caller may see it. The seed answered a list that was
//! made up (M16); this one is asked of the cluster.

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use roadstead_contracts::Error;
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::apply_query::check_namespace;
use super::{NO_CLUSTER, named, reference};
use crate::http::State;
use crate::http::kubeconfig::asker;
use crate::kubectl::{AS_JSON, AS_METADATA, Failure, each, find_all};

/// Kinds when the caller names none: what `kubectl get all` shows.
const KINDS: &str = "all";

/// One object.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ResourceView {
    /// Kind.
    kind: String,
    /// Name.
    name: String,
    /// Namespace; nothing for what is in none.
    namespace: Option<String>,
    /// `Running`, `2/3`, or whatever word the kind has for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Of a service: `ClusterIP`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    of_type: Option<String>,
    /// When it was made.
    created_at: Option<String>,
}

/// What is in a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResourcesView {
    cluster_id: String,
    resources: Vec<ResourceView>,
    total_count: usize,
    /// As asked for.
    kind: String,
    /// As asked for.
    namespace: String,
}

/// Lists objects of a cluster. Of Secrets the names alone are asked for.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/resources", tag = "clusters", operation_id = "listResources",
    params(
        ("cluster" = String, Path, description = "Id, integer or name"),
        ("kind" = Option<String>, Query, description = "`pods`, `pod`, `po` or `plural.group`; what `kubectl get all` shows when left out"),
        ("namespace" = Option<String>, Query, description = "One namespace; all when left out"),
    ),
    responses(
        (status = 200, body = ResourcesView),
        (status = 400, description = "There is no such kind, or there are too many objects"),
        (status = 403, description = "The cluster's own rules forbid it"),
        (status = 404, description = "No such cluster, or not the caller's"),
        (status = 503, description = "The cluster is away, or the hub reads as many lists as it can at once"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    context: RequestContext,
) -> ApiResult {
    let cluster = reference(&path, NO_CLUSTER)?;
    let cluster = app.cluster(&caller, cluster, &context).await.map_err(named(NO_CLUSTER))?;
    let given = |name: &str| query.one(name).map(|text| text.filter(|text| !text.is_empty()));
    let (kind, namespace) = (given("kind")?, given("namespace")?);
    check_namespace("query", namespace)?;
    let api = asker(&app, &request, cluster.id, &context)?;
    let mut resources = Vec::new();
    for found in find_all(&api, kind.unwrap_or(KINDS)).await.map_err(|failure| unknown(failure, kind))? {
        let accept = if found.is_secret() { AS_METADATA } else { AS_JSON };
        let show = |item: Value| resources.push(view(&found.kind, &item));
        match each(&api, &found.path(namespace, None), "", accept, show).await {
            Ok(()) => {}
            // Nobody sees what the cluster does not show them; who asked for it is told.
            Err(Failure::Cluster(403, _)) if kind.is_none() => {}
            Err(failure) => return Err(failure.into_error().into()),
        }
    }
    Ok(HttpResponse::Ok().json(ResourcesView {
        cluster_id: cluster.id.to_string(),
        total_count: resources.len(),
        resources,
        kind: kind.unwrap_or_default().to_owned(),
        namespace: namespace.unwrap_or_default().to_owned(),
    }))
}

/// A kind that the cluster does not have is a word of the query that is wrong.
fn unknown(failure: Failure, kind: Option<&str>) -> Error {
    match failure {
        Failure::Said(_) if kind.is_some() => {
            Error::field(&["query", "kind"], "value_error", "the cluster has no kind of that name")
        }
        other => other.into_error(),
    }
}

fn view(kind: &str, item: &Value) -> ResourceView {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let metadata = &item["metadata"];
    ResourceView {
        kind: kind.to_owned(),
        name: text(&metadata["name"]).unwrap_or_default(),
        namespace: text(&metadata["namespace"]),
        status: status(item),
        of_type: text(&item["spec"]["type"]).or_else(|| text(&item["type"])),
        created_at: text(&metadata["creationTimestamp"]),
    }
}

fn status(item: &Value) -> Option<String> {
    let (spec, status) = (&item["spec"], &item["status"]);
    if let Some(phase) = status["phase"].as_str() {
        return Some(phase.to_owned());
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let wanted = spec["replicas"].as_u64().or_else(|| status["desiredNumberScheduled"].as_u64())?;
    Some(format!("{}/{wanted}", number(&status["readyReplicas"]).max(number(&status["numberReady"]))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_have_the_word_of_their_kind() {
        let at = "2024-01-01T00:00:00Z";
        let pod = json!({"metadata": {"name": "a", "namespace": "n", "creationTimestamp": at}, "status": {"phase": "Running"}});
        let shown = serde_json::to_value(view("Pod", &pod)).unwrap();
        assert_eq!(shown, json!({"kind": "Pod", "name": "a", "namespace": "n", "status": "Running", "created_at": at}));
        let web = json!({"spec": {"replicas": 3}, "status": {"readyReplicas": 2}});
        assert_eq!(view("Deployment", &web).status.as_deref(), Some("2/3"));
        assert_eq!(status(&json!({"status": {"desiredNumberScheduled": 2, "numberReady": 2}})).as_deref(), Some("2/2"));
        assert_eq!(view("Service", &json!({"spec": {"type": "ClusterIP"}})).of_type.as_deref(), Some("ClusterIP"));
        assert_eq!(view("Node", &Value::Null).status, None);
    }
}
