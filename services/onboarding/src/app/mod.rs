//! What the service does: one verb a file. [`App`] is what every verb has at hand.

mod ask_agent;
mod ask_seed_agent;
mod check_join_token;
mod connect_cluster;
mod count_clusters;
mod create_cluster;
mod create_join_token;
mod delete_cluster;
mod enrol;
mod find_replica;
mod forget_user;
mod generate_agent_id;
mod get_cluster;
mod get_namespaces;
mod handover;
mod host;
mod list_agents;
mod list_clusters;
mod list_join_tokens;
mod list_recordings;
mod list_seed_clusters;
mod onboard_seed_cluster;
mod open_stream;
mod read_recording;
mod resolve_agent;
mod revoke_agent;
mod revoke_join_token;
mod target;
mod update_cluster;

use std::sync::Arc;

use roadstead_bus::{Bus, Incoming};
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::{ReplicaId, TypedId as _};
use roadstead_contracts::message::{Cluster, Page};
use roadstead_contracts::policy::{ClusterFacts, Effect, Rule};
use roadstead_contracts::{Code, Error, Result};
use roadstead_kv::Kv;
use roadstead_policy::Asked;
use roadstead_runtime::config::Settings;
use roadstead_runtime::outgoing::Policy;
use roadstead_runtime::{Ids, ReadyPart, SharedClock, Tasks};
use roadstead_seal::Sealer;
use roadstead_store::OutboxRelay;
use roadstead_store::audit::Trail;
use roadstead_telemetry::Metrics;
use roadstead_telemetry::metrics::labels::Outcome;

pub(crate) use ask_agent::{Asker, Question};
pub(crate) use ask_seed_agent::{ask_seed_agent, ask_seed_agent_here};
pub(crate) use check_join_token::check_join_token;
pub(crate) use connect_cluster::{connect_cluster, reconnect_cluster};
pub(crate) use count_clusters::count_clusters;
pub(crate) use create_cluster::create_cluster;
pub(crate) use create_join_token::{create_join_token, new_token};
pub(crate) use delete_cluster::delete_cluster;
pub(crate) use enrol::enrol;
pub(crate) use find_replica::find_replica;
pub(crate) use forget_user::forget_user;
pub(crate) use generate_agent_id::generate_agent_id;
pub(crate) use get_cluster::{get_cluster, get_seed_cluster};
pub(crate) use get_namespaces::{ask_namespaces, get_namespaces, get_namespaces_here};
pub(crate) use handover::handover;
pub(crate) use host::{Ends, host, serve_hosted};
pub(crate) use list_agents::list_agents;
pub(crate) use list_clusters::list_clusters;
pub(crate) use list_join_tokens::list_join_tokens;
pub(crate) use list_recordings::list_recordings;
pub(crate) use list_seed_clusters::list_seed_clusters;
pub(crate) use onboard_seed_cluster::onboard_seed_cluster;
pub(crate) use open_stream::locate_agent;
pub(crate) use read_recording::read_recording;
pub(crate) use resolve_agent::resolve_agent;
pub(crate) use revoke_agent::revoke_agent;
pub(crate) use revoke_join_token::revoke_join_token;
pub(crate) use target::agent_by_id;
pub(crate) use update_cluster::update_cluster;

use crate::domain::{ClusterRecord, ClusterRef, View};
use crate::session::{Keys, Presence, Registry};
use crate::store::{Change, Store};

/// What every verb has at hand.
pub(crate) struct App {
    pub store: Arc<dyn Store>,
    pub relay: OutboxRelay,
    /// Records of what is changed here.
    pub trail: Trail,
    pub bus: Bus,
    pub kv: Arc<dyn Kv>,
    pub clock: SharedClock,
    pub ids: Ids,
    pub tasks: Tasks,
    pub metrics: Metrics,
    pub settings: Arc<Settings>,
    pub replica: ReplicaId,
    /// Where other members of the mesh reach this replica's agents; `None` in one process.
    pub replica_address: Option<String>,
    pub sessions: Registry,
    pub presence: Presence,
    pub keys: Keys,
    pub keys_ready: ReadyPart,
    /// Seals credentials and recordings.
    pub sealer: Sealer,
    /// What may be dialled of what callers name.
    pub outgoing: Policy,
    /// Wakes whoever hosts clusters: one was made or changed.
    pub hosting: tokio::sync::Notify,
}

impl App {
    /// A change on behalf of a message.
    pub(crate) fn change(&self, incoming: &Incoming) -> Change {
        Change::asked_by(&incoming.message_id, &self.clock, &self.ids)
    }

    /// A change of the service's own accord.
    pub(crate) fn own_change(&self) -> Change {
        Change::own(&self.clock, &self.ids)
    }

    /// Counts an agent that knocked.
    pub(crate) fn count_handshake(&self, outcome: &'static str) {
        self.metrics.agent_handshakes.get_or_create(&Outcome { outcome }).inc();
    }

    /// A cluster that exists for the caller; anything else is "not found" (reliability row R10).
    pub(crate) async fn visible_cluster(&self, principal: &Principal, text: &str) -> Result<ClusterRecord> {
        let missing = || Error::not_found("Cluster not found");
        let by = short(text).and_then(ClusterRef::parse).ok_or_else(missing)?;
        let record = self.store.find_cluster(&by, self.presence.cutoff()).await?.ok_or_else(missing)?;
        if self.sees(principal, &record.cluster) { Ok(record) } else { Err(missing()) }
    }

    /// Whether a cluster exists for the caller: owned, granted, or named by a rule that allows something there.
    pub(crate) fn sees(&self, principal: &Principal, cluster: &Cluster) -> bool {
        roadstead_policy::sees(principal, &cluster.policy_facts(), self.clock.now())
    }

    /// The caller's view of the registry: what rules show beside what is owned and granted is looked up here, because
    /// rules name clusters by patterns of labels and the store does not know those.
    pub(crate) async fn view(&self, principal: &Principal) -> Result<View> {
        let mut view = View::of(principal);
        let now = self.clock.now();
        let shows = |rule: &Rule| rule.effect == Effect::Allow && rule.stands(now) && !rule.clusters.is_every();
        if view.all || !principal.rules.iter().any(shows) {
            return Ok(view);
        }
        let clusters = self.store.policy_facts().await?;
        let shown = clusters.iter().filter(|cluster| roadstead_policy::sees(principal, cluster, now));
        view.granted.extend(shown.map(|cluster| cluster.id.uuid().simple().to_string()));
        Ok(view)
    }
}

/// Refuses what is not allowed to the caller about the hub itself: making clusters.
pub(crate) fn require(app: &App, principal: &Principal, action: Action) -> Result<()> {
    roadstead_policy::decide(principal, &Asked::hub(action), app.clock.now()).check(principal)
}

/// Refuses what the caller may do nowhere. For lists, which leave out what is not the caller's.
pub(crate) fn require_somewhere(app: &App, principal: &Principal, action: Action) -> Result<()> {
    roadstead_policy::gate(principal, action, app.clock.now()).check(principal)
}

/// Refuses what is not allowed at this cluster. Asked after visibility: 403 for what is seen, 404 for what is not.
pub(crate) fn require_at(app: &App, principal: &Principal, action: Action, cluster: &ClusterFacts) -> Result<()> {
    roadstead_policy::decide(principal, &Asked::cluster(action, cluster), app.clock.now()).check(principal)
}

/// Refuses a look at a cluster to whoever may do nothing there.
pub(crate) fn require_entry(app: &App, principal: &Principal, cluster: &ClusterFacts) -> Result<()> {
    roadstead_policy::enters(principal, cluster, app.clock.now()).check(principal)
}

/// What is allowed about something that has a cluster, or has none yet.
pub(crate) fn require_of(
    app: &App,
    principal: &Principal,
    action: Action,
    cluster: Option<&ClusterFacts>,
) -> Result<()> {
    match cluster {
        Some(cluster) => require_at(app, principal, action, cluster),
        None => require(app, principal, action),
    }
}

/// Refuses a credential that is held to named clusters what would make another.
pub(crate) fn require_unbound(principal: &Principal) -> Result<()> {
    if principal.is_cluster_bound() { Err(Code::Forbidden.into()) } else { Ok(()) }
}

/// A page without what the caller's credential is not held to: the store knows accounts, not credentials.
pub(crate) fn within_scope<T>(principal: &Principal, mut page: Page<T>, sees: impl Fn(&T) -> bool) -> Page<T> {
    if principal.is_cluster_bound() {
        page.items.retain(sees);
        page.total = page.items.len() as u64;
    }
    page
}

/// A reference that is short enough to be looked at.
fn short(text: &str) -> Option<&str> {
    Some(text).filter(|text| text.len() <= crate::limits::REFERENCE_MAX)
}
