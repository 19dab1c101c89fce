//! Which kinds the cluster has, and under which paths: asked once per group and version, asked again when a kind is
//! missing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use kube::Client;
use serde::Deserialize;
use tokio::time::Instant;

use super::Failure;

/// A kind that was found is not asked for again this long.
const KNOWN_LIMIT: Duration = Duration::from_secs(300);
/// A kind that is missing is asked for at most this often: a definition that was just made takes a moment to be served.
const ASK_EVERY: Duration = Duration::from_millis(150);
/// Groups and versions that are remembered.
const GROUPS_MAX: usize = 1_000;

/// How a kind is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `deployments`.
    pub plural: String,
    /// `Deployment`.
    pub kind: String,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
}

#[derive(Debug, Clone)]
struct Group {
    asked: Instant,
    resources: Arc<Vec<Resource>>,
}

/// Kinds of one cluster.
#[derive(Debug, Default)]
pub struct Kinds {
    groups: Mutex<HashMap<String, Group>>,
}

#[derive(Debug, Deserialize)]
struct Served {
    #[serde(default)]
    resources: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    kind: String,
    #[serde(default)]
    namespaced: bool,
}

impl Kinds {
    /// How a kind is served; none when the cluster does not have it.
    pub async fn find(&self, client: &Client, api_version: &str, kind: &str) -> Result<Option<Resource>, Failure> {
        let pick = |group: &Group| group.resources.iter().find(|resource| resource.kind == kind).cloned();
        let known = self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(api_version).cloned();
        if let Some(group) = known {
            match pick(&group) {
                Some(found) if group.asked.elapsed() < KNOWN_LIMIT => return Ok(Some(found)),
                None if group.asked.elapsed() < ASK_EVERY => return Ok(None),
                _ => {}
            }
        }
        let path =
            if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
        let request = Request::get(path).body(Vec::new()).map_err(|_| Failure::Request)?;
        let resources = match client.request::<Served>(request).await.map_err(|error| Failure::judge(&error)) {
            Ok(served) => served
                .resources
                .into_iter()
                .filter(|row| !row.name.contains('/'))
                .map(|row| Resource { plural: row.name, kind: row.kind, namespaced: row.namespaced })
                .collect(),
            Err(Failure::NotFound) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        let group = Group { asked: Instant::now(), resources: Arc::new(resources) };
        let found = pick(&group);
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= GROUPS_MAX {
            groups.clear();
        }
        groups.insert(api_version.to_owned(), group);
        Ok(found)
    }

    /// Asks anew next time: a definition changed.
    pub fn forget(&self) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
