//! Join tokens.

use roadstead_contracts::identity::{Principal, Reach};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::message::{
    JOIN_TOKEN_NAMESPACES_MAX, JOIN_TOKEN_SECONDS_MAX, JOIN_TOKEN_USES_MAX, JoinToken, NewJoinToken, RightsProfile,
};
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
    pub(crate) fn visible_to(&self, principal: &Principal) -> bool {
        let own = self.owner_id == principal.user_id || principal.reach == Reach::All;
        let of_visible_cluster =
            self.token.cluster_id.is_some_and(|cluster| principal.can_see(cluster, self.cluster_owner_id));
        (own && !principal.is_cluster_bound()) || of_visible_cluster
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
    let namespaced = token.profile == RightsProfile::Namespaced;
    if namespaced == token.namespaces.is_empty() {
        let message = "namespaces go with the profile namespaced, and it with them".to_owned();
        return fault("namespaces", message);
    }
    if token.namespaces.len() > JOIN_TOKEN_NAMESPACES_MAX {
        return fault("namespaces", format!("namespaces must be at most {JOIN_TOKEN_NAMESPACES_MAX}"));
    }
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token.digest.len() != 64 || !token.digest.bytes().all(hex) {
        return fault("digest", "digest must be 64 lower-case hex digits".to_owned());
    }
    token.labels.check()
}

/// The word in the database; the same as on the wire.
pub(crate) fn profile_word(profile: RightsProfile) -> &'static str {
    profile.as_str()
}

/// Reads the word.
pub(crate) fn profile_from(word: &str) -> Option<RightsProfile> {
    RightsProfile::ALL.into_iter().find(|profile| profile.as_str() == word)
}
