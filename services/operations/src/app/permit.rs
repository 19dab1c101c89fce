//! What the policy says about operations: asked when one is made, about each kind of change in it, and of whoever reads or
//! stops one later. The user service asks again at each dispatch.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::operation::Work;
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::kubernetes::{EVERYTHING, place};
use roadstead_policy::{Asked, Ground, Object, Verdict};

use super::{App, load_body};
use crate::domain::{Body, Record, changes_of};

/// Bodies from this size on are read on a thread of their own: reading 64 KiB takes a millisecond.
const LARGE: usize = 64 * 1024;

/// What a piece of work with this body does.
pub(super) async fn changes(app: &App, work: &Work, body: Option<&Body>) -> Result<Vec<RequestKind>> {
    let plain = load_body(app, body).await?;
    read_changes(work, plain).await
}

async fn read_changes(work: &Work, plain: Bytes) -> Result<Vec<RequestKind>> {
    if plain.len() < LARGE {
        return Ok(changes_of(work, &plain));
    }
    let work = work.clone();
    let reading = tokio::task::spawn_blocking(move || changes_of(&work, &plain));
    reading.await.map_err(|_| Error::of(Code::Internal))
}

/// Whether the caller may do this to work that changes a cluster so. A rule that is limited to something in the cluster is
/// enough where it covers all of the work.
pub(super) fn permits(
    principal: &Principal,
    action: Action,
    cluster: &ClusterFacts,
    changes: &[RequestKind],
    now: DateTime<Utc>,
) -> Verdict {
    let whole = roadstead_policy::decide(principal, &Asked::cluster(action, cluster), now);
    if whole.ground != Ground::Missing {
        return whole;
    }
    let mut last = whole;
    for change in changes {
        // Reading about a change is reading, whatever the change was.
        let verb = if action == Action::OperationsRead { "get" } else { &change.verb };
        let kind = change.kind.as_deref().unwrap_or(EVERYTHING);
        let object = Object { verb, kind, also: change.also.as_deref(), place: place(change) };
        last = roadstead_policy::decide(principal, &Asked::object(action, cluster, object), now);
        if !last.allowed {
            return last;
        }
    }
    last
}

/// Refuses what the caller may do nowhere. For lists, which leave out what is not the caller's, and before anything is read.
pub(crate) fn require_somewhere(app: &App, principal: &Principal, action: Action) -> Result<()> {
    roadstead_policy::gate(principal, action, app.clock.now()).check(principal)
}

/// Refuses what the caller may not do with this operation. Asked after visibility.
pub(crate) fn require_of(app: &App, principal: &Principal, action: Action, record: &Record) -> Result<()> {
    permits(principal, action, &record.facts(), &record.doc.changes, app.clock.now()).check(principal)
}

/// Refuses changes that the caller may not make to a cluster: each kind of change is judged, and the first refusal is told.
pub(super) fn require_changes(
    app: &App,
    principal: &Principal,
    cluster: &ClusterFacts,
    changes: &[RequestKind],
) -> Result<()> {
    roadstead_policy::judge_change(principal, cluster, changes, app.clock.now()).verdict.check(principal)
}
