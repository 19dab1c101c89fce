//! Typed ids. Each is a UUIDv7 in the product; the types only wrap, they are made by `runtime::Ids`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An id that wraps a UUID, so that generic code (id source, stores) can make and read any of them.
pub trait TypedId: Copy + Eq + fmt::Display + Send + Sync + 'static {
    /// Wraps a UUID.
    fn from_uuid(uuid: Uuid) -> Self;
    /// The wrapped UUID.
    fn uuid(self) -> Uuid;
}

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl TypedId for $name {
            fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
            fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            /// Accepts the hyphenated form only: braces, URNs and bare hex are refused.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hyphenated(text).map(Self)
            }
        }
    )*};
}

/// Parses the 36-character hyphenated form and nothing else (reliability row R07).
pub fn parse_hyphenated(text: &str) -> Result<Uuid, uuid::Error> {
    text.parse::<uuid::fmt::Hyphenated>().map(uuid::fmt::Hyphenated::into_uuid)
}

typed_ids! {
    /// An account.
    UserId;
    /// A login: one family of refresh tokens.
    SessionId;
    /// An access token and the refresh token issued with it: `jti` of the one, public half of the other.
    TokenPairId;
    /// An API key (the public half; the secret is not an id).
    ApiKeyId;
    /// A passkey or security key of an account.
    PasskeyId;
    /// A cluster of the registry.
    ClusterId;
    /// An agent: one key pair enrolled for one cluster.
    AgentId;
    /// A join token (the public half).
    JoinTokenId;
    /// One running process of a service.
    ReplicaId;
    /// A message on the bus.
    MessageId;
    /// A recorded session.
    RecordingId;
    /// A row of the audit trail.
    AuditId;
    /// A change to a cluster.
    OperationId;
    /// One change to many clusters.
    RolloutId;
    /// A rule of the policy.
    RuleId;
    /// Somebody's question for more rights for a while.
    AccessRequestId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_read() {
        let text = "0198c5b0-0000-7000-8000-000000000001";
        assert_eq!(text.parse::<ClusterId>().unwrap().to_string(), text);
        for odd in ["{0198c5b0-0000-7000-8000-000000000001}", "0198c5b0000070008000000000000001", "1", ""] {
            assert!(odd.parse::<ClusterId>().is_err(), "{odd}");
        }
    }
}
