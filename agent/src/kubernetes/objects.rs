//! Any object of the cluster, by its key, as one person.

mod sightings;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use http::{Method, Request};
use kube::Client;
use kube::core::WatchEvent;
use roadstead_contracts::operation::{FIELD_MANAGER, ObjectKey};
use roadstead_contracts::percent::escape;
use serde_json::{Value, json};

use super::kinds::{Kinds, Resource};
use super::{Cluster, Failure};
use crate::core::Identity;

pub use sightings::{Page, Seen, Sighting};

/// Seconds of one watch: below the silence after which a connection to the API server counts as dead.
const WATCH_SECONDS: u32 = 25;
/// Namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// The objects as a person may see and change them.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    kinds: Arc<Kinds>,
}

/// An object's place in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The key, with the namespace it really has.
    pub key: ObjectKey,
    collection: String,
}

/// What becomes of objects that a removed one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// They go first.
    First,
    /// They go afterwards.
    Later,
}

/// How an apply is meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Applying {
    /// Only ask.
    pub dry_run: bool,
    /// Take fields from other managers.
    pub force: bool,
}

impl Objects {
    /// As this person.
    pub fn new(cluster: &Cluster, person: &Identity, kinds: Arc<Kinds>) -> Result<Self, Failure> {
        Ok(Self { client: cluster.client_of(person)?, kinds })
    }

    /// The client of the person.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where the object is; none when the cluster does not have its kind.
    pub async fn find(&self, key: &ObjectKey) -> Result<Option<At>, Failure> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'/');
        if !key.api_version.bytes().all(plain) || key.api_version.contains("..") {
            return Err(Failure::Invalid("the apiVersion cannot be one".to_owned()));
        }
        let resource = self.kinds.find(&self.client, &key.api_version, &key.kind).await?;
        Ok(resource.map(|resource| At::new(key, &resource)))
    }

    /// Definitions changed.
    pub fn forget_kinds(&self) {
        self.kinds.forget();
    }

    /// The object now.
    pub async fn get(&self, at: &At) -> Result<Option<Value>, Failure> {
        self.read(&at.path("")).await
    }

    /// What stands at a path of the API.
    pub async fn read(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.send(Method::GET, path, None, &Value::Null).await {
            Ok(found) => Ok(Some(found)),
            Err(Failure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Server-side apply. With a `resourceVersion` in the object only onto that version.
    pub async fn apply(&self, at: &At, object: &Value, how: Applying) -> Result<Value, Failure> {
        let force = if how.force { "&force=true" } else { "" };
        let dry = if how.dry_run { "&dryRun=All" } else { "" };
        let path = format!("{}?fieldManager={FIELD_MANAGER}{force}{dry}", at.path(""));
        self.send(Method::PATCH, &path, Some("application/apply-patch+yaml"), object).await
    }

    /// A patch of another form, of the object or of a sub-resource (`/scale`).
    pub async fn patch(&self, at: &At, below: &str, form: &'static str, patch: &Value) -> Result<Value, Failure> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}", at.path(below));
        self.send(Method::PATCH, &path, Some(form), patch).await
    }

    /// Makes it as it stands.
    pub async fn create(&self, at: &At, object: &Value) -> Result<Value, Failure> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}", at.collection);
        self.send(Method::POST, &path, Some("application/json"), object).await
    }

    /// Replaces it whole; the object names the version it replaces.
    pub async fn replace(&self, at: &At, object: &Value) -> Result<Value, Failure> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}", at.path(""));
        self.send(Method::PUT, &path, Some("application/json"), object).await
    }

    /// Removes this very object; says whether it was there.
    pub async fn delete(&self, at: &At, live: &Value, dependents: Dependents, dry_run: bool) -> Result<bool, Failure> {
        let policy = match dependents {
            Dependents::First => "Foreground",
            Dependents::Later => "Background",
        };
        let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy });
        if let Some(uid) = live.pointer("/metadata/uid") {
            options["preconditions"] = json!({ "uid": uid });
        }
        // In the body: beside a body the API server does not look at the query, and would remove it.
        if dry_run {
            options["dryRun"] = json!(["All"]);
        }
        match self.send(Method::DELETE, &at.path(""), Some("application/json"), &options).await {
            Ok(_) => Ok(true),
            Err(Failure::NotFound) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Objects of a kind in a namespace, by labels.
    pub async fn list(&self, at: &At, selector: &str) -> Result<Vec<Value>, Failure> {
        let path = format!("{}?labelSelector={}", at.collection, escape(selector));
        let mut list = self.send(Method::GET, &path, None, &Value::Null).await?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(Failure::Unexpected("a list without items".to_owned())),
        }
    }

    /// States of the object after a version, as they come; `None` when it is gone. Ends after a while; watch again then.
    pub async fn watch(
        &self,
        at: &At,
        after: &str,
    ) -> Result<impl Stream<Item = Result<Option<Value>, Failure>> + use<>, Failure> {
        let path = format!(
            "{}?watch=true&fieldSelector={}&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            at.collection,
            escape(&format!("metadata.name={}", at.key.name)),
            escape(after),
        );
        let request = Request::get(path).body(Vec::new()).map_err(|_| Failure::Request)?;
        let events = self.client.request_events::<Value>(request).await.map_err(|error| Failure::judge(&error))?;
        Ok(events.filter_map(|next| async move {
            match next {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Some(Ok(Some(object))),
                Ok(WatchEvent::Deleted(_)) => Some(Ok(None)),
                Ok(WatchEvent::Bookmark(_)) => None,
                Ok(WatchEvent::Error(_)) => Some(Err(Failure::Expired)),
                Err(error) => Some(Err(Failure::judge(&error))),
            }
        }))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        form: Option<&'static str>,
        body: &Value,
    ) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(http::header::ACCEPT, "application/json");
        let mut bytes = Vec::new();
        if let Some(form) = form {
            request = request.header(http::header::CONTENT_TYPE, form);
            bytes = serde_json::to_vec(body).map_err(|_| Failure::Request)?;
        }
        let request = request.body(bytes).map_err(|_| Failure::Request)?;
        self.client.request(request).await.map_err(|error| match Failure::judge(&error) {
            // What the API server says about the object is for whoever wrote it.
            Failure::Unexpected(detail) if detail.starts_with("400 ") || detail.starts_with("422 ") => {
                Failure::Invalid(detail[4..].to_owned())
            }
            other => other,
        })
    }
}

impl At {
    fn new(key: &ObjectKey, resource: &Resource) -> Self {
        let mut key = key.clone();
        key.namespace = resource
            .namespaced
            .then(|| key.namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()));
        let root = if key.api_version.contains('/') { "/apis/" } else { "/api/" };
        let below = match &key.namespace {
            Some(namespace) => format!("/namespaces/{}", escape(namespace)),
            None => String::new(),
        };
        let collection = format!("{root}{}{below}/{}", key.api_version, escape(&resource.plural));
        Self { key, collection }
    }

    /// Whether the kind is Kubernetes' own.
    pub fn is_built_in(&self) -> bool {
        let group = self.key.api_version.split_once('/').map_or("", |(group, _)| group);
        !group.contains('.') || group.ends_with(".k8s.io")
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{}{below}", self.collection, escape(&self.key.name))
    }
}

/// `metadata.resourceVersion`.
pub fn version_of(object: &Value) -> &str {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default()
}

/// Wait before something of the API server's is asked again.
pub const ASK_AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_path() {
        let key = ObjectKey {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("a/../b".to_owned()),
            name: "x?force=true#".to_owned(),
        };
        let resource = Resource { plural: "deployments".to_owned(), kind: "Deployment".to_owned(), namespaced: true };
        let at = At::new(&key, &resource);
        assert_eq!(at.path("/scale"), "/apis/apps/v1/namespaces/a%2F..%2Fb/deployments/x%3Fforce%3Dtrue%23/scale");
        let wide = Resource { namespaced: false, ..resource.clone() };
        assert_eq!(At::new(&key, &wide).key.namespace, None);
        let unnamed = ObjectKey { namespace: None, ..key };
        assert_eq!(At::new(&unnamed, &resource).key.namespace.as_deref(), Some("default"));
    }
}
