//! What is not as operations left it.

use actix_web::HttpResponse;
use actix_web::web::Path;
use chrono::{DateTime, Utc};
use roadstead_contracts::message::{ClusterDrift, Drifted, GetDrift};
use roadstead_contracts::operation::ObjectKey;
use roadstead_http_kit::{ApiResult, Caller, RequestContext};
use serde::Serialize;
use utoipa::ToSchema;

use super::{NO_CLUSTER, named, reference};
use crate::http::State;

/// What has drifted in a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriftView {
    /// The cluster.
    cluster_id: String,
    /// Its name.
    cluster_name: String,
    /// When its agent said so; null: it never said anything.
    reported_at: Option<DateTime<Utc>>,
    /// Objects that the agent watches.
    remembered: u32,
    /// Objects that have drifted. At most 500 of them are named.
    drifted: u32,
    /// Objects that the cluster does not let the agent look at.
    unseen: u32,
    /// Objects that were applied and are not watched, because as many are as may be.
    left_out: u32,
    /// Objects that have drifted.
    objects: Vec<DriftedView>,
}

/// An object that has drifted.
#[derive(Debug, Serialize, ToSchema)]
struct DriftedView {
    /// Which.
    key: KeyView,
    /// `changed` or `missing`.
    state: &'static str,
    /// The operation that applied it last.
    operation_id: String,
    /// When the hub first heard of it.
    since: DateTime<Utc>,
    /// The first fields that differ; never their values.
    fields: Vec<FieldView>,
    /// How many more do.
    more_fields: u32,
}

/// An object's key.
#[derive(Debug, Serialize, ToSchema)]
struct KeyView {
    /// `apps/v1`.
    api_version: String,
    /// `Deployment`.
    kind: String,
    /// Its namespace; null: it has none.
    namespace: Option<String>,
    /// Its name.
    name: String,
}

/// A field that is not as it was applied.
#[derive(Debug, Serialize, ToSchema)]
struct FieldView {
    /// `.spec.template.spec.containers[name="shop"].image`.
    path: String,
    /// Who manages it now; null: nobody.
    manager: Option<String>,
}

impl From<ClusterDrift> for DriftView {
    fn from(drift: ClusterDrift) -> Self {
        Self {
            cluster_id: drift.cluster_id.to_string(),
            cluster_name: drift.cluster_name.to_string(),
            reported_at: drift.reported_at,
            remembered: drift.counts.remembered,
            drifted: drift.counts.drifted,
            unseen: drift.counts.unseen,
            left_out: drift.counts.left_out,
            objects: drift.objects.into_iter().map(DriftedView::from).collect(),
        }
    }
}

impl From<Drifted> for DriftedView {
    fn from(Drifted { object, since }: Drifted) -> Self {
        let ObjectKey { api_version, kind, namespace, name } = object.key;
        let fields = object.fields.into_iter();
        Self {
            key: KeyView { api_version, kind, namespace, name },
            state: object.state.as_str(),
            operation_id: object.operation_id.to_string(),
            since,
            fields: fields.map(|field| FieldView { path: field.path, manager: field.manager }).collect(),
            more_fields: object.more_fields,
        }
    }
}

/// Shows what is not as operations left it: changed or removed since, by whoever. The agent notices it by watching.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/drift", tag = "operations", operation_id = "getDrift",
    params(("cluster" = String, Path, description = "Id, integer or name")),
    responses(
        (status = 200, body = DriftView),
        (status = 404, description = "No such cluster, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn get(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let cluster = reference(&path, NO_CLUSTER)?;
    let cluster = app.cluster(&caller, cluster, &context).await.map_err(named(NO_CLUSTER))?;
    let request = GetDrift { principal: caller.principal.as_ref().clone(), cluster: cluster.id.to_string() };
    let drift = app.look_up(&request, &context).await.map_err(named(NO_CLUSTER))?;
    Ok(HttpResponse::Ok().json(DriftView::from(drift)))
}
