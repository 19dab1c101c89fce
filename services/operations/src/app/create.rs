//! Makes an operation. It waits in the queue from the commit on.

use chrono::{DateTime, TimeDelta};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::audit::{Actor, Resource};
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::{ClusterId, OperationId, RolloutId, UserId};
use roadstead_contracts::message::{CreateOperation, Operation};
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::operation::{Counts, ObjectKey, OperationState, RUN_HEAD_MAX, Work};
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::{Code, Error, Result};
use roadstead_relay::digest;

use super::permit::{changes, require_changes};
use super::{App, load_body, require_somewhere};
use crate::domain::{Body, Doc, Lease, Record, cut, needs_body};
use crate::limits::{DEADLINE_SECONDS, DESCRIPTION_MAX, KEY_MAX, PRIORITY, PRIORITY_MAX};
use crate::store::{Change, Created, Key, NewOperation};

/// Seconds after which a full cluster may have room.
const FULL_RETRY: u32 = 30;
/// Room in the order's line for what is not the work.
const HEAD_REST: usize = 8 * 1024;

pub(crate) async fn create_operation(
    app: &App,
    request: CreateOperation,
    change: Change,
    request_id: &str,
) -> Result<Operation> {
    let principal = request.principal.clone();
    require_somewhere(app, &principal, Action::OperationsWrite)?;
    let key = request.idempotency_key.as_deref().map(|key| key_of(&principal, "operation", key, &asked(&request)));
    let webhook_url = match &request.webhook_sha256 {
        Some(sha256) => Some(staged_url(app, sha256).await?),
        None => request.webhook_url,
    };
    let draft = Draft {
        cluster_id: request.cluster_id,
        cluster_name: request.cluster_name,
        cluster_owner: None,
        cluster: None,
        changes: Vec::new(),
        work: request.work,
        body: None,
        only: None,
        source: request.source,
        description: request.description,
        priority: request.priority,
        deadline_seconds: request.deadline_seconds,
        webhook_url,
        rollout_id: None,
        origin_id: None,
    };
    let draft = app.checked(draft, &principal, request.body_sha256.as_deref(), request_id).await?;
    let made = app.make(draft, &principal, key.transpose()?, change, request_id).await?;
    if let Some(sha256) = &request.webhook_sha256
        && let Err(fault) = app.store.claim_body(sha256).await
    {
        // It counts among the bodies that wait until its hour is over.
        tracing::debug!("a webhook's address was not claimed: {fault}");
    }
    Ok(made)
}

/// The address of a webhook, which came past the queue.
async fn staged_url(app: &App, sha256: &str) -> Result<String> {
    let length = app.store.body_length(sha256).await?.ok_or_else(no_body)?;
    let url = load_body(app, Some(&Body { sha256: sha256.to_owned(), length })).await?;
    String::from_utf8(url.to_vec())
        .map_err(|_| Error::field(&["body", "webhook_url"], "value_error", "webhook_url must be UTF-8"))
}

/// What makes two requests with the same key the same.
fn asked(request: &CreateOperation) -> serde_json::Value {
    serde_json::json!([
        request.cluster_id,
        request.work,
        request.body_sha256,
        request.description,
        request.deadline_seconds,
        request.priority,
        request.webhook_sha256.clone().or_else(|| request.webhook_url.as_ref().map(|url| digest(url.as_bytes()))),
    ])
}

/// An idempotency key of a caller, for one kind of thing.
pub(super) fn key_of(principal: &Principal, kind: &str, key: &str, asked: &serde_json::Value) -> Result<Key> {
    if key.is_empty() || key.len() > KEY_MAX || key.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::field(
            &["header", "Idempotency-Key"],
            "value_error",
            "the key must have 1 to 255 characters",
        ));
    }
    Ok(Key { user: principal.user_id, key: format!("{kind}:{key}"), digest: digest(asked.to_string().as_bytes()) })
}

/// An operation as somebody wants it.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub cluster_id: ClusterId,
    pub cluster_name: ClusterName,
    pub cluster_owner: Option<UserId>,
    /// What rules look at of the cluster.
    pub cluster: Option<ClusterFacts>,
    /// What the work does to it.
    pub changes: Vec<RequestKind>,
    pub work: Work,
    pub body: Option<Body>,
    pub only: Option<Vec<u32>>,
    pub source: String,
    pub description: String,
    pub priority: Option<u8>,
    pub deadline_seconds: Option<u32>,
    pub webhook_url: Option<String>,
    pub rollout_id: Option<RolloutId>,
    pub origin_id: Option<OperationId>,
}

impl App {
    /// Checks a draft and finds its cluster and body.
    pub(super) async fn checked(
        &self,
        mut draft: Draft,
        principal: &Principal,
        body_sha256: Option<&str>,
        request_id: &str,
    ) -> Result<Draft> {
        check_work(&draft.work)?;
        // Who asks what would change waits for nothing; the looks of rollouts do.
        if let Work::Apply { dry_run: true, wait, .. } = &mut draft.work {
            *wait = false;
        }
        let fault = |field: &str, message: &str| Err(Error::field(&["body", field], "value_error", message));
        if draft.description.len() > DESCRIPTION_MAX {
            return fault("description", "description is too long");
        }
        if draft.priority.is_some_and(|priority| priority > PRIORITY_MAX) {
            return fault("priority", "priority must be 0 to 9");
        }
        if draft.deadline_seconds.is_some_and(|seconds| !DEADLINE_SECONDS.contains(&seconds)) {
            return fault("deadline_seconds", "deadline_seconds must be 1 second to 7 days");
        }
        if let Some(url) = &draft.webhook_url {
            match &self.webhooks {
                Some(webhooks) => super::tell_webhooks::check(webhooks, url)?,
                None => {
                    return fault("webhook_url", "this hub takes no webhooks: operations.webhook_secret is not set");
                }
            }
        }
        match (needs_body(&draft.work), body_sha256) {
            (true, None) => return fault("manifests", "manifests are missing"),
            (false, Some(_)) => return fault("manifests", "this kind of operation takes no manifests"),
            (true, Some(sha256)) => {
                let length = self.store.body_length(sha256).await?.ok_or_else(no_body)?;
                draft.body = Some(Body { sha256: sha256.to_owned(), length });
            }
            (false, None) => draft.body = None,
        }
        let cluster = self.cluster(principal, draft.cluster_id, request_id).await?;
        let facts = cluster.policy_facts();
        draft.changes = changes(self, &draft.work, draft.body.as_ref()).await?;
        require_changes(self, principal, &facts, &draft.changes)?;
        draft.cluster = Some(facts);
        draft.cluster_owner = cluster.owner_id;
        draft.cluster_name = cluster.name;
        Ok(draft)
    }

    /// The operation that a draft becomes.
    pub(crate) fn record(
        &self,
        draft: Draft,
        principal: &Principal,
        change: &Change,
        request_id: &str,
    ) -> Result<Record> {
        let id: OperationId = self.ids.next();
        let seconds = draft.deadline_seconds.map_or_else(
            || TimeDelta::from_std(self.options.deadline).unwrap_or(TimeDelta::hours(1)),
            |seconds| TimeDelta::seconds(i64::from(seconds)),
        );
        let sealed_webhook = draft
            .webhook_url
            .map(|url| self.sealer.seal("operations", "sealed_webhook", id, url.as_bytes()))
            .transpose()?
            .map(|sealed| sealed.as_str().to_owned());
        let shown = Operation {
            id,
            seq: 0,
            cluster_id: draft.cluster_id,
            cluster_name: draft.cluster_name,
            kind: draft.work.kind(),
            state: OperationState::Queued,
            reason: String::new(),
            work: draft.work,
            source: cut(&draft.source, 64),
            description: draft.description,
            created_by: principal.user_id,
            created_by_name: principal.username.clone(),
            epoch: 0,
            priority: draft.priority.unwrap_or(PRIORITY),
            objects: 0,
            counts: Counts::default(),
            error: None,
            exit_code: None,
            rollout_id: draft.rollout_id,
            origin_id: draft.origin_id,
            undoable: false,
            last_step: 1,
            deadline: change.at + seconds,
            started_at: None,
            finished_at: None,
            created_at: change.at,
            updated_at: change.at,
        };
        let doc = Doc {
            shown,
            cluster_owner: draft.cluster_owner,
            cluster: draft.cluster,
            changes: draft.changes,
            body: draft.body,
            only: draft.only,
            actor: Actor::of(principal),
            scope: principal.scope.clone(),
            request_id: cut(request_id, 128),
            accepted: false,
            stored: 0,
            ended_by_agent: false,
            output: 0,
            intent: None,
        };
        // At once, whatever the clocks of replicas say.
        let next_try_at = DateTime::UNIX_EPOCH;
        Ok(Record { doc, lease: Lease::default(), next_try_at, sealed_webhook, settle_at: None })
    }

    /// Stores a checked draft and has it dispatched.
    pub(super) async fn make(
        &self,
        draft: Draft,
        principal: &Principal,
        key: Option<Key>,
        change: Change,
        request_id: &str,
    ) -> Result<Operation> {
        let record = self.record(draft, principal, &change, request_id)?;
        let shown = &record.doc.shown;
        let resource = Resource::id("operation", shown.id).in_cluster(shown.cluster_id);
        let audit = self
            .done(principal, request_id, "operation.create", resource, &change)
            .with("kind", shown.kind.as_str())
            .with("cluster", shown.cluster_name.as_str())
            .with("body_sha256", record.doc.body.as_ref().map_or("", |body| body.sha256.as_str()));
        let new = NewOperation { record, key, audit: vec![audit] };
        let made = match self.store.create_operation(&new, &change).await {
            // Somebody with the same key was a moment faster: its operation is there now.
            Err(fault) if new.key.is_some() && matches!(fault, roadstead_store::Error::Conflict { .. }) => {
                self.store.create_operation(&new, &change).await?
            }
            other => other?,
        };
        match made {
            Created::New(record) => {
                self.committed();
                self.work.notify_one();
                let shown = record.doc.shown;
                tracing::info!(
                    operation_id = %shown.id,
                    cluster_id = %shown.cluster_id,
                    "operation {} ({}) was queued for cluster {}",
                    shown.id,
                    shown.kind.as_str(),
                    shown.cluster_name
                );
                Ok(shown)
            }
            Created::Before(record) => Ok(record.doc.shown),
            Created::Mismatch => Err(mismatch()),
            Created::NoBody => Err(no_body()),
            Created::Full => Err(Error::new(Code::AgentBusy, "the cluster has as many operations under way as it may")
                .retry_after(FULL_RETRY)),
        }
    }
}

pub(super) fn mismatch() -> Error {
    Error::new(Code::IdempotencyMismatch, "the idempotency key was used for another operation")
}

pub(super) fn no_body() -> Error {
    Error::new(Code::Conflict, "the manifests are not staged any more; send them again")
}

/// What an agent would refuse is refused here already.
fn check_work(work: &Work) -> Result<()> {
    let fault = |field: &str, message: &str| Err(Error::field(&["body", field], "value_error", message));
    let key = |object: &ObjectKey| {
        if object.kind.is_empty() || object.name.is_empty() || object.api_version.is_empty() {
            return fault("object", "object must have api_version, kind and name");
        }
        Ok(())
    };
    match work {
        Work::Scale { object, .. } | Work::Restart { object, .. } | Work::Rollback { object, .. } => key(object)?,
        Work::Exec { namespace, pod, command, .. } => {
            if command.is_empty() || command[0].is_empty() {
                return fault("command", "command is missing");
            }
            if namespace.is_empty() || pod.is_empty() {
                return fault("pod", "namespace and pod are missing");
            }
        }
        Work::Apply { prune: Some(prune), inventory, .. } if inventory.as_ref().is_some_and(|name| name != prune) => {
            return fault("prune", "prune and inventory must name the same inventory");
        }
        Work::Helm { release, namespace, .. } if release.is_empty() || namespace.is_empty() => {
            return fault("release", "release and namespace are missing");
        }
        Work::Apply { .. } | Work::Delete { .. } | Work::Sync { .. } | Work::Undo { .. } | Work::Helm { .. } => {}
    }
    let length = serde_json::to_vec(work).map_or(usize::MAX, |text| text.len());
    if length > RUN_HEAD_MAX - HEAD_REST {
        return fault("work", "the request is too long");
    }
    Ok(())
}
