//! Nodes by their state, as the agents last said: the seed asked Prometheus, anybody and without a credential (K8).

use actix_web::HttpResponse;
use roadstead_contracts::message::{Cluster, ClusterStatus, GetCluster, ListSeedClusters};
use roadstead_contracts::seed::kubeconfig::{NodeCounts, NodesStatus};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};

use crate::http::State;
use crate::http::v1::{NO_CLUSTER, named, reference};

/// Nodes of every cluster of the caller's that is connected.
#[utoipa::path(
    get, path = "/kubeconfig/nodes/status/all-clusters", tag = "seed 004", operation_id = "kubeconfigNodesOfAll",
    responses((status = 200, body = serde_json::Value, example = json!({
        "clusters": {"production-cluster": {"ready": 5, "not_ready": 0, "total": 5}},
        "totals": {"ready": 5, "not_ready": 0, "total": 5}
    }))),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn all(app: State, caller: Caller, context: RequestContext) -> ApiResult {
    let request = ListSeedClusters { principal: caller.principal.as_ref().clone() };
    let clusters = app.look_up(&request, &context).await?;
    let clusters: std::collections::BTreeMap<String, NodeCounts> = clusters
        .into_iter()
        .filter_map(|seed| counts(&seed.cluster).map(|counts| (seed.cluster.name.to_string(), counts)))
        .collect();
    let totals = clusters.values().fold(NodeCounts::default(), |sum, one| NodeCounts {
        ready: sum.ready + one.ready,
        not_ready: sum.not_ready + one.not_ready,
        total: sum.total + one.total,
    });
    Ok(HttpResponse::Ok().json(NodesStatus { clusters, totals }))
}

/// Nodes of one cluster; none while it is away.
#[utoipa::path(
    get, path = "/kubeconfig/nodes/status/cluster", tag = "seed 004", operation_id = "kubeconfigNodesOfOne",
    params(("cluster" = String, Query, description = "Name, integer or id")),
    responses(
        (status = 200, body = serde_json::Value, example = json!({"ready": 5, "not_ready": 0, "total": 5})),
        (status = 404, description = "Not there, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn one(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let cluster = reference(query.required("cluster")?, NO_CLUSTER)?.to_owned();
    let request = GetCluster { principal: caller.principal.as_ref().clone(), cluster };
    let cluster = app.look_up(&request, &context).await.map_err(named(NO_CLUSTER))?;
    Ok(HttpResponse::Ok().json(counts(&cluster).unwrap_or_default()))
}

/// What is known now: figures of a cluster that is away are old.
fn counts(cluster: &Cluster) -> Option<NodeCounts> {
    let there = matches!(cluster.status, ClusterStatus::Connected | ClusterStatus::Error);
    let total = u64::from(cluster.facts.node_count.filter(|_| there)?);
    let ready = u64::from(cluster.facts.ready_nodes.unwrap_or(0)).min(total);
    Some(NodeCounts { ready, not_ready: total - ready, total })
}
