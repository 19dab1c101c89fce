//! What hub and agent say to each other: enrolment over HTTP, notices and stream heads inside the tunnel, and the
//! agent's own verbs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drift::DriftPart;
use crate::ids::ClusterId;
use crate::message::{ClusterFacts, RightsProfile, SessionFacts};
use crate::names::{ClusterName, Labels, Namespace};

/// Path of the enrolment call on the agents' door.
pub const ENROL_PATH: &str = "/agent/v1/enrol";
/// Path that the agent dials.
pub const CONNECT_PATH: &str = "/agent/v1/connect";
/// WebSocket sub-protocol of the tunnel. A session without it is a simple agent of the seeds.
pub const SUBPROTOCOL: &str = "roadstead.tunnel.v1";
/// Audience of the assertion that an agent signs for each dial.
pub const DIAL_AUDIENCE: &str = "roadstead-agent-dial";
/// Most issues in a heartbeat: a list for people, not a log.
pub const ISSUES_MAX: usize = 16;
/// Longest text of one fact or issue, bytes; longer ones are cut (reliability row W10).
pub const FACT_TEXT_MAX: usize = 256;

/// Body of `POST /agent/v1/enrol`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The join token, `rsj_<id>_<secret>`.
    pub join_token: String,
    /// Name for the cluster; ignored when the token is bound to one.
    #[serde(default)]
    pub name: Option<ClusterName>,
    /// Ed25519 public key, base64url without padding of its 32 bytes.
    pub public_key: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Labels the agent's configuration gives.
    #[serde(default)]
    pub labels: Labels,
}

/// Answer to [`Enrol`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// Id of the agent.
    pub agent_id: String,
    /// Id of the cluster.
    pub cluster_id: String,
    /// Name of the cluster.
    pub cluster_name: ClusterName,
    /// Root public key to pin, base64url of 32 bytes.
    pub identity_root: String,
    /// Rights profile.
    pub profile: RightsProfile,
    /// Namespaces of that profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
}

/// Claims of the assertion an agent signs for each dial (EdDSA JWT, header `Authorization: Bearer`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DialClaims {
    /// The agent's id.
    pub sub: String,
    /// [`DIAL_AUDIENCE`].
    pub aud: String,
    /// Seconds since 1970.
    pub iat: i64,
    /// At most a minute after `iat`.
    pub exp: i64,
    /// Random, used once.
    pub jti: String,
}

/// Claims of an identity that the user service signs and the agent checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityClaims {
    /// User name.
    pub sub: String,
    /// Id of the account.
    pub uid: String,
    /// Roles of the hub: `viewer`, `operator`, `admin`.
    pub roles: Vec<String>,
    /// Id of the cluster it is for.
    pub aud: String,
    /// Seconds since 1970.
    pub iat: i64,
    /// At most a minute after `iat`.
    pub exp: i64,
    /// Who acts as `sub`, with the right to (`clusters:impersonate`). The roles are then what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The one kind of request that it is good for: a rule gave more for that than the account's own roles give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<RequestKind>,
}

/// A kind of request to the Kubernetes API, as the API server's authorization sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestKind {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, ….
    pub verb: String,
    /// `pods`, `deployments.apps`, `pods/exec`; a path that is no resource begins with a slash; none: the paths that tell
    /// what an API server serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The namespace that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The kind by its other name: of a manifest's object whose resource only its API server knows, `policy.example.org`
    /// beside `policies.example.org`. Rules may name either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<String>,
}

impl RequestKind {
    /// Of a verb and a kind, in a namespace or in none.
    pub fn of(verb: &str, kind: &str, namespace: Option<&str>) -> Self {
        let namespace = namespace.map(str::to_owned);
        Self { verb: verb.to_owned(), kind: Some(kind.to_owned()), namespace, also: None }
    }

    /// What tells what an API server serves: everybody who may do anything there needs it.
    pub fn discovery() -> Self {
        Self { verb: "get".to_owned(), kind: None, namespace: None, also: None }
    }
}

/// A control message inside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Notice {
    /// Hub to agent, first.
    Welcome {
        /// Counts the agent's sessions; results of an older one are not mixed in.
        epoch: i64,
        /// Seconds between heartbeats.
        heartbeat_seconds: u32,
        /// Key set signed by the root, see [`crate::message::IdentityKeySet`].
        key_set: String,
    },
    /// Agent to hub, at once after [`Notice::Welcome`] and then every `heartbeat_seconds`.
    Heartbeat {
        /// State of the cluster.
        facts: ClusterFacts,
    },
    /// Hub to agent: the signing keys changed.
    Keys {
        /// Key set signed by the root.
        key_set: String,
    },
    /// Hub to agent: leave, and come back after this long.
    Move {
        /// Milliseconds to wait before dialling.
        after_milliseconds: u32,
    },
    /// Hub to agent: cut off for good; do not come back.
    Revoked {},
    /// Agent to hub: part of a report of what operations applied and is not so any more. Sent again as a whole until
    /// [`Notice::DriftTaken`] names its revision, or a later one follows.
    Drift(DriftPart),
    /// Hub to agent: the report of this revision is stored.
    DriftTaken {
        /// [`DriftPart::revision`].
        revision: u64,
    },
}

/// Head of a stream: what it is for. JSON, at most [`STREAM_HEAD_MAX`] bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamHead {
    /// Where in the agent it goes.
    pub target: StreamTarget,
    /// Request id, for both logs.
    pub request_id: String,
    /// Milliseconds the opener will wait, from now.
    pub deadline_milliseconds: u32,
    /// W3C trace context.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Signed identity of the caller ([`IdentityClaims`]).
    #[serde(default)]
    pub assertion: Option<String>,
}

/// Head of a stream between two members of the mesh, towards the replica that holds an agent's session. JSON. Its first
/// byte back is [`RELAY_OPEN`], then the agent's bytes follow; or [`RELAY_REFUSED`] and a [`crate::Error`] as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelayHead {
    /// Whose agent.
    pub cluster_id: ClusterId,
    /// Whether somebody waits for each byte (exec), else the bulk class.
    pub interactive: bool,
    /// What the agent is given.
    pub head: StreamHead,
    /// Of a session in a container, which onboarding may have to record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionFacts>,
}

/// Head of a stream between two members of the mesh that carries a [`crate::message::Handover`]. JSON. Behind it comes the
/// request; back come [`RELAY_OPEN`] and a [`VerbAnswer`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayCall {
    /// [`crate::message::Handover::VERB`].
    pub call: String,
    /// Request id, for both logs.
    pub request_id: String,
}

/// The stream to the agent is open.
pub const RELAY_OPEN: u8 = b'+';
/// It could not be opened.
pub const RELAY_REFUSED: u8 = b'-';

/// Longest stream head.
pub const STREAM_HEAD_MAX: usize = 16 * 1024;
/// Longest answer of an agent verb that the hub takes: 5,000 namespaces with labels.
pub const VERB_ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Where a stream goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "to")]
pub enum StreamTarget {
    /// One of the agent's own verbs; the body is its JSON request, the answer a [`VerbAnswer`].
    Agent {
        /// Name of the verb: `get-namespaces`.
        verb: String,
    },
    /// The API server: the stream is an HTTP/1.1 connection for one exchange, which may upgrade. Its request goes on as the
    /// person of the assertion.
    Kubernetes {},
}

/// Answer of an agent verb.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerbAnswer<T> {
    /// It worked.
    Ok(T),
    /// It did not; the error may be shown to the caller.
    Error(crate::Error),
}

/// Name of the verb that lists namespaces.
pub const GET_NAMESPACES: &str = "get-namespaces";

/// Request of [`GET_NAMESPACES`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GetNamespacesRequest {}

/// Namespaces of a cluster, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceList {
    /// The namespaces.
    pub namespaces: Vec<NamespaceInfo>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceInfo {
    /// Name.
    pub name: String,
    /// `Active` or `Terminating`.
    pub status: String,
    /// RFC 3339, seconds, `Z`.
    pub created_at: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations, without those that Kubernetes itself keeps (seed 001 drops the same prefixes).
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}
