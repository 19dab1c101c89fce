//! What runs in a namespace, as the caller may see it: the lists of the seed's later frontend.

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use roadstead_contracts::names::is_dns_label;
use roadstead_contracts::seed::kubeconfig::ClusterDeed;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{ApiResult, Caller, RequestContext};
use serde_json::{Map, Value, json};

use super::{asker, cluster, no_number, time};
use crate::http::State;
use crate::kubectl::{AS_JSON, Failure, each, time_of};

/// Kinds of workloads, and where they are served.
const WORKLOADS: [(&str, &str); 7] = [
    ("pods", "/api/v1"),
    ("deployments", "/apis/apps/v1"),
    ("services", "/api/v1"),
    ("statefulsets", "/apis/apps/v1"),
    ("daemonsets", "/apis/apps/v1"),
    ("jobs", "/apis/batch/v1"),
    ("cronjobs", "/apis/batch/v1"),
];

pub(crate) fn namespace(text: &str, place: &str) -> Result<()> {
    if is_dns_label(text) {
        return Ok(());
    }
    Err(Error::field(&[place, "namespace"], "value_error", "a namespace must be a DNS label"))
}

/// Lists what runs in a namespace.
#[utoipa::path(
    get, path = "/kubeconfig/clusters/{cluster}/workloads/{namespace}", tag = "seed 004",
    operation_id = "kubeconfigWorkloads",
    params(
        ("cluster" = String, Path, description = "Integer, id or name"),
        ("namespace" = String, Path, description = "Namespace"),
    ),
    responses(
        (status = 200, body = serde_json::Value, example = json!({
            "success": true, "cluster_id": 1, "cluster_name": "production-cluster", "namespace": "shop",
            "workloads": {"pods": [{"name": "web-1", "namespace": "shop", "status": "Running", "node": "n1", "restarts": 0,
                "age": "2d", "containers": [{"name": "main", "image": "nginx:1", "ready": true, "restart_count": 0}]}],
                "deployments": [], "services": [], "statefulsets": [], "daemonsets": [], "jobs": [], "cronjobs": []},
            "total_workloads": 1, "retrieved_at": "2024-01-15T10:35:00Z"
        })),
        (status = 403, description = "The cluster's own rules forbid it"),
        (status = 404, description = "No such cluster, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn workloads(
    app: State,
    request: HttpRequest,
    caller: Caller,
    path: Path<(String, String)>,
    context: RequestContext,
) -> ApiResult {
    let (reference, name) = path.into_inner();
    let seed = cluster(&app, &caller, &reference, &context, no_number).await?;
    namespace(&name, "path")?;
    let api = asker(&app, &request, seed.cluster.id, &context)?;
    let now = app.clock.now();
    let (mut lists, mut counts) = (Map::new(), std::collections::BTreeMap::new());
    for (kind, base) in WORKLOADS {
        let mut shown: Vec<Value> = Vec::new();
        let show = |item: Value| shown.push(workload(kind, &item, now));
        let path = format!("{base}/namespaces/{name}/{kind}");
        each(&api, &path, "", AS_JSON, show).await.map_err(Failure::into_error)?;
        counts.insert(kind.to_owned(), shown.len());
        lists.insert(kind.to_owned(), shown.into());
    }
    let total: usize = counts.values().sum();
    let deed = ClusterDeed::WorkloadsAccessed { namespace: name.clone(), workload_counts: counts };
    app.tell_peers(&caller, &seed.cluster, deed).await;
    Ok(HttpResponse::Ok().json(json!({
        "success": true,
        "cluster_id": seed.cluster.seq,
        "cluster_name": seed.cluster.name,
        "namespace": name,
        "workloads": lists,
        "total_workloads": total,
        "retrieved_at": time(now),
    })))
}

/// One of these as the frontend shows it.
pub(crate) fn workload(kind: &str, item: &Value, now: DateTime<Utc>) -> Value {
    let (spec, status) = (&item["spec"], &item["status"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut shown = json!({
        "name": item["metadata"]["name"],
        "namespace": item["metadata"]["namespace"],
        "age": time_of(item["metadata"]["creationTimestamp"].as_str(), now),
        "created_at": item["metadata"]["creationTimestamp"],
        "labels": item["metadata"]["labels"],
    });
    let more = match kind {
        "pods" => {
            let statuses = list(&status["containerStatuses"]);
            let containers: Vec<Value> = list(&spec["containers"])
                .iter()
                .map(|container| {
                    let status = statuses.iter().find(|status| status["name"] == container["name"]);
                    let status = status.unwrap_or(&Value::Null);
                    json!({
                        "name": container["name"], "image": container["image"],
                        "ready": status["ready"].as_bool().unwrap_or(false),
                        "restart_count": number(&status["restartCount"]),
                    })
                })
                .collect();
            let restarts: u64 = statuses.iter().map(|status| number(&status["restartCount"])).sum();
            json!({ "status": status["phase"], "node": spec["nodeName"], "restarts": restarts, "containers": containers })
        }
        "services" => json!({ "type": spec["type"], "cluster_ip": spec["clusterIP"], "ports": spec["ports"] }),
        "daemonsets" => json!({
            "desired": number(&status["desiredNumberScheduled"]), "ready": number(&status["numberReady"]),
            "available": number(&status["numberAvailable"]),
        }),
        "jobs" => json!({
            "active": number(&status["active"]), "succeeded": number(&status["succeeded"]), "failed": number(&status["failed"]),
        }),
        "cronjobs" => json!({
            "schedule": spec["schedule"], "suspend": spec["suspend"].as_bool().unwrap_or(false),
            "active": list(&status["active"]).len(), "last_schedule": status["lastScheduleTime"],
        }),
        _ => json!({
            "replicas": number(&spec["replicas"]), "ready_replicas": number(&status["readyReplicas"]),
            "available_replicas": number(&status["availableReplicas"]),
        }),
    };
    extend(&mut shown, more);
    shown
}

pub(super) fn extend(shown: &mut Value, more: Value) {
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_say_what_the_frontend_shows() {
        let now = "2024-01-03T00:00:00Z".parse().unwrap();
        let pod = json!({
            "metadata": {"name": "a", "namespace": "n", "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "x:1"}, {"name": "side", "image": "y"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "main", "ready": true, "restartCount": 2}]},
        });
        let shown = workload("pods", &pod, now);
        assert_eq!(
            (shown["status"].as_str(), shown["restarts"].as_u64(), shown["age"].as_str()),
            (Some("Running"), Some(2), Some("2d"))
        );
        assert_eq!(shown["containers"][1], json!({"name": "side", "image": "y", "ready": false, "restart_count": 0}));
        for (kind, _) in WORKLOADS {
            assert!(workload(kind, &Value::Null, now).is_object(), "{kind}");
        }
    }
}
