//! Drift: the agent notices when what operations applied is not so any more, and tells the hub.
//!
//! - [`fields`]: which fields of an object are an operation's, a digest of each, and which differ now.
//! - [`memory`]: what was applied, on disk beside the ledger of operations. [`gone`]: what is forgotten with what.
//! - [`follow`](mod@follow): one watch. [`watch`](mod@watch): all of them, for as long as a session lasts; reads what may have
//!   changed.
//! - [`reports`]: when the hub is told, and until when again.
//!
//! Nothing is read for anybody here, so no person's identity is at hand: the agent looks as a user of its own that is in the
//! group of viewers and nothing more. What the cluster does not let viewers see (Secrets, roles, definitions) it does not
//! see, counts, and says so; who wants that watched binds more to [`WATCHER`] in the cluster. Nothing is put right here: that is
//! an operation, which somebody asks for. Without anything to remember there is no file, no watch and no request.

mod fields;
mod follow;
mod gone;
mod memory;
mod reports;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::operation::ObjectKey;
use serde_json::Value;

use crate::core::Identity;
use crate::kubernetes::kinds::Kinds;
use crate::kubernetes::objects::{Objects, version_of};
use crate::kubernetes::{Cluster, Failure};

pub(crate) use gone::Gone;
pub(crate) use memory::Applied;
use memory::Memory;
pub(crate) use watch::watch;

/// Who looks, behind the prefix of every user of the hub. Nobody can have this name: it has no letter at its end.
pub const WATCHER: &str = "drift-";

/// What an operation leaves is noted here, and watched from here.
#[derive(Debug)]
pub(crate) struct Drift {
    memory: Memory,
    cluster: Cluster,
    kinds: Arc<Kinds>,
}

impl Drift {
    /// Reads what this folder remembers.
    pub(crate) fn open(folder: PathBuf, cluster: Cluster, kinds: Arc<Kinds>) -> io::Result<Self> {
        Ok(Self { memory: Memory::open(folder)?, cluster, kinds })
    }

    /// An object as an operation left it; none: nothing of it is worth watching. `by_helm`: Helm did it.
    pub(crate) fn left(
        &self,
        operation: OperationId,
        key: &ObjectKey,
        after: &Value,
        by_helm: bool,
    ) -> io::Result<Option<Applied>> {
        if goes_by_itself(key, after) {
            return Ok(None);
        }
        let fields = fields::ours(after, key, by_helm, &self.memory.digests()?);
        let version = version_of(after).to_owned();
        Ok((!fields.is_empty()).then(|| Applied { key: key.clone(), operation, version, fields }))
    }

    /// An object of which an operation set only what stands at `set`; none: nothing of it is watched. It stays the object of
    /// whoever applied it, whose manifests can put right what had drifted before and has drifted still.
    pub(crate) fn touched(
        &self,
        key: &ObjectKey,
        set: &[&str],
        before: Option<&Value>,
        after: &Value,
    ) -> io::Result<Option<Applied>> {
        // Paths of another version of the object say nothing about this one.
        let known = self.memory.read(key)?.filter(|known| known.key == *key && !goes_by_itself(key, after));
        let Some(known) = known else { return Ok(None) };
        let digests = self.memory.digests()?;
        let fields = fields::refreshed(known.fields, set, (before, after), key, &digests);
        // An object at the version at which it was left is not looked at.
        let is_as_left = fields::differing(&fields, after, key, &digests).0.is_empty();
        let version = if is_as_left { version_of(after).to_owned() } else { known.version };
        Ok(Some(Applied { version, fields, ..known }))
    }

    /// Remembers objects, and forgets others.
    pub(crate) fn note(&self, applied: Vec<Applied>, gone: &[Gone]) -> io::Result<()> {
        if !gone.is_empty() {
            self.memory.forget(gone)?;
        }
        if applied.is_empty() { Ok(()) } else { self.memory.note(applied) }
    }

    /// Forgets everything: others have changed it since.
    pub(crate) fn forget_all(&self) -> io::Result<()> {
        self.memory.clear()
    }

    /// The cluster as viewers see it.
    fn objects(&self) -> Result<Objects, Failure> {
        let watcher = Identity::of_role(WATCHER, Role::Viewer);
        Objects::new(&self.cluster, &watcher, Arc::clone(&self.kinds))
    }
}

/// What is removed by whoever made it, without anybody changing anything: Helm's records and hooks, jobs with a limited life.
fn goes_by_itself(key: &ObjectKey, object: &Value) -> bool {
    let is_record = key.kind == "Secret" && key.name.starts_with("sh.helm.release.v1.");
    is_record
        || object.pointer("/metadata/annotations/helm.sh~1hook").is_some()
        || object.pointer("/spec/ttlSecondsAfterFinished").is_some()
        || object.pointer("/metadata/deletionTimestamp").is_some()
}

#[cfg(test)]
mod tests {
    use roadstead_contracts::drift::DriftedField;
    use serde_json::json;

    use super::*;

    fn key() -> ObjectKey {
        ObjectKey {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("shop".to_owned()),
            name: "web".to_owned(),
        }
    }

    fn deployment(version: &str, replicas: u32, paused: bool) -> Value {
        let tree = json!({ "f:spec": { "f:replicas": {}, "f:paused": {} } });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "resourceVersion": version,
                "managedFields": [{ "manager": "roadstead", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": tree }],
            },
            "spec": { "replicas": replicas, "paused": paused },
        })
    }

    /// Scaled, restarted or rolled back, an object stays drifted where it was, and whoever applied it can put it right.
    #[test]
    fn regression_a_scale_hides_no_drift() {
        roadstead_runtime::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let cluster = Cluster::with_config(config, false).unwrap();
        let drift = Drift::open(folder.path().to_owned(), cluster, Arc::new(Kinds::default())).unwrap();
        let set = ["spec", "replicas"];
        let before = deployment("1", 2, false);
        // Nobody applied it: there are no manifests that could put it right.
        assert!(drift.touched(&key(), &set, Some(&before), &before).unwrap().is_none());
        let operation: OperationId = "0198c5b0-0000-7000-8000-000000000001".parse().unwrap();
        let applied = drift.left(operation, &key(), &before, false).unwrap().unwrap();
        drift.note(vec![applied], &[]).unwrap();
        let drifted = |applied: &Applied, live: &Value| {
            let digests = drift.memory.digests().unwrap();
            let named = fields::differing(&applied.fields, live, &key(), &digests).0;
            named.into_iter().map(|DriftedField { path, .. }| path).collect::<Vec<_>>()
        };

        let calm = drift.touched(&key(), &set, Some(&before), &deployment("2", 3, false)).unwrap().unwrap();
        assert_eq!((calm.operation, calm.version.as_str()), (operation, "2"));
        assert!(drifted(&calm, &deployment("3", 3, false)).is_empty());

        let edited = deployment("2", 2, true);
        let after = deployment("3", 3, true);
        let scaled = drift.touched(&key(), &set, Some(&edited), &after).unwrap().unwrap();
        // Not at the version that is there: it is looked at.
        assert_eq!((scaled.operation, scaled.version.as_str()), (operation, "1"));
        assert_eq!(drifted(&scaled, &after), [".spec.paused"]);
        assert!(
            drift
                .touched(&ObjectKey { api_version: "apps/v2".to_owned(), ..key() }, &set, None, &after)
                .unwrap()
                .is_none()
        );
    }
}
