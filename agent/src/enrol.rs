//! Joining: the join token is spent once, the public key is registered, the root is pinned.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use roadstead_auth::agent_key::AgentKey;
use roadstead_contracts::Code;
use roadstead_contracts::agent::{ENROL_PATH, Enrol, Enrolled};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_runtime::Secret;
use serde::Deserialize;

use crate::keep::Kept;
use crate::net::door::Door;
use crate::net::{Way, http as exchange};
use crate::{Error, Result};

/// What an agent joins with.
#[derive(Debug)]
pub struct Joining {
    /// The join token.
    pub token: Secret,
    /// Name for the cluster.
    pub name: Option<ClusterName>,
    /// Labels for the cluster.
    pub labels: Labels,
}

/// Joins with a new key pair.
pub async fn enrol(way: &Way, door: &Door, joining: &Joining) -> Result<Kept> {
    let key = AgentKey::generate()?;
    let body = Enrol {
        join_token: joining.token.expose().to_owned(),
        name: joining.name.clone(),
        public_key: key.public_base64url(),
        agent_version: crate::VERSION.to_owned(),
        labels: joining.labels.clone(),
    };
    let body = serde_json::to_vec(&body).map_err(|error| Error::Protocol(error.to_string()))?;
    let request = Request::post(door.path(ENROL_PATH)?)
        .header(CONTENT_TYPE, "application/json")
        .body(Bytes::from(body))
        .map_err(|error| Error::Protocol(error.to_string()))?;
    let answer = exchange::exchange(way, request).await?;
    if !answer.status().is_success() {
        return Err(refusal(&answer));
    }
    let enrolled: Enrolled = serde_json::from_slice(answer.body())
        .map_err(|error| Error::Protocol(format!("{door} is not the hub's door for agents ({error})")))?;
    Ok(Kept {
        agent_id: enrolled.agent_id,
        cluster_id: enrolled.cluster_id,
        cluster_name: enrolled.cluster_name,
        identity_root: enrolled.identity_root,
        profile: enrolled.profile,
        namespaces: enrolled.namespaces,
        private_key: key.pem(),
    })
}

#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    code: Option<Code>,
}

/// Reads the hub's refusal.
pub fn refusal(answer: &Response<Bytes>) -> Error {
    let problem: Problem = serde_json::from_slice(answer.body()).unwrap_or_default();
    let status = answer.status();
    let detail = match problem.detail {
        Some(detail) => detail.chars().filter(|character| !character.is_control()).take(300).collect(),
        None if status == StatusCode::NOT_FOUND => "no door for agents at this address; check --hub".to_owned(),
        None => status.to_string(),
    };
    Error::Refused { status: status.as_u16(), code: problem.code, detail, retry_after: retry_after(answer.headers()) }
}

/// Seconds of `Retry-After`, at most an hour.
fn retry_after(headers: &HeaderMap<HeaderValue>) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}
