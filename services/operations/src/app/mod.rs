//! What the service does: one verb a file. [`App`] is what every verb has at hand.

mod advance_rollout;
mod cancel;
mod change_rollout;
mod conclude;
mod create;
mod create_rollout;
mod delete;
mod expire;
mod forget;
mod get;
mod get_drift;
mod list;
mod permit;
mod report_drift;
mod retry;
mod seal_overrides;
mod stage_body;
mod steps;
mod tell_webhooks;
mod undo;
mod upkeep;

use std::sync::Arc;

use roadstead_bus::{Bus, CallContext, Incoming};
use roadstead_contracts::audit::{Actor, AuditRecord, Origin, Outcome, Resource};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::{Cluster, GetCluster};
use roadstead_contracts::{Error, Result};
use roadstead_relay::AgentStreams;
use roadstead_runtime::{Ids, ReadyPart, SharedClock, Tasks};
use roadstead_seal::Sealer;
use roadstead_store::OutboxRelay;
use roadstead_store::audit::AuditRelay;
use roadstead_telemetry::Metrics;
use tokio::sync::Notify;

pub(crate) use advance_rollout::run_rollouts;
pub(crate) use cancel::cancel_operation;
pub(crate) use change_rollout::change_rollout;
pub(crate) use conclude::conclude;
pub(crate) use create::{Draft, create_operation};
pub(crate) use create_rollout::create_rollout;
pub(crate) use delete::delete_operation;
pub(crate) use expire::sweep;
pub(crate) use get::{get_operation, get_rollout};
pub(crate) use get_drift::get_drift;
pub(crate) use list::{list_operations, list_rollouts};
pub(crate) use permit::{require_of, require_somewhere};
pub(crate) use report_drift::report_drift;
pub(crate) use retry::retry_operation;
pub(crate) use stage_body::{load_body, stage_body};
pub(crate) use steps::list_steps;
pub(crate) use tell_webhooks::run_webhooks;
pub(crate) use undo::{before_row, undo_operation};
pub(crate) use upkeep::run_upkeep;

use crate::Options;
use crate::dispatch::{Faults, Running};
use crate::domain::Record;
use crate::limits::ASK;
use crate::store::{Change, Store};

/// What every verb has at hand.
pub(crate) struct App {
    pub store: Arc<dyn Store>,
    pub relay: OutboxRelay,
    pub audit: AuditRelay,
    pub bus: Bus,
    pub clock: SharedClock,
    pub ids: Ids,
    pub tasks: Tasks,
    pub metrics: Metrics,
    pub options: Options,
    pub sealer: Sealer,
    pub streams: Arc<dyn AgentStreams>,
    /// Tells webhooks; none without a key for their signatures.
    pub webhooks: Option<roadstead_http_kit::webhook::Webhooks>,
    /// Where other members of the mesh bring bodies; none in one process.
    pub stage_address: Option<String>,
    /// Something can be dispatched.
    pub work: Notify,
    /// A rollout can go on.
    pub rollouts: Notify,
    /// What this process carries.
    pub running: Running,
    /// Whether work can be found.
    pub dispatcher_ready: ReadyPart,
    /// Named points at which tests let a dispatcher die.
    pub faults: Faults,
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

    /// Says that something was committed: events and records leave, work is looked for.
    pub(crate) fn committed(&self) {
        self.relay.nudge();
        self.audit.nudge();
    }

    /// An operation that exists for the caller; anything else is "not found" (reliability row R10).
    pub(crate) async fn visible(&self, principal: &Principal, id: OperationId) -> Result<Record> {
        let record = self.store.find_operation(id).await?;
        let record = record.filter(|record| record.visible_to(principal, self.clock.now()));
        record.ok_or_else(not_found)
    }

    /// The cluster as the registry shows it to the caller.
    pub(crate) async fn cluster(
        &self,
        principal: &Principal,
        cluster: impl std::fmt::Display,
        request_id: &str,
    ) -> Result<Cluster> {
        let request = GetCluster { principal: principal.clone(), cluster: cluster.to_string() };
        self.bus.call(&request, &CallContext::new(ASK, request_id)).await
    }

    /// Something that a caller did with an operation, stored in the same transaction.
    pub(crate) fn done(
        &self,
        principal: &Principal,
        request_id: &str,
        action: &'static str,
        resource: Resource,
        change: &Change,
    ) -> AuditRecord {
        AuditRecord::outcome(
            self.ids.next(),
            change.at,
            Origin::request(request_id),
            Actor::of(principal),
            action,
            resource,
            Outcome::succeeded(),
        )
    }
}

pub(crate) fn not_found() -> Error {
    Error::not_found("Operation not found")
}
