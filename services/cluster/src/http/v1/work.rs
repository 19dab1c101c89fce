//! What is to be done, as a JSON body says it: one shape for one cluster and for many.

use roadstead_contracts::operation::{HelmAction, ObjectKey, Work};
use roadstead_contracts::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::apply_query::{check_inventory, check_namespace};
use super::charts::check_release;
use super::upload::Texts;
use crate::app::SourceFile;

/// Most words of a command, and the longest of them.
const WORDS_MAX: usize = 256;
const WORD_MAX: usize = 32 * 1024;
/// Longest name of an object (a DNS subdomain) and of its kind.
const NAME_MAX: usize = 253;

/// An object of a cluster.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectBody {
    /// `apps/v1`.
    #[schema(example = "apps/v1")]
    api_version: String,
    /// `Deployment`.
    #[schema(example = "Deployment")]
    kind: String,
    /// Left out for what is cluster-wide.
    #[serde(default)]
    namespace: Option<String>,
    /// Name.
    name: String,
}

impl ObjectBody {
    pub(super) fn key(self) -> Result<ObjectKey> {
        check_namespace("body", self.namespace.as_deref())?;
        for (field, text) in [("api_version", &self.api_version), ("kind", &self.kind), ("name", &self.name)] {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/' | b':');
            if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(plain) {
                let message = format!("{field} must be that of an object of Kubernetes");
                return Err(Error::field(&["body", "object", field], "value_error", message));
            }
        }
        Ok(ObjectKey { api_version: self.api_version, kind: self.kind, namespace: self.namespace, name: self.name })
    }
}

/// What to do. Which fields count depends on `kind`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a body")]
pub(crate) struct WorkBody {
    /// `apply`, `delete`, `scale`, `restart`, `rollback`, `exec`, `sync` or `helm`.
    #[serde(alias = "type")]
    pub(super) kind: Option<String>,
    /// For apply, delete and sync.
    pub(super) manifests: Option<Texts>,
    /// For objects that name no namespace; of the pod, for exec.
    pub(super) namespace: Option<String>,
    /// Only ask the API server what would change.
    #[serde(default)]
    pub(super) dry_run: bool,
    /// Wait until it is ready, or gone.
    #[serde(default)]
    pub(super) wait: bool,
    /// Remember what was applied under this name.
    pub(super) inventory: Option<String>,
    /// With an inventory: remove what is in it and not in the manifests any more.
    #[serde(default)]
    pub(super) prune: bool,
    /// Take fields over from other managers.
    #[serde(default)]
    pub(super) force_conflicts: bool,
    /// For scale, restart and rollback.
    pub(super) object: Option<ObjectBody>,
    /// For scale.
    pub(super) replicas: Option<u32>,
    /// For rollback; the one before, when left out.
    pub(super) revision: Option<u64>,
    /// For exec.
    pub(super) pod: Option<String>,
    /// For exec; the pod's default, when left out.
    pub(super) container: Option<String>,
    /// For exec: program and arguments, no shell.
    pub(super) command: Option<Vec<String>>,
    /// For sync: correct what differs, or only report it.
    #[serde(default)]
    pub(super) correct: bool,
    /// For helm: `rollback` or `uninstall`; a chart is installed by its own route.
    pub(super) action: Option<String>,
    /// For helm: name of the release.
    pub(super) release: Option<String>,
}

impl WorkBody {
    /// What it means, and the manifests that go with it.
    pub(super) fn read(self) -> Result<(Work, Option<Vec<SourceFile>>)> {
        check_namespace("body", self.namespace.as_deref())?;
        check_inventory("body", self.inventory.as_deref())?;
        // Whoever asks for a look and is given the change finds out too late.
        if self.dry_run && !matches!(self.kind.as_deref(), Some("apply" | "delete" | "sync")) {
            let message = "only apply, delete and sync can be asked without being done";
            return Err(Error::field(&["body", "dry_run"], "value_error", message));
        }
        let files = self.manifests.map(Texts::files);
        let with_files = |work: Work| match files {
            Some(files) => Ok((work, Some(files))),
            None => Err(missing("manifests")),
        };
        let object = self.object.map(ObjectBody::key).transpose()?;
        let object = || object.clone().ok_or_else(|| missing("object"));
        let wait = self.wait;
        match self.kind.as_deref() {
            Some("apply") => {
                if self.prune && self.inventory.is_none() {
                    return Err(missing("inventory"));
                }
                with_files(Work::Apply {
                    namespace: self.namespace,
                    dry_run: self.dry_run,
                    prune: self.inventory.clone().filter(|_| self.prune),
                    inventory: self.inventory,
                    force_conflicts: self.force_conflicts,
                    wait,
                })
            }
            Some("delete") => with_files(Work::Delete { namespace: self.namespace, dry_run: self.dry_run, wait }),
            Some("sync") => {
                with_files(Work::Sync { namespace: self.namespace, correct: self.correct && !self.dry_run })
            }
            Some("scale") => {
                let replicas = self.replicas.ok_or_else(|| missing("replicas"))?;
                Ok((Work::Scale { object: object()?, replicas, wait }, None))
            }
            Some("restart") => Ok((Work::Restart { object: object()?, wait }, None)),
            Some("rollback") => Ok((Work::Rollback { object: object()?, revision: self.revision, wait }, None)),
            Some("exec") => {
                let command = check_command(self.command.unwrap_or_default())?;
                let namespace = self.namespace.ok_or_else(|| missing("namespace"))?;
                let pod = self.pod.filter(|pod| !pod.is_empty() && pod.len() <= NAME_MAX);
                let pod = pod.ok_or_else(|| missing("pod"))?;
                Ok((Work::Exec { namespace, pod, container: self.container, command }, None))
            }
            Some("helm") => {
                let action = match self.action.as_deref() {
                    Some("rollback") => HelmAction::Rollback,
                    Some("uninstall") => HelmAction::Uninstall,
                    None => return Err(missing("action")),
                    Some(_) => {
                        let message = "action must be rollback or uninstall; a chart is sent to the cluster's charts";
                        return Err(Error::field(&["body", "action"], "value_error", message));
                    }
                };
                let release = check_release("body", self.release.as_deref())?;
                let namespace = self.namespace.ok_or_else(|| missing("namespace"))?;
                let revision = self.revision.map(u32::try_from).transpose();
                let revision = revision
                    .map_err(|_| Error::field(&["body", "revision"], "value_error", "there is no such revision"))?;
                let (create_namespace, dry_run) = (false, false);
                Ok((Work::Helm { action, release, namespace, revision, create_namespace, dry_run, wait }, None))
            }
            Some(_) => Err(Error::field(
                &["body", "kind"],
                "value_error",
                "kind must be apply, delete, scale, restart, rollback, exec, sync or helm",
            )),
            None => Err(missing("kind")),
        }
    }
}

/// Refuses fields that mean nothing: one that is misspelt may be what was to hold the change back.
pub(super) fn check_rest(rest: &Map<String, Value>) -> Result<()> {
    let Some(name) = rest.keys().next() else { return Ok(()) };
    let name: String = name.chars().filter(|character| !character.is_control()).take(64).collect();
    Err(Error::field(&["body", &name], "extra_forbidden", "Extra inputs are not permitted"))
}

fn missing(field: &str) -> Error {
    Error::field(&["body", field], "missing", "Field required")
}

fn check_command(command: Vec<String>) -> Result<Vec<String>> {
    let bad = |word: &String| word.len() > WORD_MAX || word.contains('\0');
    if command.first().is_none_or(String::is_empty) {
        return Err(Error::field(&["body", "command"], "missing", "Command is required"));
    }
    if command.len() > WORDS_MAX || command.iter().any(bad) {
        let message = format!("command must be at most {WORDS_MAX} words of at most {WORD_MAX} bytes");
        return Err(Error::field(&["body", "command"], "value_error", message));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn work(body: serde_json::Value) -> Result<(Work, Option<Vec<SourceFile>>)> {
        serde_json::from_value::<WorkBody>(body).unwrap().read()
    }

    #[test]
    fn every_kind_is_read() {
        let object = json!({ "api_version": "apps/v1", "kind": "Deployment", "namespace": "web", "name": "shop" });
        for (body, with_files) in [
            (json!({ "kind": "apply", "manifests": "kind: A", "inventory": "shop", "prune": true }), true),
            (json!({ "type": "delete", "manifests": ["kind: A"] }), true),
            (json!({ "kind": "sync", "manifests": "kind: A", "correct": true }), true),
            (json!({ "kind": "scale", "object": object, "replicas": 0 }), false),
            (json!({ "kind": "restart", "object": object }), false),
            (json!({ "kind": "rollback", "object": object, "revision": 2 }), false),
            (json!({ "kind": "exec", "namespace": "web", "pod": "shop-1", "command": ["ls"] }), false),
            (
                json!({ "kind": "helm", "action": "rollback", "namespace": "web", "release": "shop", "revision": 2 }),
                false,
            ),
        ] {
            let (read, files) = work(body.clone()).unwrap();
            let kind = body.get("kind").or(body.get("type")).unwrap();
            assert_eq!((kind.as_str().unwrap(), files.is_some()), (read.kind().as_str(), with_files), "{body}");
        }
        let pruning = work(json!({ "kind": "apply", "manifests": "", "inventory": "shop", "prune": true })).unwrap().0;
        assert!(matches!(pruning, Work::Apply { prune: Some(name), inventory: Some(_), .. } if name == "shop"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let object = json!({ "api_version": "apps/v1", "kind": "Deployment", "name": "a b" });
        for (body, field) in [
            (json!({}), "kind"),
            (json!({ "kind": "chart" }), "kind"),
            (json!({ "kind": "helm" }), "action"),
            (json!({ "kind": "helm", "action": "install" }), "action"),
            (json!({ "kind": "helm", "action": "rollback", "namespace": "n" }), "release"),
            (json!({ "kind": "helm", "action": "uninstall", "release": "--all" }), "release"),
            (json!({ "kind": "helm", "action": "uninstall", "release": "a" }), "namespace"),
            (json!({ "kind": "apply" }), "manifests"),
            (json!({ "kind": "apply", "manifests": "", "prune": true }), "inventory"),
            (json!({ "kind": "scale", "replicas": 1 }), "object"),
            (json!({ "kind": "restart", "object": object }), "object"),
            (json!({ "kind": "exec", "namespace": "web", "pod": "x" }), "command"),
            (json!({ "kind": "exec", "pod": "x", "command": ["ls"] }), "namespace"),
            (json!({ "kind": "exec", "namespace": "web", "pod": "x", "command": ["a\0"] }), "command"),
            (json!({ "kind": "restart", "namespace": "A" }), "namespace"),
            (json!({ "kind": "scale", "replicas": 0, "dry_run": true }), "dry_run"),
            (
                json!({ "kind": "helm", "action": "uninstall", "release": "a", "namespace": "n", "dry_run": true }),
                "dry_run",
            ),
        ] {
            assert_eq!(work(body.clone()).unwrap_err().errors[0].loc[1], field, "{body}");
        }
    }
}
