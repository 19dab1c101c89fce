//! What the front door does: it asks the owners over the bus, as the caller.

mod ask_seed_agent;
mod authenticate;
mod connect_cluster;
mod create_cluster;
mod create_join_token;
mod create_operation;
mod create_rollout;
mod follow_operation;
mod get_namespaces;
mod import_manifest;
mod install_chart;
mod keys;
mod list_connected_agents;
mod live;
mod read_manifests;
mod read_page;
mod refresh_figures;
mod tell_peers;

use std::sync::Arc;
use std::time::Duration;

use roadstead_bus::{Bus, CallContext};
use roadstead_contracts::Result;
use roadstead_contracts::message::{Agent, AgentTarget, Handover, Request};
use roadstead_http_kit::RequestContext;
use roadstead_http_kit::forward::Forward;
use roadstead_http_kit::outgoing::Outgoing;
use roadstead_relay::{BodyStage, Cache, Handovers};
use roadstead_runtime::{Ids, Readiness, SharedClock};
use roadstead_telemetry::Metrics;

pub(crate) use authenticate::Authentication;
pub(crate) use connect_cluster::DirectCluster;
pub(crate) use create_cluster::{NewCluster, check_description};
pub(crate) use create_join_token::{JoinTokenRequest, Joined};
pub(crate) use create_operation::{Created, NewOperation, Terms};
pub(crate) use create_rollout::{Clusters, MadeRollout, NewRollout};
pub(crate) use follow_operation::{Follow, Told};
pub(crate) use install_chart::{ChartSource, NewChart};
pub(crate) use keys::TokenKeys;
pub(crate) use live::Live;
pub(crate) use read_manifests::SourceFile;
pub(crate) use refresh_figures::{Refreshed, mode};

use crate::options::{Options, PublicUrls};

/// How long a look-up in a registry may take: both databases answer in milliseconds, and a broker that is away is known
/// at once.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// How long a change of the registry may take.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a request may wait for databases, whatever it asks of them one after the other (row F06).
const DATABASES_DEADLINE: Duration = Duration::from_secs(10);
/// The least that a question is given.
const DEADLINE_MIN: Duration = Duration::from_secs(1);

/// Everything the handlers need.
pub(crate) struct App {
    pub(crate) options: Options,
    pub(crate) urls: PublicUrls,
    /// Who issued the certificate of the Kubernetes door, when no public authority did; PEM.
    pub(crate) kubernetes_authority: Option<String>,
    /// The Kubernetes door, when there is one; set once it is built, because it needs this.
    pub(crate) kubernetes: std::sync::OnceLock<Arc<crate::kubernetes::Door>>,
    pub(crate) bus: Bus,
    pub(crate) clock: SharedClock,
    pub(crate) ids: Ids,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) agents: Cache<(roadstead_contracts::ids::UserId, AgentTarget), Agent>,
    pub(crate) figures: tokio::sync::Mutex<Refreshed>,
    pub(crate) forward: Forward,
    /// Takes records of what is changed and refused here.
    pub(crate) audit: Arc<crate::audit::Audit>,
    /// Where manifests go: no message carries one.
    pub(crate) bodies: Arc<dyn BodyStage>,
    pub(crate) handovers: Arc<dyn Handovers>,
    /// Fetches charts that callers name by their addresses.
    pub(crate) outgoing: Outgoing,
    /// Who follows operations.
    pub(crate) live: Arc<Live>,
}

impl App {
    /// Asks the owner of something; the answer within [`LOOKUP_DEADLINE`].
    pub(crate) async fn look_up<R: Request>(&self, request: &R, context: &RequestContext) -> Result<R::Reply> {
        self.bus.call(request, &call(context, LOOKUP_DEADLINE)).await
    }

    /// Hands over what must not ride a queue.
    pub(crate) async fn hand_over<R: Handover>(&self, request: &R, context: &RequestContext) -> Result<R::Reply> {
        roadstead_relay::hand_over(&*self.handovers, request, &context.request_id).await
    }

    /// Forgets where agents are: a caller who changed that sees the change at once.
    pub(crate) fn forget_agents(&self) {
        self.agents.evict(|_, _| true);
    }

    /// Has the owner change something; the answer within [`CHANGE_DEADLINE`].
    pub(crate) async fn change<R: Request>(&self, request: &R, context: &RequestContext) -> Result<R::Reply> {
        self.bus.call(request, &call(context, CHANGE_DEADLINE)).await
    }
}

/// What is left of [`DATABASES_DEADLINE`]. What has gone on for longer, as a stream of events does, asks anew.
pub(crate) fn left(since: Duration) -> Duration {
    match DATABASES_DEADLINE.checked_sub(since) {
        Some(left) => left.max(DEADLINE_MIN),
        None => DATABASES_DEADLINE,
    }
}

pub(crate) fn call(context: &RequestContext, deadline: Duration) -> CallContext {
    let traceparent = context.traceparent.map(|trace| trace.to_string());
    let deadline = deadline.min(left(context.began.elapsed()));
    CallContext { deadline, request_id: context.request_id.clone(), traceparent }
}
