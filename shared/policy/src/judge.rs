//! Decisions about requests to a cluster's own API, and as whom they go on.
//!
//! A role of the hub becomes a group in the cluster, and the cluster's own RBAC has the last word; so whoever may read a
//! cluster by a role, a grant or as its owner goes on as that role, whatever the request. What a rule gives beyond that goes
//! on in the role that the rule is worth, for the one kind of request that was judged: the signed identity says so, and the
//! agent holds it to that.

use chrono::{DateTime, Utc};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::{Action, Principal, Role};
use roadstead_contracts::policy::{ClusterFacts, Effect, Pattern, Rule};

use crate::ask::{Asked, Object};
use crate::decide::{decide, decide_by};
use crate::kubernetes::{Class, EVERYTHING, class, place};
use crate::matches::{applies, covers_cluster};
use crate::verdict::{Ground, Verdict};

/// As whom something that may be done goes to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// In the caller's own roles.
    Own,
    /// In this role, for this kind of request only.
    Raised(Role),
}

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it may be done.
    pub verdict: Verdict,
    /// As whom. Without meaning when it may not.
    pub goes_as: As,
}

impl Judgement {
    fn refused(verdict: Verdict) -> Self {
        Self { verdict, goes_as: As::Own }
    }
}

/// Whether the caller may send this request to the cluster.
pub fn judge(principal: &Principal, cluster: &ClusterFacts, request: &RequestKind, now: DateTime<Utc>) -> Judgement {
    let Some(object) = Object::of(request).filter(|_| class(request) != Class::Discovery) else {
        let verdict = enters(principal, cluster, now);
        let goes_as = if verdict.ground == Ground::Granted { As::Own } else { As::Raised(Role::Viewer) };
        return Judgement { verdict, goes_as };
    };
    let reading = Asked::object(Action::ClustersRead, cluster, object);
    let reads = decide(principal, &reading, now);
    if class(request) == Class::Read {
        let own = if reads.ground == Ground::Granted { own_role(principal, cluster) } else { None };
        return settled(principal, &reading, own, reads, now);
    }
    let writing = Asked::object(Action::OperationsWrite, cluster, object);
    let writes = decide(principal, &writing, now);
    // Who may not read something gets no answer to a change of it either.
    for verdict in [&writes, &reads] {
        if !verdict.allowed && matches!(verdict.ground, Ground::Rule { .. } | Ground::Invisible) {
            return Judgement::refused(verdict.clone());
        }
    }
    if !writes.allowed && reads.ground == Ground::Granted {
        // As the role that it is: the cluster's own RBAC may have given this person more.
        return Judgement { verdict: reads, goes_as: As::Own };
    }
    let own = if reads.ground == Ground::Granted { own_role(principal, cluster) } else { None };
    settled(principal, &writing, own, writes, now)
}

/// Whether the caller may send this request as somebody else. The right to act as others is asked for before; this is the
/// request itself, which the caller must be allowed: what the cluster's own RBAC gave to whom they act as is not theirs, so a
/// change takes the right to change it, and not the right to look.
pub fn judge_acting(
    principal: &Principal,
    cluster: &ClusterFacts,
    request: &RequestKind,
    now: DateTime<Utc>,
) -> Verdict {
    let verdict = judge(principal, cluster, request, now).verdict;
    match Object::of(request) {
        Some(object) if verdict.allowed && class(request) == Class::Write => {
            decide(principal, &Asked::object(Action::OperationsWrite, cluster, object), now)
        }
        _ => verdict,
    }
}

/// What denies a request to whom these rules concern, whatever else is granted: the refusal, if there is one. For somebody
/// as whom a caller acts.
pub fn denied(rules: &[Rule], cluster: &ClusterFacts, request: &RequestKind, now: DateTime<Utc>) -> Option<Verdict> {
    let object = Object::of(request).filter(|_| class(request) != Class::Discovery);
    let actions: &[Action] = match class(request) {
        Class::Discovery | Class::Read => &[Action::ClustersRead],
        Class::Write => &[Action::OperationsWrite, Action::ClustersRead],
    };
    actions.iter().find_map(|action| {
        let asked = Asked { action: *action, cluster: Some(cluster), object };
        let denies = |rule: &&Rule| rule.effect == Effect::Deny && rule.stands(now) && applies(rule, &asked);
        let rule = rules.iter().filter(denies).min_by_key(|rule| rule.id)?;
        let ground = Ground::Rule { id: rule.id, name: rule.name.clone() };
        Some(Verdict { allowed: false, action: *action, ground })
    })
}

/// Whether the caller may have these changes made, and in which role the cluster sees them: the change is signed as a whole,
/// so one role is for all of it. The first refusal counts.
pub fn judge_change(
    principal: &Principal,
    cluster: &ClusterFacts,
    changes: &[RequestKind],
    now: DateTime<Utc>,
) -> Judgement {
    let whole = Asked::cluster(Action::OperationsWrite, cluster);
    let mut judged = Judgement { verdict: decide(principal, &whole, now), goes_as: As::Own };
    if changes.is_empty() || judged.verdict.is_invisible() {
        return judged;
    }
    let mut raised = None;
    for change in changes {
        let kind = change.kind.as_deref().unwrap_or(EVERYTHING);
        let object = Object { verb: &change.verb, kind, also: change.also.as_deref(), place: place(change) };
        let asked = Asked::object(Action::OperationsWrite, cluster, object);
        // Nobody knows what it will be about: a rule that denies one kind denies this.
        let widened: Vec<Rule>;
        let rules = if kind == EVERYTHING {
            let widen = |rule: &Rule| match rule.effect {
                Effect::Deny => Rule { kinds: Vec::new(), ..rule.clone() },
                Effect::Allow => rule.clone(),
            };
            widened = principal.rules.iter().map(widen).collect();
            &widened
        } else {
            &principal.rules
        };
        let verdict = decide_by(principal, rules.iter(), &asked, now);
        if !verdict.allowed {
            return Judgement::refused(verdict);
        }
        let own = if verdict.ground == Ground::Granted { own_role(principal, cluster) } else { None };
        let one = settled(principal, &asked, own, verdict, now);
        if let As::Raised(role) = one.goes_as {
            raised = raised.max(Some(role));
        }
        judged.verdict = one.verdict;
    }
    Judgement { goes_as: raised.map_or(As::Own, As::Raised), ..judged }
}

/// Whether the caller may look at the cluster at all: its record, and what its API server serves. Whoever may do anything
/// there may.
pub fn enters(principal: &Principal, cluster: &ClusterFacts, now: DateTime<Utc>) -> Verdict {
    let whole = decide(principal, &Asked::cluster(Action::ClustersRead, cluster), now);
    if whole.ground != Ground::Missing {
        return whole;
    }
    let gives = |rule: &&Rule| {
        let here = rule.clusters.is_every() || covers_cluster(&rule.clusters, cluster);
        let something =
            rule.permissions.actions().iter().any(|action| matches!(action.words().0, "clusters" | "operations"));
        rule.effect == Effect::Allow && rule.stands(now) && here && something
    };
    match principal.rules.iter().filter(gives).min_by_key(|rule| rule.id) {
        Some(rule) => Verdict { allowed: true, ground: Ground::Rule { id: rule.id, name: rule.name.clone() }, ..whole },
        None => whole,
    }
}

/// Namespaces of a cluster, as far as the caller is shown them.
#[derive(Debug)]
pub struct Namespaces<'p>(Option<Vec<&'p Pattern>>);

impl Namespaces<'_> {
    /// Whether a namespace is among them.
    pub fn has(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(namespace)))
    }
}

/// Which namespaces the caller is shown in a list of them: all, or those for which a rule allows anything. An error when the
/// caller may not look at the cluster, or a rule denies the list.
pub fn namespaces<'p>(
    principal: &'p Principal,
    cluster: &ClusterFacts,
    now: DateTime<Utc>,
) -> Result<Namespaces<'p>, Verdict> {
    let every = judge(principal, cluster, &RequestKind::of("list", "namespaces", None), now).verdict;
    if every.allowed {
        return Ok(Namespaces(None));
    }
    let enters = enters(principal, cluster, now);
    if every.ground != Ground::Missing || !enters.allowed {
        return Err(if enters.allowed { every } else { enters });
    }
    let here = |rule: &&Rule| {
        rule.effect == Effect::Allow
            && rule.stands(now)
            && (rule.clusters.is_every() || covers_cluster(&rule.clusters, cluster))
    };
    if principal.rules.iter().filter(here).any(|rule| rule.namespaces.is_empty()) {
        return Ok(Namespaces(None));
    }
    Ok(Namespaces(Some(principal.rules.iter().filter(here).flat_map(|rule| &rule.namespaces).collect())))
}

/// For which kind of request an identity is signed for whoever lists the namespaces of a cluster; nothing for whoever lists
/// all of them in their own name. Who may not see all is shown some of them by the hub, and looks in as whoever may enter.
pub fn lists_namespaces_by(principal: &Principal, cluster: &ClusterFacts, now: DateTime<Utc>) -> Option<RequestKind> {
    let every = RequestKind::of("list", "namespaces", None);
    let Judgement { verdict, goes_as } = judge(principal, cluster, &every, now);
    match (verdict.allowed, goes_as) {
        (true, As::Own) => None,
        (true, As::Raised(_)) => Some(every),
        (false, _) => Some(RequestKind::discovery()),
    }
}

/// The highest role in which the cluster sees the caller without any rule.
fn own_role(principal: &Principal, cluster: &ClusterFacts) -> Option<Role> {
    let reads = principal.allows(Action::ClustersRead) && principal.can_see(cluster.id, cluster.owner);
    principal.cluster_roles().last().copied().filter(|_| reads)
}

/// What is allowed goes on as its own role, or in a higher one that an allow rule is worth.
fn settled(
    principal: &Principal,
    asked: &Asked<'_>,
    own: Option<Role>,
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Judgement {
    if !verdict.allowed {
        return Judgement::refused(verdict);
    }
    let gives = |rule: &&Rule| rule.effect == Effect::Allow && rule.stands(now) && applies(rule, asked);
    let given = principal.rules.iter().filter(gives).max_by_key(|rule| (worth(rule), std::cmp::Reverse(rule.id)));
    match given {
        Some(rule) if own.is_none_or(|own| worth(rule) > own) => {
            let ground = Ground::Rule { id: rule.id, name: rule.name.clone() };
            Judgement { verdict: Verdict { ground, ..verdict }, goes_as: As::Raised(worth(rule)) }
        }
        _ => Judgement { verdict, goes_as: As::Own },
    }
}

/// The role that a rule is worth in a cluster. Naming kinds is meant: what `view` does not show is then shown.
fn worth(rule: &Rule) -> Role {
    let changes = rule.permissions.cover(Action::OperationsWrite);
    let names = !rule.kinds.is_empty() && !rule.kinds.iter().any(Pattern::is_any);
    let least = if changes || names { Role::Operator } else { Role::Viewer };
    Role::covered(|action| rule.permissions.cover(action)).map_or(least, |role| role.max(least))
}

#[cfg(test)]
mod tests;
