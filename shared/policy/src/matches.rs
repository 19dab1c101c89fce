//! Whether a rule is about what is asked. An allow rule must **cover** all of it: a list over all namespaces is not
//! covered by a rule for one. A deny rule needs only to **touch** it: the same list is refused by a rule that denies one.
//! What is not known of a cluster is never covered and always touched.
//!
//! Deny rules also reach what would undo them by another name: kinds with their subresources and in any group when the
//! rule names none, and the verbs that do the same ([`also`]).

use roadstead_contracts::policy::{ClusterFacts, Clusters, Effect, Pattern, Rule};

use crate::ask::{Asked, Object, Place};

/// Whether the rule is about what is asked, in the sense of its effect. Its time is the caller's to look at.
pub fn applies(rule: &Rule, asked: &Asked<'_>) -> bool {
    rule.permissions.cover(asked.action)
        && is_about_cluster(rule, asked.cluster)
        && (!rule.is_within_clusters() || asked.object.is_some_and(|object| is_about_object(rule, &object)))
}

fn is_about_cluster(rule: &Rule, cluster: Option<&ClusterFacts>) -> bool {
    let limits = &rule.clusters;
    match cluster {
        _ if limits.is_every() => true,
        None => false,
        Some(cluster) => match rule.effect {
            Effect::Allow => covers_cluster(limits, cluster),
            Effect::Deny => touches_cluster(limits, cluster),
        },
    }
}

/// Whether limits certainly let the cluster in.
pub(crate) fn covers_cluster(limits: &Clusters, cluster: &ClusterFacts) -> bool {
    let named = limits.names.is_empty() || is_named(limits, cluster);
    let labelled = limits
        .labels
        .as_ref()
        .is_none_or(|selector| cluster.labels.as_ref().is_some_and(|labels| selector.matches(labels)));
    named && labelled
}

fn touches_cluster(limits: &Clusters, cluster: &ClusterFacts) -> bool {
    let named = limits.names.is_empty() || cluster.name.is_none() || is_named(limits, cluster);
    let labelled = limits
        .labels
        .as_ref()
        .is_none_or(|selector| cluster.labels.as_ref().is_none_or(|labels| selector.matches(labels)));
    named && labelled
}

fn is_named(limits: &Clusters, cluster: &ClusterFacts) -> bool {
    cluster.name.as_ref().is_some_and(|name| limits.names.contains(name))
        || limits.names.contains(&cluster.id.to_string())
}

fn is_about_object(rule: &Rule, object: &Object<'_>) -> bool {
    match rule.effect {
        Effect::Allow => {
            let hit = |patterns: &[Pattern], word: &str| patterns.is_empty() || any(patterns, word);
            covers_place(&rule.namespaces, object.place)
                && (hit(&rule.kinds, object.kind) || object.also.is_some_and(|kind| any(&rule.kinds, kind)))
                && hit(&rule.verbs, object.verb)
        }
        Effect::Deny => {
            touches_place(&rule.namespaces, object.place)
                && (rule.kinds.is_empty() || rule.kinds.iter().any(|pattern| touches_either(pattern, object)))
                && (rule.verbs.is_empty()
                    || any(&rule.verbs, object.verb)
                    || also(object.verb).is_some_and(|verb| any(&rule.verbs, verb)))
        }
    }
}

fn any(patterns: &[Pattern], word: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(word))
}

fn covers_place(namespaces: &[Pattern], place: Place<'_>) -> bool {
    match place {
        _ if namespaces.is_empty() => true,
        Place::Namespace(name) => any(namespaces, name),
        Place::EveryNamespace => namespaces.iter().any(Pattern::is_any),
        Place::Cluster => false,
    }
}

fn touches_place(namespaces: &[Pattern], place: Place<'_>) -> bool {
    match place {
        _ if namespaces.is_empty() => true,
        Place::Namespace(name) => any(namespaces, name),
        Place::EveryNamespace => true,
        Place::Cluster => false,
    }
}

fn touches_either(pattern: &Pattern, object: &Object<'_>) -> bool {
    touches_kind(pattern, object.kind) || object.also.is_some_and(|kind| touches_kind(pattern, kind))
}

/// `secrets` also means `secrets/x` and `secrets.group`; `deployments.apps` means `deployments.apps/scale`.
fn touches_kind(pattern: &Pattern, kind: &str) -> bool {
    let whole = kind.split_once('/').map_or(kind, |(whole, _)| whole);
    let plural = whole.split_once('.').map_or(whole, |(plural, _)| plural);
    pattern.matches(kind) || pattern.matches(whole) || pattern.matches(plural)
}

/// The verb whose denial denies this one too: who may not get may not list or watch, for those answer with the same.
fn also(verb: &str) -> Option<&'static str> {
    match verb {
        "list" | "watch" => Some("get"),
        "deletecollection" => Some("delete"),
        "patch" => Some("update"),
        "update" => Some("patch"),
        _ => None,
    }
}
