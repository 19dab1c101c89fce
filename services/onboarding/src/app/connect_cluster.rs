//! A cluster that this service reaches by itself, with credentials that the caller gives. Nothing is dialled here: whoever
//! asks learns from the cluster's status whether it is reached, not from how long or how this fails (reliability row S05).

use roadstead_agent::kubernetes::Connection;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{
    Cluster, ClusterMode, ConnectCluster, ConnectionLimits, ConnectionSource, NewConnection as Given, ReconnectCluster,
};
use roadstead_contracts::{Code, Error, Result};

use super::create_cluster::{check_description, name_taken};
use super::{App, require, require_at};
use crate::domain::check_profile;
use crate::hosting::seal_connection;
use crate::limits::{BURST_MAX, QPS_MAX, TIMEOUT_SECONDS_MAX};
use crate::store::{NewCluster, NewConnection, Rights};

pub(crate) async fn connect_cluster(app: &App, request: ConnectCluster) -> Result<Cluster> {
    let principal = &request.principal;
    require(app, principal, Action::ClustersWrite)?;
    require(app, principal, Action::ClustersManage)?;
    check_description(&request.description)?;
    request.labels.check()?;
    check_profile(request.profile, &request.namespaces)?;
    let new = NewCluster {
        id: app.ids.next(),
        name: request.name.clone(),
        description: request.description,
        labels: request.labels,
        mode: ClusterMode::Direct,
        owner_id: principal.user_id,
        owner_seq: principal.user_seq,
        details: request.details,
    };
    let connection = checked(app, principal, new.id, &request.connection)?;
    let rights = Rights { profile: request.profile, namespaces: request.namespaces };
    let made = app.store.connect_cluster(&new, &connection, &rights, &app.own_change()).await;
    let record = made.map_err(|fault| name_taken(fault, new.name.as_str()))?;
    app.relay.nudge();
    app.hosting.notify_one();
    tracing::info!(cluster_id = %new.id, "cluster {} was made, reached at {}", new.name, connection.endpoint);
    Ok(record.cluster)
}

/// The same for a cluster that is there: its streams end and come back with the new credentials.
pub(crate) async fn reconnect_cluster(app: &App, request: ReconnectCluster) -> Result<Cluster> {
    let principal = &request.principal;
    let cluster = app.visible_cluster(principal, &request.cluster).await?.cluster;
    require_at(app, principal, Action::ClustersWrite, &cluster.policy_facts())?;
    require_at(app, principal, Action::ClustersManage, &cluster.policy_facts())?;
    let connection = checked(app, principal, cluster.id, &request.connection)?;
    let cutoff = app.presence.cutoff();
    let changed = app.store.reconnect_cluster(cluster.id, &connection, cutoff, &app.own_change()).await?;
    let changed = changed.ok_or_else(|| Error::new(Code::Conflict, "this cluster has an agent of its own"))?;
    app.relay.nudge();
    app.hosting.notify_one();
    tracing::info!(cluster_id = %cluster.id, "cluster {} has new credentials", cluster.name);
    Ok(changed.cluster)
}

fn checked(app: &App, principal: &Principal, cluster: ClusterId, given: &Given) -> Result<NewConnection> {
    if matches!(given.source, ConnectionSource::InCluster {}) {
        // It acts with the hub's own account.
        require(app, principal, Action::SystemWrite)?;
    }
    let limits = given.limits;
    check_limits(limits)?;
    let (connection, target) = Connection::check(&given.source, app.clock.now())?;
    if let Some(target) = target {
        app.outgoing.check_target(&target)?;
    }
    let sealed = seal_connection(&app.sealer, cluster, &connection)?;
    Ok(NewConnection { agent: app.ids.next(), endpoint: connection.server, limits, sealed })
}

fn check_limits(limits: ConnectionLimits) -> Result<()> {
    let fault = |field: &str, most: f64| {
        Err(Error::field(&["body", field], "value_error", format!("{field} must be above 0 and at most {most}")))
    };
    if !(limits.qps > 0.0 && limits.qps <= QPS_MAX) {
        return fault("qps", QPS_MAX);
    }
    if limits.burst == 0 || limits.burst > BURST_MAX {
        return fault("burst", f64::from(BURST_MAX));
    }
    if limits.timeout_seconds == 0 || limits.timeout_seconds > TIMEOUT_SECONDS_MAX {
        return fault("timeout", f64::from(TIMEOUT_SECONDS_MAX));
    }
    Ok(())
}
