//! Pairs of tokens: an access token that lives for minutes to hours and a refresh token that lives for days.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_auth::jwt::Subject;
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::Result;
use roadstead_contracts::ids::{SessionId, TokenPairId};
use roadstead_runtime::Secret;

use super::{App, key_fault};
use crate::domain::{NewPair, User};

/// What a login or a refresh gives.
#[derive(Debug)]
pub struct Issued {
    /// Access token.
    pub access: Secret,
    /// Refresh token.
    pub refresh: Secret,
    /// When the access token ends.
    pub expires_at: DateTime<Utc>,
    /// Seconds of life of the access token.
    pub expires_in: u64,
    /// The session.
    pub session_id: SessionId,
    /// Whose.
    pub user: User,
}

/// A pair not yet stored.
pub(super) struct FreshPair {
    pub(super) stored: NewPair,
    refresh: Secret,
}

impl App {
    /// Makes the refresh token of a new pair.
    pub(super) fn fresh_pair(&self, now: DateTime<Utc>) -> Result<FreshPair> {
        let id: TokenPairId = self.ids.next();
        let token = TwoPart::new(Kind::Refresh, id, &self.ids);
        let lifetime = TimeDelta::from_std(self.options.refresh_lifetime).unwrap_or(TimeDelta::days(7));
        let stored = NewPair { id, digest: self.keys.seal(&token.digest())?, expires_at: now + lifetime };
        Ok(FreshPair { stored, refresh: token.format() })
    }

    /// Signs the access token of a pair that is stored.
    pub(super) fn issue(
        &self,
        pair: FreshPair,
        user: User,
        session_id: SessionId,
        now: DateTime<Utc>,
    ) -> Result<Issued> {
        self.issue_for(pair, user, session_id, now, self.options.access_lifetime)
    }

    /// As [`App::issue`], for a time of its own.
    pub(super) fn issue_for(
        &self,
        pair: FreshPair,
        user: User,
        session_id: SessionId,
        now: DateTime<Utc>,
        lifetime: Duration,
    ) -> Result<Issued> {
        let subject = Subject {
            user_id: user.id,
            seq: user.seq,
            session_id,
            username: user.username.clone(),
            email: user.email.clone(),
            roles: user.roles.clone(),
        };
        let jti = pair.stored.id.to_string();
        let (access, claims) = self.keys.now().signer.issue(subject, now, lifetime, &jti).map_err(key_fault)?;
        let expires_at = DateTime::from_timestamp(claims.exp, 0).unwrap_or(now);
        Ok(Issued { access, refresh: pair.refresh, expires_at, expires_in: lifetime.as_secs(), session_id, user })
    }
}
