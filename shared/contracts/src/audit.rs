//! The audit trail: who did or tried what, to what, from where, with which credential, and how it ended.
//!
//! A record is written before a change (its intent, in the same transaction as the change or on disk before anything is
//! done) and after it (its outcome). A change that is refused, or one that is made and stored in one transaction, needs one
//! record only: an outcome. Plain reads are not recorded, except of secrets.
//!
//! Secrets have no way in: texts are made by [`Text::new`] only, which cuts them and stars out what looks like a credential;
//! details have fixed names and short values; bodies never go in, only their length and digest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

use crate::identity::{CredentialKind, Principal};
use crate::ids::{AuditId, ClusterId, TypedId, UserId};
use crate::{Code, Error};

mod chain;
mod text;

pub use chain::{
    AuditCheckpoint, AuditCheckpoints, AuditRow, AuditStart, CheckpointLine, EXPORT_FORM, ExportHead, ExportLine,
};
pub use text::{TEXT_MAX, Text};

/// Details of one record.
pub const DETAILS_MAX: usize = 16;
/// Bytes of one record as JSON. Its texts are cut where they are made, so that the longest has some 26 KiB; a longer one is a
/// fault of the program or a forgery, and is refused before anything is done: what cannot be written is not done.
pub const RECORD_MAX: usize = 32 * 1024;
/// Records of one message. The longest that can be made has some 26 KiB (26 texts of 256 characters of four bytes), so that
/// these stay below a message's limit of 1 MiB whatever is in them; usual ones have 600 bytes.
pub const BATCH_MAX: u32 = 32;

/// Whether something is about to be done or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is about to be done; an outcome follows.
    Intent,
    /// It is over: made, refused or failed.
    Outcome,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It was done.
    Succeeded,
    /// It was not allowed; nothing was done.
    Refused,
    /// It went wrong; what was done is not known or nothing.
    Failed,
    /// Somebody had it stopped before its end.
    Cancelled,
}

/// How it ended, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub result: Ended,
    /// Code of the error, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

impl Outcome {
    /// It was done.
    pub fn succeeded() -> Self {
        Self { result: Ended::Succeeded, code: None }
    }

    /// It ended with an error: refused when the caller may not or asked wrongly, failed when something here broke.
    pub fn of_error(error: &Error) -> Self {
        let result = if error.code.status() < 500 { Ended::Refused } else { Ended::Failed };
        Self { result, code: Some(error.code) }
    }

    /// How a call ended.
    pub fn of<T>(result: &crate::Result<T>) -> Self {
        match result {
            Ok(_) => Self::succeeded(),
            Err(error) => Self::of_error(error),
        }
    }
}

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// An account.
    User,
    /// Nobody who is known: no credential, or one that is not good.
    Anonymous,
    /// An agent of a cluster.
    Agent,
    /// A broker user of the seeds, mapped to an account.
    Peer,
    /// The hub itself.
    System,
}

/// What the actor showed. Never the secret of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// `api_key`, `session`, `password`, `queue_peer`, `agent_key`, `join_token`, …
    pub kind: Cow<'static, str>,
    /// Its id: of the key, of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Text>,
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Kind.
    pub kind: ActorKind,
    /// Id of the account, the agent, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Text>,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// What was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
}

impl Actor {
    /// A known caller.
    pub fn of(principal: &Principal) -> Self {
        let (kind, credential_kind, id) = match &principal.credential {
            CredentialKind::ApiKey(id) => (ActorKind::User, "api_key", Text::new(&id.to_string())),
            CredentialKind::Session(id) => (ActorKind::User, "session", Text::new(&id.to_string())),
            CredentialKind::QueuePeer(name) => (ActorKind::Peer, "queue_peer", Text::new(name)),
        };
        Self {
            kind,
            id: Some(Text::new(&principal.user_id.to_string())),
            name: Some(Text::new(&principal.username)),
            credential: Some(Credential { kind: credential_kind.into(), id: Some(id) }),
        }
    }

    /// Nobody who is known. What was typed as a name does not go in: it may be a password.
    pub fn anonymous() -> Self {
        Self { kind: ActorKind::Anonymous, id: None, name: None, credential: None }
    }

    /// An account that is not the caller of a request yet: at login, or by its first key.
    pub fn account(id: UserId, name: &str, credential: &'static str) -> Self {
        Self {
            kind: ActorKind::User,
            id: Some(Text::new(&id.to_string())),
            name: Some(Text::new(name)),
            credential: Some(Credential { kind: credential.into(), id: None }),
        }
    }

    /// An agent.
    pub fn agent(id: &str) -> Self {
        let credential = Credential { kind: "agent_key".into(), id: None };
        Self { kind: ActorKind::Agent, id: Some(Text::new(id)), name: None, credential: Some(credential) }
    }

    /// The hub itself.
    pub fn system(name: &'static str) -> Self {
        Self { kind: ActorKind::System, id: None, name: Some(Text::new(name)), credential: None }
    }
}

/// To what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// `user`, `api_key`, `cluster`, `pods`, …
    pub kind: Text,
    /// Name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Cluster that it is in, or is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    /// Namespace that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Text>,
}

impl Resource {
    /// A kind of thing.
    pub fn kind(kind: &str) -> Self {
        Self { kind: Text::new(kind), name: None, cluster_id: None, namespace: None }
    }

    /// A thing by its name or id.
    pub fn named(kind: &str, name: &str) -> Self {
        Self { name: Some(Text::new(name)), ..Self::kind(kind) }
    }

    /// A thing by its id.
    pub fn id(kind: &str, id: impl TypedId) -> Self {
        Self::named(kind, &id.to_string())
    }

    /// A cluster itself.
    pub fn cluster(id: ClusterId) -> Self {
        Self { cluster_id: Some(id), ..Self::id("cluster", id) }
    }

    /// In a cluster.
    #[must_use]
    pub fn in_cluster(self, id: ClusterId) -> Self {
        Self { cluster_id: Some(id), ..self }
    }

    /// In a namespace.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(Text::new(namespace)), ..self }
    }
}

/// From where, and under which request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The request's id.
    pub request_id: Text,
    /// Address of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What the client calls itself, cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Text>,
}

impl Origin {
    /// A request.
    pub fn request(request_id: &str) -> Self {
        Self { request_id: Text::new(request_id), ..Self::default() }
    }

    /// With the client's address.
    #[must_use]
    pub fn from_address(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// With what the client calls itself.
    #[must_use]
    pub fn by(self, user_agent: Option<&str>) -> Self {
        Self { user_agent: user_agent.map(Text::new), ..self }
    }
}

/// One row of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Id: the same for every delivery.
    pub id: AuditId,
    /// When.
    pub at: DateTime<Utc>,
    /// Before or after.
    pub phase: Phase,
    /// The intent that this outcome belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<AuditId>,
    /// What: `cluster.create`, `user.login`, `kubernetes.delete`.
    pub action: Text,
    /// Who.
    pub actor: Actor,
    /// To what.
    pub resource: Resource,
    /// From where.
    pub origin: Origin,
    /// How it ended; an intent has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// More, short.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "few")]
    pub detail: BTreeMap<Cow<'static, str>, Text>,
}

impl AuditRecord {
    /// What is about to be done. `action` is a word of ours.
    pub fn intent(
        id: AuditId,
        at: DateTime<Utc>,
        origin: Origin,
        actor: Actor,
        action: &str,
        resource: Resource,
    ) -> Self {
        Self {
            id,
            at: microseconds(at),
            phase: Phase::Intent,
            intent_id: None,
            action: Text::new(action),
            actor,
            resource,
            origin,
            outcome: None,
            detail: BTreeMap::new(),
        }
    }

    /// What is over without an intent of its own: it was refused, or it is stored in the same transaction as this record.
    pub fn outcome(
        id: AuditId,
        at: DateTime<Utc>,
        origin: Origin,
        actor: Actor,
        action: &str,
        resource: Resource,
        outcome: Outcome,
    ) -> Self {
        let intent = Self::intent(id, at, origin, actor, action, resource);
        Self { phase: Phase::Outcome, outcome: Some(outcome), ..intent }
    }

    /// How this intent ended.
    #[must_use]
    pub fn ended(&self, id: AuditId, at: DateTime<Utc>, outcome: Outcome) -> Self {
        Self {
            id,
            at: microseconds(at),
            phase: Phase::Outcome,
            intent_id: Some(self.id),
            outcome: Some(outcome),
            ..self.clone()
        }
    }

    /// Its length as JSON, when that is more than [`RECORD_MAX`].
    pub fn too_long(&self) -> Option<usize> {
        let bytes = serde_json::to_vec(self).map_or(usize::MAX, |json| json.len());
        (bytes > RECORD_MAX).then_some(bytes)
    }

    /// Adds a detail; beyond [`DETAILS_MAX`] nothing is added.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.add(name, value);
        self
    }

    /// Adds a detail.
    pub fn add(&mut self, name: &'static str, value: &str) {
        if self.detail.len() < DETAILS_MAX {
            self.detail.insert(Cow::Borrowed(name), Text::new(value));
        }
    }
}

/// Databases keep microseconds; a record must read the same before and after.
fn microseconds(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

/// Details from another process: as many as there may be, with names of a sane length.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Cow<'static, str>, Text>, D::Error> {
    let all = BTreeMap::<Text, Text>::deserialize(deserializer)?;
    if all.len() > DETAILS_MAX {
        return Err(serde::de::Error::custom("too many details"));
    }
    Ok(all.into_iter().map(|(name, value)| (Cow::Owned(name.as_str().to_owned()), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        let id = AuditId::from_uuid(uuid::Uuid::from_u128(7));
        let at = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        AuditRecord::intent(
            id,
            at,
            Origin::request("r1"),
            Actor::system("hub"),
            "cluster.create",
            Resource::kind("cluster"),
        )
    }

    #[test]
    fn a_record_survives_the_wire_and_the_database() {
        let ended = record().with("name", "alpha").ended(
            AuditId::from_uuid(uuid::Uuid::from_u128(8)),
            "2026-01-02T03:04:06Z".parse().unwrap(),
            Outcome::of_error(&Error::of(Code::Forbidden)),
        );
        let json = serde_json::to_string(&ended).unwrap();
        let read: AuditRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(read, ended);
        assert_eq!(serde_json::to_string(&read).unwrap(), json, "the text is canonical");
        assert!(json.contains(r#""result":"refused","code":"forbidden""#), "{json}");
        assert!(!json.contains("123456789"), "microseconds only");
    }

    #[test]
    fn the_longest_records_fit_a_message() {
        let longest = "\u{1f511}".repeat(TEXT_MAX);
        let text = Text::new(&longest);
        let credential = Credential { kind: longest.clone().into(), id: Some(text.clone()) };
        let mut record = record();
        record.action = text.clone();
        record.actor =
            Actor { id: Some(text.clone()), name: Some(text.clone()), credential: Some(credential), ..record.actor };
        record.resource = Resource::named(&longest, &longest).in_namespace(&longest);
        record.origin = Origin::request(&longest).by(Some(&longest));
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"] {
            record.add(name, &longest);
        }
        assert_eq!(record.too_long(), None, "what can be made fits");
        record.actor.credential = Some(Credential { kind: "x".repeat(RECORD_MAX).into(), id: None });
        assert!(record.too_long().is_some_and(|bytes| bytes > RECORD_MAX), "what was forged does not");
        record.actor.credential = None;
        let bytes = RECORD_MAX.min(serde_json::to_vec(&record).unwrap().len()) * usize::try_from(BATCH_MAX).unwrap();
        assert!(bytes < 1024 * 1024 - 16 * 1024, "{bytes}");
    }

    #[test]
    fn details_are_few() {
        let mut record = record();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"] {
            record.add(name, "x");
        }
        assert_eq!(record.detail.len(), DETAILS_MAX);
        let many: BTreeMap<String, String> = (0..40).map(|index| (index.to_string(), "x".to_owned())).collect();
        let mut value = serde_json::to_value(&record).unwrap();
        value["detail"] = serde_json::to_value(many).unwrap();
        assert!(serde_json::from_value::<AuditRecord>(value).is_err());
    }
}
