//! What a watch saw of the objects themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::State;
use crate::cluster::client;

/// A controller makes it in every namespace.
const NOT_OURS: &str = "kube-root-ca.crt";
/// A watch tells what a list has within this time; a loaded machine included.
const CAUGHT_UP: Duration = Duration::from_secs(20);

/// A watch of the ConfigMaps and Deployments of a namespace.
#[derive(Debug)]
pub struct Changes {
    kinds: [Api<DynamicObject>; 2],
    /// What was there before.
    before: BTreeSet<String>,
    // Aborted when dropped.
    _task: JoinSet<()>,
    events: mpsc::UnboundedReceiver<Event>,
}

#[derive(Debug)]
struct Event {
    name: String,
    state: Option<State>,
    /// Controllers write to it as well.
    workload: bool,
}

impl Changes {
    /// Begins to watch; the namespace must be there.
    pub async fn watch(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let client = client(kubeconfig).await?;
        let kinds = [ApiResource::erase::<ConfigMap>(&()), ApiResource::erase::<Deployment>(&())];
        let kinds = kinds.map(|kind| Api::namespaced_with(client.clone(), namespace, &kind));
        let (sender, events) = mpsc::unbounded_channel();
        let (mut task, mut before) = (JoinSet::new(), BTreeSet::from([NOT_OURS.to_owned()]));
        for (kind, workload) in kinds.iter().zip([false, true]) {
            let list = kind.list(&ListParams::default()).await.context("the cluster did not answer")?;
            before.extend(list.items.iter().map(DynamicObject::name_any));
            task.spawn(tell(
                kind.clone(),
                list.metadata.resource_version.unwrap_or_default(),
                workload,
                sender.clone(),
            ));
        }
        Ok(Self { kinds, before, _task: task, events })
    }

    /// The states of each object until now, one after another; none: it is not there, or on its way out. Of a ConfigMap each
    /// write counts, of a workload what changed something that changes set.
    pub async fn end(mut self) -> Result<BTreeMap<String, Vec<Option<State>>>> {
        let (began, mut all): (_, BTreeMap<String, Vec<Option<State>>>) = (Instant::now(), BTreeMap::new());
        loop {
            let now = self.now().await?;
            while let Ok(Event { name, state, workload }) = self.events.try_recv() {
                let states = all.entry(name).or_default();
                if !(workload && states.last() == Some(&state)) {
                    states.push(state);
                }
            }
            all.retain(|name, _| !self.before.contains(name));
            let told = |name: &str| all.get(name).and_then(|states| states.last()).cloned().flatten();
            let caught_up = now.iter().all(|(name, state)| told(name) == *state)
                && all.keys().all(|name| now.contains_key(name) || told(name).is_none());
            if caught_up || began.elapsed() > CAUGHT_UP {
                return Ok(all);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn now(&self) -> Result<BTreeMap<String, Option<State>>> {
        let mut now = BTreeMap::new();
        for kind in &self.kinds {
            let list = kind.list(&ListParams::default()).await.context("the cluster did not answer")?;
            let own = list.items.iter().map(|object| (object.name_any(), State::of(object)));
            now.extend(own.filter(|(name, _)| !self.before.contains(name)));
        }
        Ok(now)
    }
}

/// Passes on what one kind's watch sees.
async fn tell(kind: Api<DynamicObject>, mut version: String, workload: bool, events: mpsc::UnboundedSender<Event>) {
    loop {
        // Taken up again where it ended, so that nothing is missed or seen twice.
        let Ok(stream) = kind.watch(&WatchParams::default().timeout(290), &version).await else { continue };
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            let (object, gone) = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, false),
                Ok(WatchEvent::Deleted(object)) => (object, true),
                Ok(WatchEvent::Bookmark(mark)) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                Ok(WatchEvent::Error(_)) | Err(_) => break,
            };
            version = object.resource_version().unwrap_or(version);
            let state = if gone { None } else { State::of(&object) };
            if events.send(Event { name: object.name_any(), state, workload }).is_err() {
                return;
            }
        }
    }
}
