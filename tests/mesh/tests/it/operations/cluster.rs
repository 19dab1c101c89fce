//! The cluster itself, asked without the hub.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::discovery::pinned_kind;
use kube::{Api, ResourceExt as _};
use roadstead_mesh_tests::checker::{AuditLog, Changes, State, Trail, Wanted, judge};
use roadstead_mesh_tests::client;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};

use super::campaign::asking::told;
use super::rig::Rig;

/// A namespace is gone this long after its deletion; a real controller does it.
const GONE_LIMIT: Duration = Duration::from_secs(40);
/// An audit record is in the trail this long after it was written, deaths included.
const TRAIL_LIMIT: Duration = Duration::from_secs(60);
/// The owner of the hub, as the cluster sees it.
pub const OWNER: &str = "roadstead:owner";

async fn maps(rig: &Rig, namespace: &str) -> Result<Api<ConfigMap>> {
    Ok(Api::namespaced(client(&rig.kubeconfig).await?, namespace))
}

async fn namespaces(rig: &Rig) -> Result<Api<Namespace>> {
    Ok(Api::all(client(&rig.kubeconfig).await?))
}

/// Makes a namespace.
pub async fn make(rig: &Rig, name: &str) -> Result<()> {
    let namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    namespaces(rig).await?.create(&PostParams::default(), &namespace).await.context("failed to make a namespace")?;
    Ok(())
}

/// Removes one, not waiting for it.
pub async fn remove(rig: &Rig, name: &str) -> Result<()> {
    match namespaces(rig).await?.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).context("failed to remove a namespace"),
    }
}

/// Waits until a namespace is gone, or going with nothing in it.
pub async fn gone(rig: &Rig, name: &str) -> Result<()> {
    let (all, maps) = (namespaces(rig).await?, maps(rig, name).await?);
    eventually("the namespace is gone", GONE_LIMIT, || async {
        let left = all.get_opt(name).await?;
        let things = maps.list(&ListParams::default()).await?.items.len();
        ensure!(left.is_none(), "it is there, with {things} ConfigMaps");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    Ok(())
}

/// Waits until none of these objects is there, whatever its kind.
pub async fn none_left(rig: &Rig, keys: &[Value]) -> Result<()> {
    let client = client(&rig.kubeconfig).await?;
    for key in keys {
        let word = |name: &str| key[name].as_str().unwrap_or_default();
        let (group, version) = word("api_version").rsplit_once('/').unwrap_or(("", word("api_version")));
        let kind = GroupVersionKind::gvk(group, version, word("kind"));
        eventually(&format!("{key} is gone"), GONE_LIMIT, || async {
            // Its kind went with it.
            let Ok((resource, _)) = pinned_kind(&client, &kind).await else { return Ok(()) };
            let objects: Api<DynamicObject> = match key["namespace"].as_str() {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            ensure!(objects.get_opt(word("name")).await?.is_none(), "it is there");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    Ok(())
}

/// The value in a ConfigMap, when there is one.
pub async fn value(rig: &Rig, namespace: &str, name: &str) -> Result<Option<String>> {
    let map = maps(rig, namespace).await?.get_opt(name).await?;
    Ok(map.and_then(|map| map.data?.get("value").cloned()))
}

/// How many ConfigMaps there are of ours.
pub async fn count(rig: &Rig, namespace: &str) -> Result<usize> {
    let all = maps(rig, namespace).await?.list(&ListParams::default()).await?;
    Ok(all.items.iter().filter(|map| map.name_any() != "kube-root-ca.crt").count())
}

/// ConfigMaps and Deployments of a namespace as they are, by their names.
pub async fn states(rig: &Rig, namespace: &str) -> Result<BTreeMap<String, State>> {
    let client = client(&rig.kubeconfig).await?;
    let mut states = BTreeMap::new();
    for kind in [ApiResource::erase::<ConfigMap>(&()), ApiResource::erase::<Deployment>(&())] {
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        let list = objects.list(&ListParams::default()).await?;
        states.extend(list.items.iter().filter_map(|object| Some((object.name_any(), State::of(object)?))));
    }
    Ok(states)
}

/// Who manages a ConfigMap's fields.
pub async fn managers(rig: &Rig, namespace: &str, name: &str) -> Result<Vec<String>> {
    let map = maps(rig, namespace).await?.get(name).await?;
    let fields = map.metadata.managed_fields.unwrap_or_default();
    Ok(fields.into_iter().filter_map(|field| field.manager).collect())
}

/// Applies a ConfigMap as another manager.
pub async fn apply_as(rig: &Rig, manager: &str, namespace: &str, name: &str, value: &str) -> Result<()> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": namespace },
        "data": { "value": value },
    });
    maps(rig, namespace).await?.patch(name, &PatchParams::apply(manager), &Patch::Apply(map)).await?;
    Ok(())
}

/// Changes the value of a ConfigMap as another manager, whoever has it.
pub async fn edit_as(rig: &Rig, manager: &str, namespace: &str, name: &str, value: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "data": { "value": value } }));
    let how = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    maps(rig, namespace).await?.patch(name, &how, &patch).await?;
    Ok(())
}

/// Removes a ConfigMap.
pub async fn remove_map(rig: &Rig, namespace: &str, name: &str) -> Result<()> {
    maps(rig, namespace).await?.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// What the API server does in a namespace from now on.
pub struct Log {
    namespace: String,
    audit: Option<AuditLog>,
    changes: Changes,
}

impl Log {
    pub async fn begin(rig: &Rig, namespace: &str) -> Result<Self> {
        Ok(Self {
            namespace: namespace.to_owned(),
            audit: AuditLog::from_now(&rig.kubeconfig),
            changes: Changes::watch(&rig.kubeconfig, namespace).await?,
        })
    }

    /// Each ConfigMap was made once, as the owner of the hub, and never touched again; a death may cost one call.
    pub async fn each_once(self, rig: &Rig, operation: &str, names: &[String], deaths: usize) -> Result<()> {
        let steps = rig.steps(operation).await?;
        let states = steps.iter().filter_map(|step| step["state"].as_str().map(str::to_owned)).collect();
        let wanted = Wanted {
            operation: Some(operation.to_owned()),
            objects: names.to_vec(),
            states,
            told: told(&steps),
            ..Wanted::default()
        };
        self.judge(rig, &[wanted], deaths).await
    }

    /// The checker's verdict over everything that was wanted here.
    pub async fn judge(self, rig: &Rig, wanted: &[Wanted], deaths: usize) -> Result<()> {
        let Some(audit) = &self.audit else {
            println!("the cluster's audit log is elsewhere: who did what how often is not checked");
            return Ok(());
        };
        let effects: Vec<_> = audit
            .effects(&self.namespace, &["configmaps", "deployments"])
            .await?
            .into_iter()
            .filter(|effect| effect.name != "kube-root-ca.crt")
            .collect();
        let states = self.changes.end().await?;
        let mut verdict = judge(wanted, &effects, &states, OWNER, deaths);
        // Records leave with their transaction and are chained a moment later: a reader waits, and then says what it saw.
        let complete = || async { Trail::read(&rig.api).await?.is_complete(wanted, &effects, OWNER) };
        if eventually("the trail is complete", TRAIL_LIMIT, complete).await.is_err() {
            verdict.silent.extend(Trail::read(&rig.api).await?.silent(wanted, &effects, OWNER));
        }
        println!("{} calls: {verdict}", effects.len());
        ensure!(verdict.is_clean(), "{verdict}");
        Ok(())
    }
}
