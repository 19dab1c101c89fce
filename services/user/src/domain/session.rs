//! Sessions and the pairs of tokens that live in them.

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{SessionId, TokenPairId, UserId};

/// Most standing sessions of an account; the oldest is ended for a new one.
pub const SESSIONS_MAX: i64 = 100;
/// How long a refresh token may be turned in once more because the answer was lost. A client tries again within
/// seconds; later it is somebody else.
pub const REPEAT_WINDOW: TimeDelta = TimeDelta::minutes(2);

/// Where a login came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionOrigin {
    /// Address of the client.
    pub source: Option<String>,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// What it calls itself (`X-Device-Info`).
    pub device: Option<String>,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Id.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// Where it came from.
    pub origin: SessionOrigin,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was last used (to the minute).
    pub last_used_at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    pub expires_at: DateTime<Utc>,
}

/// A session to be opened.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Id.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// Where it came from.
    pub origin: SessionOrigin,
    /// Now.
    pub created_at: DateTime<Utc>,
    /// First pair of tokens.
    pub pair: NewPair,
}

/// A pair of tokens to be stored.
#[derive(Debug, Clone)]
pub struct NewPair {
    /// Id: `jti` of the access token, public half of the refresh token.
    pub id: TokenPairId,
    /// Sealed digest of the refresh token's secret half.
    pub digest: String,
    /// When the refresh token ends.
    pub expires_at: DateTime<Utc>,
}

/// What is known about a pair whose refresh token is turned in, and about the pair that was given for it before.
#[derive(Debug, Clone, Default)]
pub struct TokenPair {
    /// When the refresh token ends.
    pub expires_at: DateTime<Utc>,
    /// Whether the pair was taken back.
    pub revoked: bool,
    /// When it was turned in before.
    pub refreshed_at: Option<DateTime<Utc>>,
    /// Whether either token of the pair that was given then has been used.
    pub successor_used: bool,
}

/// What to do with a refresh token that is turned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedIn {
    /// Good: give a new pair.
    Good,
    /// It was turned in before and the answer was lost: take the unused pair back and give another.
    Repeat,
    /// It was turned in before and the new pair is in use: somebody has a copy. End the session.
    Reuse,
    /// It is over.
    Over,
}

/// The rule of rotation.
pub fn judge_turn_in(pair: &TokenPair, now: DateTime<Utc>) -> TurnedIn {
    if pair.revoked {
        // Taken back because its holder never used it: whoever has it now did not get it from us first.
        return TurnedIn::Reuse;
    }
    match pair.refreshed_at {
        Some(at) if pair.successor_used || now > at + REPEAT_WINDOW => TurnedIn::Reuse,
        _ if now >= pair.expires_at => TurnedIn::Over,
        Some(_) => TurnedIn::Repeat,
        None => TurnedIn::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_may_be_repeated_a_copy_may_not() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let fresh = TokenPair { expires_at: now + TimeDelta::days(7), ..TokenPair::default() };
        assert_eq!(judge_turn_in(&fresh, now), TurnedIn::Good);
        assert_eq!(judge_turn_in(&fresh, now + TimeDelta::days(7)), TurnedIn::Over);
        let lost = TokenPair { refreshed_at: Some(now), ..fresh.clone() };
        assert_eq!(judge_turn_in(&lost, now + TimeDelta::seconds(5)), TurnedIn::Repeat);
        assert_eq!(judge_turn_in(&lost, now + TimeDelta::minutes(3)), TurnedIn::Reuse);
        let used = TokenPair { successor_used: true, ..lost };
        assert_eq!(judge_turn_in(&used, now + TimeDelta::seconds(5)), TurnedIn::Reuse);
        assert_eq!(judge_turn_in(&TokenPair { revoked: true, ..fresh }, now), TurnedIn::Reuse);
    }
}
