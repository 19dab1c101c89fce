//! Join tokens.

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::{Principal, Reach};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::message::{
    JOIN_TOKEN_NAMESPACES_MAX, JOIN_TOKEN_SECONDS_MAX, JOIN_TOKEN_USES_MAX, JoinToken, NewJoinToken, RightsProfile,
};
use roadstead_contracts::names::Namespace;
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::{Error, Result};

/// A join token with what only its own service needs.
#[derive(Debug, Clone)]
pub(crate) struct TokenRecord {
    /// As shown.
    pub token: JoinToken,
    /// SHA-256 of the secret half.
    pub digest: String,
    /// Who made it.
    pub owner_id: UserId,
    /// Whose its cluster is.
    pub cluster_owner_id: Option<UserId>,
}

impl TokenRecord {
    /// Whether it exists for the caller: its maker, and whoever sees its cluster.
    pub(crate) fn visible_to(&self, principal: &Principal, now: DateTime<Utc>) -> bool {
        let own = self.owner_id == principal.user_id || principal.reach == Reach::All;
        let of_visible_cluster = self.cluster().is_some_and(|cluster| roadstead_policy::sees(principal, &cluster, now));
        (own && !principal.is_cluster_bound()) || of_visible_cluster
    }
}

impl TokenRecord {
    /// What rules look at of its cluster. Its labels are not known here.
    pub(crate) fn cluster(&self) -> Option<ClusterFacts> {
        let name = self.token.cluster_name.as_ref().map(ToString::to_string);
        self.token.cluster_id.map(|id| ClusterFacts { id, name, labels: None, owner: self.cluster_owner_id })
    }
}

/// Checks a token that a door made on behalf of a caller.
pub(crate) fn check_new_token(token: &NewJoinToken) -> Result<()> {
    let fault = |field: &str, message: String| Err(Error::field(&["body", field], "value_error", message));
    if token.lifetime_seconds == 0 || token.lifetime_seconds > JOIN_TOKEN_SECONDS_MAX {
        return fault("lifetime_seconds", format!("lifetime_seconds must be 1 to {JOIN_TOKEN_SECONDS_MAX}"));
    }
    if token.uses == 0 || token.uses > JOIN_TOKEN_USES_MAX {
        return fault("uses", format!("uses must be 1 to {JOIN_TOKEN_USES_MAX}"));
    }
    check_profile(token.profile, &token.namespaces)?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token.digest.len() != 64 || !token.digest.bytes().all(hex) {
        return fault("digest", "digest must be 64 lower-case hex digits".to_owned());
    }
    token.labels.check()
}

/// Checks a rights profile and the namespaces that go with one of them.
pub(crate) fn check_profile(profile: RightsProfile, namespaces: &[Namespace]) -> Result<()> {
    let fault = |message: String| Err(Error::field(&["body", "namespaces"], "value_error", message));
    if (profile == RightsProfile::Namespaced) == namespaces.is_empty() {
        return fault("namespaces go with the profile namespaced, and it with them".to_owned());
    }
    if namespaces.len() > JOIN_TOKEN_NAMESPACES_MAX {
        return fault(format!("namespaces must be at most {JOIN_TOKEN_NAMESPACES_MAX}"));
    }
    Ok(())
}

/// The word in the database; the same as on the wire.
pub(crate) fn profile_word(profile: RightsProfile) -> &'static str {
    profile.as_str()
}

/// Reads the word.
pub(crate) fn profile_from(word: &str) -> Option<RightsProfile> {
    RightsProfile::ALL.into_iter().find(|profile| profile.as_str() == word)
}
