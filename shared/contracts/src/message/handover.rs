//! Requests that must not ride a queue, because a secret or something recorded is in them. A front door hands them to a
//! replica of onboarding over the mesh's mutual TLS; in one process it is a call. Their JSON is written nowhere.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Cluster, Page, PageRequest};
use crate::identity::Principal;
use crate::ids::RecordingId;
use crate::names::{ClusterName, Labels, Namespace};

/// A request that is handed over, and the reply that comes back.
pub trait Handover: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name, with its version.
    const VERB: &'static str;
    /// What comes back when it succeeds; failures come back as [`crate::Error`].
    type Reply: Serialize + DeserializeOwned + Send + Sync + 'static;
}

/// Longest request: a kubeconfig with the inlined certificates of many clusters.
pub const HANDOVER_REQUEST_MAX: usize = 4 * 1024 * 1024;
/// Longest reply: a part of a recording, escaped.
pub const HANDOVER_REPLY_MAX: usize = 8 * 1024 * 1024;

/// A text that may travel in a handover and is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(pub String);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Makes a cluster that onboarding reaches by itself, with credentials that the caller gives (seed 003).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectCluster {
    /// Who asks; becomes the owner.
    pub principal: Principal,
    /// Name.
    pub name: ClusterName,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// Fields of the seeds' clients.
    #[serde(default)]
    pub details: Option<super::SeedClusterDetails>,
    /// How it is reached.
    pub connection: NewConnection,
    /// What the hub's roles may do in it.
    #[serde(default)]
    pub profile: super::RightsProfile,
    /// Namespaces of the profile [`super::RightsProfile::Namespaced`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
}

/// Gives a cluster that onboarding reaches by itself other credentials. Its streams end and come back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReconnectCluster {
    /// Who asks.
    pub principal: Principal,
    /// Id, integer or name.
    pub cluster: String,
    /// How it is reached from now on.
    pub connection: NewConnection,
}

/// How a cluster is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewConnection {
    /// Where, and as whom.
    pub source: ConnectionSource,
    /// How much it is asked.
    #[serde(default)]
    pub limits: ConnectionLimits,
}

/// Where a cluster's API is, and the credential for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum ConnectionSource {
    /// A server and a token: a bearer token, or a service account's.
    Token {
        /// `https://host:6443`.
        server: String,
        /// The token.
        token: Option<Sensitive>,
        /// TLS.
        #[serde(default)]
        tls: ConnectionTls,
    },
    /// A kubeconfig of which one context counts.
    Kubeconfig {
        /// Its text.
        text: Sensitive,
        /// Which context; the current one when left out.
        context: Option<String>,
    },
    /// The cluster that onboarding runs in, as its own account.
    InCluster {},
}

/// TLS to a cluster's API. Certificates are PEM, or PEM in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionTls {
    /// Whoever issued the server's certificate; public authorities when left out.
    #[serde(default)]
    pub ca: Option<String>,
    /// Client certificate.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Its key.
    #[serde(default)]
    pub key: Option<Sensitive>,
    /// Name in the server's certificate, where it is not the host's.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// How much a cluster's API is asked (seed 003: `qps`, `burst`, `timeout`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Requests a second.
    pub qps: f64,
    /// Requests at once.
    pub burst: u32,
    /// Seconds until the API must have begun to answer.
    pub timeout_seconds: u32,
}

impl Default for ConnectionLimits {
    /// The figures of seed 003's example.
    fn default() -> Self {
        Self { qps: 50.0, burst: 100, timeout_seconds: 30 }
    }
}

/// Lists recorded sessions, newest first: an admin's is every one, anybody else's are their own. Not on a queue, because
/// people write secrets into commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListRecordings {
    /// Who asks.
    pub principal: Principal,
    /// Which page.
    pub page: PageRequest,
}

/// Gives a part of a recording: whole lines of its asciicast.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadRecording {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub id: RecordingId,
    /// Which part, from 0.
    #[serde(default)]
    pub part: u32,
}

/// A part of a recording.
#[derive(Clone, Serialize, Deserialize)]
pub struct RecordingPart {
    /// Lines of the asciicast (version 2).
    pub lines: String,
    /// The next part, when there is one now.
    pub next: Option<u32>,
}

impl fmt::Debug for RecordingPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingPart").field("next", &self.next).finish_non_exhaustive()
    }
}

/// A recorded session, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Id.
    pub id: RecordingId,
    /// Integer number.
    pub seq: i64,
    /// What it was a session of.
    pub session: SessionFacts,
    /// Id of the request that opened it.
    pub request_id: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; not there while it runs, or when its replica was lost.
    pub ended_at: Option<DateTime<Utc>>,
    /// Bytes of terminal output and input in it.
    pub bytes: u64,
}

/// What a session is of: said by the front door, which read the head of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// Account.
    pub user_id: crate::ids::UserId,
    /// User name.
    pub username: String,
    /// Cluster.
    pub cluster_id: crate::ids::ClusterId,
    /// Its name then.
    #[serde(default)]
    pub cluster_name: String,
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container, when it was named.
    #[serde(default)]
    pub container: Option<String>,
    /// `exec` or `attach`.
    pub verb: String,
    /// The command, word by word.
    #[serde(default)]
    pub command: Vec<String>,
    /// Whether it has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// `websocket`, `spdy` or [`Self::NODE_PROXY`].
    pub protocol: String,
}

impl SessionFacts {
    /// Protocol of a session by the proxy of a node, which no recorder reads.
    pub const NODE_PROXY: &str = "node_proxy";
}

macro_rules! handovers {
    ($($message:ident = $verb:literal -> $reply:ty;)*) => {$(
        impl Handover for $message {
            const VERB: &'static str = $verb;
            type Reply = $reply;
        }
    )*};
}

handovers! {
    ConnectCluster = "connect_cluster.v1" -> Cluster;
    ReconnectCluster = "reconnect_cluster.v1" -> Cluster;
    ListRecordings = "list_recordings.v1" -> Page<Recording>;
    ReadRecording = "read_recording.v1" -> RecordingPart;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sensitive_is_not_shown() {
        let source = ConnectionSource::Token {
            server: "https://a".to_owned(),
            token: Some(Sensitive("canary".to_owned())),
            tls: ConnectionTls { key: Some(Sensitive("canary".to_owned())), ..ConnectionTls::default() },
        };
        assert!(!format!("{source:?}").contains("canary"));
        assert!(!format!("{:?}", RecordingPart { lines: "canary".to_owned(), next: None }).contains("canary"));
    }
}
