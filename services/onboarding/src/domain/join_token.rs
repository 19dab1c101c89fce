//! Join tokens.

use roadstead_contracts::ids::UserId;
use roadstead_contracts::message::{
    JOIN_TOKEN_SECONDS_MAX, JOIN_TOKEN_USES_MAX, JoinToken, NewJoinToken, RightsProfile,
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

/// Checks a token that a door made on behalf of a caller.
pub(crate) fn check_new_token(token: &NewJoinToken) -> Result<()> {
    let fault = |field: &str, message: String| Err(Error::field(&["body", field], "value_error", message));
    if token.lifetime_seconds == 0 || token.lifetime_seconds > JOIN_TOKEN_SECONDS_MAX {
        return fault("lifetime_seconds", format!("lifetime_seconds must be 1 to {JOIN_TOKEN_SECONDS_MAX}"));
    }
    if token.uses == 0 || token.uses > JOIN_TOKEN_USES_MAX {
        return fault("uses", format!("uses must be 1 to {JOIN_TOKEN_USES_MAX}"));
    }
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token.digest.len() != 64 || !token.digest.bytes().all(hex) {
        return fault("digest", "digest must be 64 lower-case hex digits".to_owned());
    }
    token.labels.check()
}

/// The word in the database; the same as on the wire.
pub(crate) fn profile_word(profile: RightsProfile) -> &'static str {
    match profile {
        RightsProfile::ReadOnly => "read_only",
        RightsProfile::Operator => "operator",
        RightsProfile::Admin => "admin",
    }
}

/// Reads the word.
pub(crate) fn profile_from(word: &str) -> Option<RightsProfile> {
    [RightsProfile::ReadOnly, RightsProfile::Operator, RightsProfile::Admin]
        .into_iter()
        .find(|profile| profile_word(*profile) == word)
}
