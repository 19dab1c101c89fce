//! What a watch saw of the objects themselves.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::client;

/// Changes of an object, as a watch saw them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// It came to be.
    pub added: u32,
    /// It became another.
    pub modified: u32,
    /// It went.
    pub deleted: u32,
}

/// A watch of the ConfigMaps of a namespace.
#[derive(Debug)]
pub struct Changes {
    task: JoinSet<()>,
    events: mpsc::UnboundedReceiver<(String, char)>,
}

impl Changes {
    /// Begins to watch; the namespace must be there.
    pub async fn watch(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let maps: Api<ConfigMap> = Api::namespaced(client(kubeconfig).await?, namespace);
        let list = maps.list(&kube::api::ListParams::default()).await.context("the cluster did not answer")?;
        let mut version = list.metadata.resource_version.unwrap_or_default();
        let (sender, events) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                // Taken up again where it ended, so that nothing is missed or seen twice.
                let Ok(stream) = maps.watch(&WatchParams::default().timeout(290), &version).await else { continue };
                let mut stream = std::pin::pin!(stream);
                while let Some(event) = stream.next().await {
                    let (map, what) = match event {
                        Ok(WatchEvent::Added(map)) => (map, 'a'),
                        Ok(WatchEvent::Modified(map)) => (map, 'm'),
                        Ok(WatchEvent::Deleted(map)) => (map, 'd'),
                        Ok(WatchEvent::Bookmark(_)) => continue,
                        Ok(WatchEvent::Error(_)) | Err(_) => break,
                    };
                    version = map.resource_version().unwrap_or(version);
                    if sender.send((map.name_any(), what)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { task, events })
    }

    /// What was seen so far, object by object.
    pub fn end(mut self) -> BTreeMap<String, Seen> {
        self.task.abort_all();
        let mut all: BTreeMap<String, Seen> = BTreeMap::new();
        while let Ok((name, what)) = self.events.try_recv() {
            let seen = all.entry(name).or_default();
            match what {
                'a' => seen.added += 1,
                'm' => seen.modified += 1,
                _ => seen.deleted += 1,
            }
        }
        all
    }
}
