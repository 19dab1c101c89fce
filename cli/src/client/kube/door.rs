//! The Kubernetes door, as `get` uses it: which kinds a cluster has, and lists of them as tables.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::Value;

use super::super::hub::{Hub, segment};
use super::Doors;
use crate::args::kube::GetArgs;

/// Rows of one page, as kubectl asks.
const PAGE: usize = 500;
/// Most pages of one cluster: what nobody reads is not fetched.
const PAGES_MAX: usize = 40;
/// Largest answer of one cluster.
const ANSWER_MAX: usize = 32 * 1024 * 1024;
/// Longest pause before the door is asked once more that had enough of us.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// What the hub's own refusals begin with, to tell kubectl's users that it is not the cluster's.
const OWN_WORDS: &str = "roadstead: ";
/// What asks for the columns that kubectl prints.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// What asks for every kind of every group in one answer (KEP-3352): Kubernetes 1.30, then 1.27; others answer as they did.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
/// Its kind.
const AGGREGATED_KIND: &str = "APIGroupDiscoveryList";
/// What asks for one group's kinds.
const PLAIN: &str = "application/json";

/// A kind as a cluster serves it.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    base: String,
    plural: String,
    namespaced: bool,
}

/// A way to the Kubernetes door.
#[derive(Clone)]
pub(super) struct Door {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Door {
    pub(super) async fn open(hub: &mut Hub) -> Result<Self> {
        let (url, authority) = Doors::of(hub).await?;
        let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &authority {
            for certificate in reqwest::Certificate::from_pem_bundle(pem.as_bytes())? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let profile = hub.profile();
        let token = profile.api_key.clone().or_else(|| profile.access_token.clone()).context("log in first")?;
        Ok(Self { client: builder.build().context("failed to set up HTTP")?, url, token })
    }

    async fn ask(&self, cluster: &str, path: &str, accept: &str) -> Result<Value> {
        let mut response = loop {
            let request = self.client.get(format!("{}/k/{cluster}{path}", self.url)).bearer_auth(&self.token);
            let response =
                request.header("accept", accept).send().await.context("the Kubernetes door is not reached")?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                break response;
            }
            // One look at a thousand clusters is more requests than a credential has in a second. Whoever waits for us
            // ends this when it takes too long.
            tokio::time::sleep(pause(response.headers())).await;
        };
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
            if bytes.len() + chunk.len() > ANSWER_MAX {
                bail!("the answer is larger than {ANSWER_MAX} bytes");
            }
            bytes.extend_from_slice(&chunk);
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if !status.is_success() {
            let said = body["message"].as_str().map(|message| message.strip_prefix(OWN_WORDS).unwrap_or(message));
            bail!("{}", said.map_or_else(|| format!("it answered {status}"), str::to_owned));
        }
        Ok(body)
    }

    pub(super) async fn list(&self, cluster: &str, args: &GetArgs) -> Result<Value> {
        let kind = self.find(cluster, &args.kind).await?;
        let mut path = kind.base.clone();
        if let (true, Some(namespace)) = (kind.namespaced, &args.namespace) {
            path.push_str("/namespaces/");
            path.push_str(&segment(namespace));
        }
        path.push('/');
        path.push_str(&kind.plural);
        let mut query = vec![format!("limit={PAGE}")];
        if let Some(selector) = &args.selector {
            query.push(format!("labelSelector={}", segment(selector)));
        }
        if let Some(name) = &args.name {
            query.push(format!("fieldSelector=metadata.name%3D{}", segment(name)));
        }
        let path = format!("{path}?{}", query.join("&"));
        let mut whole = self.ask(cluster, &path, AS_TABLE).await?;
        for _ in 1..PAGES_MAX {
            let Some(next) = rest(&whole) else { return Ok(whole) };
            let page = self.ask(cluster, &format!("{path}&continue={next}"), AS_TABLE).await?;
            extend(&mut whole, page);
        }
        match rest(&whole) {
            None => Ok(whole),
            Some(_) => bail!("it has more than {} of them; narrow it with -n or -l", PAGE * PAGES_MAX),
        }
    }

    /// Finds a kind by its plural, singular, short name or `plural.group`, the core group first.
    async fn find(&self, cluster: &str, kind: &str) -> Result<Kind> {
        let wanted = kind.to_lowercase();
        let (wanted, group) =
            wanted.split_once('.').map_or((wanted.as_str(), None), |(kind, group)| (kind, Some(group)));
        if group.is_none()
            && let Some(found) = self.find_in_core(cluster, wanted).await?
        {
            return Ok(found);
        }
        let groups = self.ask(cluster, "/apis", AGGREGATED).await?;
        let found = if groups["kind"] == AGGREGATED_KIND {
            pick_aggregated(&groups, wanted, group)
        } else {
            self.find_in_groups(cluster, &groups, wanted, group).await
        };
        found.with_context(|| format!("it has no kind {kind}"))
    }

    async fn find_in_core(&self, cluster: &str, wanted: &str) -> Result<Option<Kind>> {
        let core = self.ask(cluster, "/api", AGGREGATED).await?;
        if core["kind"] == AGGREGATED_KIND {
            return Ok(pick_aggregated(&core, wanted, None));
        }
        Ok(pick(&self.ask(cluster, "/api/v1", PLAIN).await?, wanted, "/api/v1"))
    }

    /// Group after group, as API servers before 1.27 want it.
    async fn find_in_groups(&self, cluster: &str, groups: &Value, wanted: &str, group: Option<&str>) -> Option<Kind> {
        for entry in array(&groups["groups"]) {
            if group.is_some_and(|group| entry["name"] != group) {
                continue;
            }
            let Some(version) = entry["preferredVersion"]["groupVersion"].as_str() else { continue };
            let base = format!("/apis/{version}");
            // A group whose server is away must not hide the others.
            let Ok(resources) = self.ask(cluster, &base, PLAIN).await else { continue };
            if let Some(found) = pick(&resources, wanted, &base) {
                return Some(found);
            }
        }
        None
    }
}

fn pause(head: &reqwest::header::HeaderMap) -> Duration {
    let seconds = head.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).clamp(Duration::from_millis(100), PAUSE_MAX)
}

/// Where a list goes on.
fn rest(page: &Value) -> Option<String> {
    page["metadata"]["continue"].as_str().filter(|next| !next.is_empty()).map(segment)
}

/// The rows of the next page behind those that are there.
fn extend(whole: &mut Value, mut page: Value) {
    if let (Some(rows), Some(more)) = (whole["rows"].as_array_mut(), page["rows"].as_array_mut()) {
        rows.append(more);
    }
    whole["metadata"] = page["metadata"].take();
}

/// A kind in one group's list.
fn pick(resources: &Value, wanted: &str, base: &str) -> Option<Kind> {
    array(&resources["resources"]).iter().find_map(|resource| {
        let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
        is_called(wanted, plural, &resource["singularName"], &resource["kind"], &resource["shortNames"]).then(|| Kind {
            base: base.to_owned(),
            plural: plural.to_owned(),
            namespaced: resource["namespaced"].as_bool().unwrap_or(false),
        })
    })
}

/// A kind in the list of all groups: in each the preferred version is the first.
fn pick_aggregated(groups: &Value, wanted: &str, group: Option<&str>) -> Option<Kind> {
    for entry in array(&groups["items"]) {
        // The core group has no name.
        let name = entry["metadata"]["name"].as_str().unwrap_or_default();
        if group.is_some_and(|group| group != name) {
            continue;
        }
        for version in array(&entry["versions"]) {
            let Some(spoken) = version["version"].as_str() else { continue };
            let found = array(&version["resources"]).iter().find_map(|resource| {
                let plural = resource["resource"].as_str()?;
                let kind = &resource["responseKind"]["kind"];
                is_called(wanted, plural, &resource["singularResource"], kind, &resource["shortNames"]).then(|| Kind {
                    base: if name.is_empty() { format!("/api/{spoken}") } else { format!("/apis/{name}/{spoken}") },
                    plural: plural.to_owned(),
                    namespaced: resource["scope"] == "Namespaced",
                })
            });
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

fn is_called(wanted: &str, plural: &str, singular: &Value, kind: &Value, short: &Value) -> bool {
    plural == wanted
        || singular == wanted
        || kind.as_str().is_some_and(|kind| kind.to_lowercase() == wanted)
        || array(short).iter().any(|short| short == wanted)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
