//! What a piece of work does to a cluster, in the words of rules: each kind of change once, so that each object of a manifest
//! is judged before anything is dispatched, and once more at each dispatch.

use std::collections::BTreeSet;

use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::operation::{ObjectKey, Restore, Work};
use roadstead_manifest::{is_cluster_wide, keys, parse};
use roadstead_policy::kubernetes::{EVERYTHING, kind_of_object, other_kind_of_object};

use crate::limits::CHANGES_MAX;

/// Where an object goes that names no namespace, as in kubectl.
const DEFAULT_NAMESPACE: &str = "default";
/// Where the agent keeps inventories that belong to no namespace.
const INVENTORIES: &str = "roadstead-system";

/// The kinds of change. What cannot be read, or is of more kinds than are told apart, may be anything: only who may do
/// everything may do that.
pub(crate) fn changes_of(work: &Work, body: &[u8]) -> Vec<RequestKind> {
    let changes = match work {
        Work::Apply { namespace, prune, inventory, .. } => {
            applied(body, namespace.as_deref(), &["create", "patch"]).map(|mut changes| {
                if inventory.is_some() || prune.is_some() {
                    add_inventory(&mut changes, namespace.as_deref());
                }
                if prune.is_some() {
                    // Whatever the inventory lists.
                    changes.insert(RequestKind::of("delete", EVERYTHING, None));
                }
                changes
            })
        }
        Work::Delete { namespace, .. } => applied(body, namespace.as_deref(), &["delete"]),
        Work::Sync { namespace, correct: true } => applied(body, namespace.as_deref(), &["create", "patch"]),
        Work::Sync { namespace, correct: false } => applied(body, namespace.as_deref(), &["get"]),
        Work::Scale { object, .. } => {
            let changes = of_object(object, &["patch"]).into_iter();
            let scale = |kind: Option<String>| kind.map(|kind| format!("{kind}/scale"));
            let scaled =
                changes.map(|change| RequestKind { kind: scale(change.kind), also: scale(change.also), ..change });
            Some(scaled.collect())
        }
        Work::Restart { object, .. } | Work::Rollback { object, .. } => Some(of_object(object, &["patch"])),
        Work::Exec { namespace, .. } => Some([RequestKind::of("create", "pods/exec", Some(namespace))].into()),
        Work::Undo { .. } => restored(body),
        // What a chart holds is the chart's to say.
        Work::Helm { .. } => None,
    };
    let changes = changes.filter(|changes| !changes.is_empty() && changes.len() <= CHANGES_MAX);
    changes.unwrap_or_else(everything).into_iter().collect()
}

fn everything() -> BTreeSet<RequestKind> {
    ["create", "patch", "delete"].map(|verb| RequestKind::of(verb, EVERYTHING, None)).into()
}

fn applied(body: &[u8], namespace: Option<&str>, verbs: &[&str]) -> Option<BTreeSet<RequestKind>> {
    let keys = keys(&parse(body).ok()?, namespace).ok()?;
    Some(keys.iter().flat_map(|key| of_object(key, verbs)).collect())
}

fn restored(body: &[u8]) -> Option<BTreeSet<RequestKind>> {
    let mut changes = BTreeSet::new();
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let restore: Restore = serde_json::from_slice(line).ok()?;
        let verbs: &[&str] = if restore.before.is_some() { &["create", "patch"] } else { &["delete"] };
        changes.extend(of_object(&restore.key, verbs));
    }
    Some(changes)
}

fn of_object(key: &ObjectKey, verbs: &[&str]) -> BTreeSet<RequestKind> {
    let (kind, also) = (kind_of_object(key), other_kind_of_object(key));
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
    let known = !group.contains('.') || group.ends_with(".k8s.io");
    let places = match &key.namespace {
        Some(namespace) => vec![Some(namespace.as_str())],
        None if is_cluster_wide(&key.api_version, &key.kind) => {
            // A namespace is in its own, as for the API server.
            vec![Some(key.name.as_str()).filter(|_| kind == "namespaces")]
        }
        None if known => vec![Some(DEFAULT_NAMESPACE)],
        // Only its API server knows whether it has one: it must be allowed either way.
        None => vec![Some(DEFAULT_NAMESPACE), None],
    };
    let one = |verb: &str, place| RequestKind { also: also.clone(), ..RequestKind::of(verb, &kind, place) };
    let each = |verb: &&str| places.iter().map(|place| one(verb, *place)).collect::<Vec<_>>();
    verbs.iter().flat_map(each).collect()
}

fn add_inventory(changes: &mut BTreeSet<RequestKind>, namespace: Option<&str>) {
    let at = namespace.unwrap_or(INVENTORIES);
    changes.extend(["get", "create", "patch"].map(|verb| RequestKind::of(verb, "configmaps", Some(at))));
    if namespace.is_none() {
        changes.insert(RequestKind::of("create", "namespaces", Some(INVENTORIES)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(work: &Work, body: &str) -> Vec<String> {
        let text = |change: &RequestKind| {
            let (kind, namespace) = (change.kind.as_deref().unwrap(), change.namespace.as_deref().unwrap_or("-"));
            format!("{} {kind} {namespace}", change.verb)
        };
        changes_of(work, body.as_bytes()).iter().map(text).collect()
    }

    fn apply(namespace: Option<&str>, prune: Option<&str>) -> Work {
        Work::Apply {
            namespace: namespace.map(str::to_owned),
            dry_run: false,
            prune: prune.map(str::to_owned),
            inventory: None,
            force_conflicts: false,
            wait: false,
        }
    }

    #[test]
    fn each_kind_of_change_is_there_once() {
        let body = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n\
                    {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n---\n\
                    {apiVersion: apps/v1, kind: Deployment, metadata: {name: c, namespace: team-a}}\n---\n\
                    {apiVersion: v1, kind: Namespace, metadata: {name: team-b}}\n---\n\
                    {apiVersion: example.com/v1, kind: Policy, metadata: {name: d}}\n";
        assert_eq!(
            told(&apply(None, None), body),
            [
                "create configmaps default",
                "create deployments.apps team-a",
                "create namespaces team-b",
                "create policies.example.com -",
                "create policies.example.com default",
                "patch configmaps default",
                "patch deployments.apps team-a",
                "patch namespaces team-b",
                "patch policies.example.com -",
                "patch policies.example.com default",
            ]
        );
        let one = "{apiVersion: v1, kind: Secret, metadata: {name: a}}";
        let delete = Work::Delete { namespace: Some("team-a".to_owned()), dry_run: false, wait: false };
        assert_eq!(told(&delete, one), ["delete secrets team-a"]);
        let pruned = told(&apply(Some("team-a"), Some("x")), one);
        assert!(pruned.contains(&"delete * -".to_owned()) && pruned.contains(&"patch configmaps team-a".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_may_be_anything() {
        let anything = ["create * -", "delete * -", "patch * -"];
        for body in ["", "nonsense", "{kind: ConfigMap}", "\u{0}"] {
            assert_eq!(told(&apply(None, None), body), anything, "{body:?}");
        }
        let undo = Work::Undo { force: false };
        assert_eq!(told(&undo, "{}"), anything);
        let many: Vec<String> = (0..=CHANGES_MAX)
            .map(|number| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, namespace: n{number}}}}}\n"))
            .collect();
        let many = many.join("---\n");
        assert_eq!(told(&apply(None, None), &many), anything);
    }

    #[test]
    fn somebodys_own_kinds_go_by_two_names() {
        let body = "{apiVersion: example.com/v1, kind: Mouse, metadata: {name: a}}\n---\n\
                    {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}";
        let changes = changes_of(&apply(Some("team-a"), None), body.as_bytes());
        let also: Vec<_> =
            changes.iter().map(|change| (change.kind.as_deref().unwrap(), change.also.as_deref())).collect();
        let (deployments, mice) = (("deployments.apps", None), ("mouses.example.com", Some("mouse.example.com")));
        assert_eq!(also, [deployments, mice, deployments, mice]);
    }

    #[test]
    fn work_on_one_object() {
        let object = ObjectKey {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("team-a".to_owned()),
            name: "web".to_owned(),
        };
        let scale = Work::Scale { object: object.clone(), replicas: 2, wait: false };
        assert_eq!(told(&scale, ""), ["patch deployments.apps/scale team-a"]);
        assert_eq!(told(&Work::Restart { object, wait: false }, ""), ["patch deployments.apps team-a"]);
        let exec = Work::Exec {
            namespace: "team-a".to_owned(),
            pod: "p".to_owned(),
            container: None,
            command: vec!["ls".to_owned()],
        };
        assert_eq!(told(&exec, ""), ["create pods/exec team-a"]);
    }
}
