//! An operation as it is stored.

use chrono::{DateTime, Utc};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::audit::Actor;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{AuditId, ReplicaId, UserId};
use roadstead_contracts::message::{Operation, StepKind};
use roadstead_contracts::operation::{HelmAction, OperationState, Work};
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::scope::Scope;
use serde::{Deserialize, Serialize};

use super::life_cycle::{Input, Next, next};

/// What is stored as one document; columns that queries look at are written from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Doc {
    /// What callers see. Its `seq` is the row's.
    pub shown: Operation,
    /// Owner of the cluster when the operation was made.
    #[serde(default)]
    pub cluster_owner: Option<UserId>,
    /// The cluster as the registry had it then: what rules look at.
    #[serde(default)]
    pub cluster: Option<ClusterFacts>,
    /// What the work does to the cluster, each kind of change once.
    #[serde(default)]
    pub changes: Vec<RequestKind>,
    /// SHA-256 and length of the body.
    #[serde(default)]
    pub body: Option<Body>,
    /// Positions to do; none = all.
    #[serde(default)]
    pub only: Option<Vec<u32>>,
    /// Who asked, for the audit trail.
    pub actor: Actor,
    /// What the credential is held to.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Request that made it.
    #[serde(default)]
    pub request_id: String,
    /// Whether the agent accepted it at the present attempt.
    #[serde(default)]
    pub accepted: bool,
    /// Results of objects stored at the present attempt.
    #[serde(default)]
    pub stored: u32,
    /// Whether the ending is the agent's own word.
    #[serde(default)]
    pub ended_by_agent: bool,
    /// Bytes of output that were kept.
    #[serde(default)]
    pub output: usize,
    /// The intent that is open in the audit trail.
    #[serde(default)]
    pub intent: Option<AuditId>,
}

/// A staged body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    /// SHA-256, hex.
    pub sha256: String,
    /// Bytes.
    pub length: u64,
}

/// Who carries an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The process; none = nobody.
    pub holder: Option<ReplicaId>,
    /// Rises with every claim: who holds an older one writes nothing any more.
    pub token: i64,
    /// Until when it counts.
    pub until: Option<DateTime<Utc>>,
}

/// A stored operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// The document.
    pub doc: Doc,
    /// Who carries it.
    pub lease: Lease,
    /// Not tried before this.
    pub next_try_at: DateTime<Utc>,
    /// Sealed address to tell when it has ended.
    pub sealed_webhook: Option<String>,
    /// The agent is to be told that the ending is stored, not before this; none = nothing to tell.
    pub settle_at: Option<DateTime<Utc>>,
}

impl Record {
    /// State now.
    pub(crate) fn state(&self) -> OperationState {
        self.doc.shown.state
    }

    /// Whether it exists for a caller.
    pub(crate) fn visible_to(&self, principal: &Principal, now: DateTime<Utc>) -> bool {
        roadstead_policy::sees(principal, &self.facts(), now)
    }

    /// What rules look at of its cluster.
    pub(crate) fn facts(&self) -> ClusterFacts {
        let Doc { cluster, shown, cluster_owner, .. } = &self.doc;
        let unknown = || ClusterFacts {
            id: shown.cluster_id,
            name: Some(shown.cluster_name.to_string()),
            labels: None,
            owner: *cluster_owner,
        };
        cluster.clone().unwrap_or_else(unknown)
    }

    /// Takes an input: the new state with its step, or what it came to otherwise. `why` replaces the rule's own reason.
    pub(crate) fn take(&mut self, input: Input, why: Option<&str>, at: DateTime<Utc>) -> (Next, Option<StepKind>) {
        let answer = next(self.state(), input);
        let Next::To(state, rule) = answer else { return (answer, None) };
        let reason = why.filter(|why| !why.is_empty()).unwrap_or(rule).to_owned();
        let shown = &mut self.doc.shown;
        shown.state = state;
        shown.reason.clone_from(&reason);
        match state {
            OperationState::Dispatched => {
                shown.epoch += 1;
                self.doc.accepted = false;
                self.doc.stored = 0;
            }
            OperationState::Running => {
                shown.started_at.get_or_insert(at);
                self.doc.accepted = true;
            }
            _ => {}
        }
        if state.is_terminal() {
            shown.finished_at = Some(at);
        }
        (answer, Some(StepKind::State { state, reason }))
    }
}

/// Operations of one lane of a cluster run one after another, in the order in which they were asked for: two changes of the
/// same objects must not overtake each other. A lane is the one namespace that the work changes; the empty one is that of work
/// which changes several, or something that is in none, or nobody knows what: it takes turns with all lanes. What changes
/// nothing, or nothing that manifests describe, has its own lane and takes turns with none.
pub(crate) fn lane(doc: &Doc) -> String {
    let work = &doc.shown.work;
    if matches!(work, Work::Exec { .. }) || work.is_dry_run() {
        return format!("={}", doc.shown.id);
    }
    // What a chart holds is the chart's to say; releases of other namespaces go beside it.
    if let Work::Helm { namespace, .. } = work {
        return namespace.clone();
    }
    let mut places = doc.changes.iter().map(|change| change.namespace.as_deref());
    let first = places.next().flatten().unwrap_or_default();
    if places.all(|place| place == Some(first)) { first.to_owned() } else { String::new() }
}

/// Whether the work needs a body.
pub(crate) fn needs_body(work: &Work) -> bool {
    matches!(
        work,
        Work::Apply { .. }
            | Work::Delete { .. }
            | Work::Sync { .. }
            | Work::Undo { .. }
            | Work::Helm { action: HelmAction::Install, .. }
    )
}
