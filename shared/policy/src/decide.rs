use chrono::{DateTime, Utc};
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::policy::{ClusterFacts, Effect, Rule};

use crate::ask::Asked;
use crate::matches::{applies, covers_cluster};
use crate::verdict::{Ground, Verdict};

/// Whether the caller may do what is asked, by its roles and the rules that came with it.
pub fn decide(principal: &Principal, asked: &Asked<'_>, now: DateTime<Utc>) -> Verdict {
    decide_by(principal, principal.rules.iter(), asked, now)
}

/// The same by other rules: each must concern the caller; their order does not matter, nor whether one comes twice.
pub fn decide_by<'r>(
    principal: &Principal,
    rules: impl Iterator<Item = &'r Rule>,
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Verdict {
    let base = asked.cluster.is_none_or(|cluster| principal.can_see(cluster.id, cluster.owner));
    let reaches = |cluster: &ClusterFacts| principal.scope.as_ref().is_none_or(|scope| scope.reaches(cluster.id));
    let within = asked.cluster.is_none_or(reaches);
    let (mut visible, mut denies, mut allows) = (base, None, None);
    for rule in rules.filter(|rule| rule.stands(now)) {
        visible = visible || shows(rule, asked.cluster);
        if applies(rule, asked) {
            let first = if rule.effect == Effect::Deny { &mut denies } else { &mut allows };
            *first = Some(earlier(*first, rule));
        }
    }
    let by = |rule: &Rule| Ground::Rule { id: rule.id, name: rule.name.clone() };
    let (allowed, ground) = match (denies, allows) {
        _ if !(visible && within) => (false, Ground::Invisible),
        (Some(rule), _) => (false, by(rule)),
        _ if !principal.in_scope(asked.action) => (false, Ground::Scope),
        _ if base && principal.is_granted(asked.action) => (true, Ground::Granted),
        (None, Some(rule)) => (true, by(rule)),
        (None, None) => (false, Ground::Missing),
    };
    Verdict { allowed, action: asked.action, ground }
}

/// Whether the caller may do it at all, somewhere: what a route can ask before it knows about what. Not a permission:
/// the handler still asks [`decide`] about the cluster and the object. What is about no cluster (accounts, the hub, its
/// trail) has no such handler: a rule for some clusters gives nothing of it here.
pub fn gate(principal: &Principal, action: Action, now: DateTime<Utc>) -> Verdict {
    let (mut denies, mut allows) = (None, None);
    let of_clusters = matches!(action.words().0, "clusters" | "operations");
    for rule in principal.rules.iter().filter(|rule| rule.stands(now) && rule.permissions.cover(action)) {
        let everywhere = rule.clusters.is_every() && !rule.is_within_clusters();
        match rule.effect {
            Effect::Deny if everywhere => denies = Some(earlier(denies, rule)),
            Effect::Allow if everywhere || of_clusters => allows = Some(earlier(allows, rule)),
            Effect::Deny | Effect::Allow => {}
        }
    }
    let by = |rule: &Rule| Ground::Rule { id: rule.id, name: rule.name.clone() };
    let (allowed, ground) = match (denies, allows) {
        (Some(rule), _) => (false, by(rule)),
        _ if !principal.in_scope(action) => (false, Ground::Scope),
        _ if principal.is_granted(action) => (true, Ground::Granted),
        (None, Some(rule)) => (true, by(rule)),
        (None, None) => (false, Ground::Missing),
    };
    Verdict { allowed, action, ground }
}

/// Whether a cluster exists for the caller: owned, granted, or named by an allow rule that stands.
pub fn sees(principal: &Principal, cluster: &ClusterFacts, now: DateTime<Utc>) -> bool {
    if principal.scope.as_ref().is_some_and(|scope| !scope.reaches(cluster.id)) {
        return false;
    }
    principal.can_see(cluster.id, cluster.owner)
        || principal.rules.iter().any(|rule| rule.stands(now) && shows(rule, Some(cluster)))
}

/// Whether an allow rule names the cluster, which makes it exist for whom the rule is for.
fn shows(rule: &Rule, cluster: Option<&ClusterFacts>) -> bool {
    rule.effect == Effect::Allow
        && !rule.clusters.is_every()
        && cluster.is_some_and(|cluster| covers_cluster(&rule.clusters, cluster))
}

/// The one that was made first: ids rise with time.
fn earlier<'r>(one: Option<&'r Rule>, two: &'r Rule) -> &'r Rule {
    one.filter(|one| one.id <= two.id).unwrap_or(two)
}
