//! What happens to the objects of a collection, told without the objects themselves: a metadata-only list and watch. Who needs
//! to know more of one object reads that one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures_util::{Stream, StreamExt as _};
use http::Request;
use http::header::ACCEPT;
use kube::core::WatchEvent;
use roadstead_contracts::percent::escape;
use serde::Deserialize;

use super::{Failure, Objects, WATCH_SECONDS};
use crate::kubernetes::namespaces::ListMeta;

/// Objects of one page: with who manages what of them some 200 KB.
const PAGE: usize = 100;
/// Servers of others that know no such form may send whole objects.
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// An object from afar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its `resourceVersion`.
    pub version: String,
    /// Stays the same while controllers only report a status.
    pub mark: u64,
}

/// A page of a collection.
#[derive(Debug)]
pub struct Page {
    /// Objects.
    pub objects: Vec<Sighting>,
    /// The version from which to watch.
    pub version: String,
    /// The next page.
    pub next: Option<String>,
}

/// What a watch tells.
#[derive(Debug)]
pub enum Seen {
    /// An object is so now.
    There(Sighting),
    /// It is gone.
    Gone(Sighting),
    /// Nothing happened up to this version.
    Version(String),
}

#[derive(Debug, Clone, Deserialize)]
struct Item {
    #[serde(default)]
    metadata: Meta,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: String,
    namespace: Option<String>,
    resource_version: String,
    generation: Option<i64>,
    managed_fields: Vec<Manager>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(default)]
struct Manager {
    manager: String,
    operation: String,
    subresource: Option<String>,
    time: Option<String>,
}

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    metadata: Versions,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    #[serde(default)]
    resource_version: String,
    #[serde(flatten)]
    page: ListMeta,
}

impl Default for Versions {
    fn default() -> Self {
        Self { resource_version: String::new(), page: ListMeta { next: None } }
    }
}

impl From<Item> for Sighting {
    fn from(Item { metadata }: Item) -> Self {
        let mut managers = metadata.managed_fields;
        managers.retain(|manager| manager.subresource.as_deref() != Some("status"));
        managers.sort();
        let mut hasher = DefaultHasher::new();
        (metadata.generation, managers).hash(&mut hasher);
        Self {
            namespace: metadata.namespace,
            name: metadata.name,
            version: metadata.resource_version,
            mark: hasher.finish(),
        }
    }
}

impl Objects {
    /// Path of a kind's objects, in a namespace or in all; none when the cluster does not have the kind.
    pub async fn collection(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let Some(resource) = self.kinds.find(&self.client, api_version, kind).await? else { return Ok(None) };
        let root = if api_version.contains('/') { "/apis/" } else { "/api/" };
        let below = match namespace.filter(|_| resource.namespaced) {
            Some(namespace) => format!("/namespaces/{}", escape(namespace)),
            None => String::new(),
        };
        Ok(Some(format!("{root}{api_version}{below}/{}", escape(&resource.plural))))
    }

    /// A page of a collection; `next` is of the page before.
    pub async fn sighted(&self, collection: &str, next: Option<&str>) -> Result<Page, Failure> {
        let next = next.map(|next| format!("&continue={}", escape(next))).unwrap_or_default();
        let request = Request::get(format!("{collection}?limit={PAGE}{next}"))
            .header(ACCEPT, LIST)
            .body(Vec::new())
            .map_err(|_| Failure::Request)?;
        let list: List = self.client.request(request).await.map_err(|error| Failure::judge(&error))?;
        Ok(Page {
            objects: list.items.into_iter().map(Sighting::from).collect(),
            version: list.metadata.resource_version,
            next: list.metadata.page.next.filter(|next| !next.is_empty()),
        })
    }

    /// What happens in a collection after a version. Ends after a while; watch again then.
    pub async fn sightings(
        &self,
        collection: &str,
        after: &str,
    ) -> Result<impl Stream<Item = Result<Seen, Failure>> + use<>, Failure> {
        let path = format!(
            "{collection}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            escape(after)
        );
        let request = Request::get(path).header(ACCEPT, ONE).body(Vec::new()).map_err(|_| Failure::Request)?;
        let events = self.client.request_events::<Item>(request).await.map_err(|error| Failure::judge(&error))?;
        Ok(events.map(|next| match next {
            Ok(WatchEvent::Added(item) | WatchEvent::Modified(item)) => Ok(Seen::There(item.into())),
            Ok(WatchEvent::Deleted(item)) => Ok(Seen::Gone(item.into())),
            Ok(WatchEvent::Bookmark(bookmark)) => Ok(Seen::Version(bookmark.metadata.resource_version)),
            Ok(WatchEvent::Error(_)) => Err(Failure::Expired),
            Err(error) => Err(Failure::judge(&error)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sighting(generation: i64, time: &str, status: &str) -> Sighting {
        let item: Item = serde_json::from_value(json!({
            "kind": "PartialObjectMetadata",
            "metadata": {
                "name": "a", "namespace": "n", "resourceVersion": "5", "generation": generation, "labels": { "x": "y" },
                "managedFields": [
                    { "manager": "roadstead", "operation": "Apply", "time": time, "fieldsV1": { "f:spec": {} } },
                    { "manager": "kcm", "operation": "Update", "subresource": "status", "time": status },
                ],
            },
        }))
        .unwrap();
        item.into()
    }

    #[test]
    fn a_status_leaves_the_mark_as_it_is() {
        let one = sighting(1, "t", "s");
        assert_eq!((one.name.as_str(), one.version.as_str()), ("a", "5"));
        assert_eq!(one.mark, sighting(1, "t", "later").mark);
        assert_ne!(one.mark, sighting(2, "t", "s").mark);
        assert_ne!(one.mark, sighting(1, "later", "s").mark);
    }

    #[test]
    fn pages_are_read() {
        let list: List = serde_json::from_value(json!({
            "metadata": { "resourceVersion": "9", "continue": "more" }, "items": [{ "metadata": { "name": "a" } }],
        }))
        .unwrap();
        assert_eq!((list.metadata.resource_version.as_str(), list.metadata.page.next.as_deref()), ("9", Some("more")));
        assert_eq!(list.items.len(), 1);
    }
}
