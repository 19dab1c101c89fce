//! The namespaces of a cluster, as a person may see them.

use std::collections::BTreeMap;

use roadstead_contracts::agent::{NamespaceInfo, NamespaceList, VERB_ANSWER_MAX};
use roadstead_contracts::names::Namespace;
use roadstead_contracts::percent::escape;
use serde::Deserialize;

use super::{Cluster, Failure, PAGE};
use crate::core::Identity;

/// Annotations with these prefixes are Kubernetes' own; seed 001's agent leaves them out too.
const OWN_PREFIXES: [&str; 5] = [
    "kubectl.kubernetes.io/",
    "kubernetes.io/",
    "k8s.io/",
    "control-plane.alpha.kubernetes.io/",
    "node.alpha.kubernetes.io/",
];
/// Room that the answer's frame takes beside the namespaces.
const ANSWER_SLACK: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
pub(super) struct ListMeta {
    #[serde(default, rename = "continue")]
    pub(super) next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct List {
    metadata: ListMeta,
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    #[serde(default)]
    creation_timestamp: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: String,
}

impl Cluster {
    /// Lists them page by page, by name. Who may not list them all is given those among `own` that they may see: with the
    /// profile `namespaced` nobody's rights reach beyond.
    pub async fn namespaces(&self, person: &Identity, own: &[Namespace]) -> Result<NamespaceList, Failure> {
        match self.list_namespaces(person).await {
            // A list that takes longer than the API server remembers: once more from the start.
            Err(Failure::Expired) => self.list_namespaces(person).await,
            Err(Failure::Forbidden(why)) if !own.is_empty() => self.own_namespaces(person, own, why).await,
            other => other,
        }
    }

    async fn own_namespaces(
        &self,
        person: &Identity,
        own: &[Namespace],
        why: String,
    ) -> Result<NamespaceList, Failure> {
        let mut namespaces = Vec::new();
        for name in own {
            match self.get::<Item>(&format!("/api/v1/namespaces/{}", name.as_str()), Some(person)).await {
                Ok(item) => namespaces.push(NamespaceInfo::from(item)),
                // Taken away, or not there yet.
                Err(Failure::Forbidden(_) | Failure::NotFound) => {}
                Err(failure) => return Err(failure),
            }
        }
        if namespaces.is_empty() {
            return Err(Failure::Forbidden(why));
        }
        namespaces.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Ok(NamespaceList { namespaces })
    }

    async fn list_namespaces(&self, person: &Identity) -> Result<NamespaceList, Failure> {
        let mut namespaces = Vec::new();
        let mut room = VERB_ANSWER_MAX.saturating_sub(ANSWER_SLACK);
        let mut next = String::new();
        loop {
            let path = format!("/api/v1/namespaces?limit={PAGE}{next}");
            let page: List = self.get(&path, Some(person)).await?;
            for item in page.items {
                let info = NamespaceInfo::from(item);
                let length = serde_json::to_string(&info).map_or(0, |text| text.len() + 1);
                room = room
                    .checked_sub(length)
                    .ok_or_else(|| Failure::Unexpected("more namespaces than an answer holds".to_owned()))?;
                namespaces.push(info);
            }
            next = match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(token) => format!("&continue={}", escape(&token)),
                None => break,
            };
        }
        namespaces.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        Ok(NamespaceList { namespaces })
    }
}

impl From<Item> for NamespaceInfo {
    fn from(item: Item) -> Self {
        let mut annotations = item.metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| !OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)));
        Self {
            name: item.metadata.name,
            status: item.status.phase,
            created_at: item.metadata.creation_timestamp,
            labels: item.metadata.labels.unwrap_or_default(),
            annotations,
        }
    }
}
