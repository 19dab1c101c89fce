//! A forgotten password: an admin makes a link that works once, and never learns the new password.

use chrono::{DateTime, Utc};
use roadstead_auth::token::{Kind, TwoPart, parse};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::MessageId;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::App;
use super::service_accounts::has_password;
use crate::domain::{NewReset, RESET_LIFE, User};

/// Where the link leads, under the hub's public address.
pub(super) const RESET_PAGE: &str = "/api/v1/auth/password-reset";

impl App {
    /// Makes a link for an account.
    pub async fn begin_password_reset(&self, by: &Principal, which: &str) -> Result<(User, Secret, DateTime<Utc>)> {
        if !self.permits(by, Action::UsersWrite) {
            return Err(Error::of(Code::Forbidden));
        }
        let user = self.user(which).await?;
        Self::check_rank(by, &user)?;
        if !has_password(&user) {
            return Err(Error::new(Code::Conflict, "this account has no password of its own"));
        }
        let token = TwoPart::new(Kind::PasswordReset, self.ids.next::<MessageId>(), &self.ids);
        let expires_at = self.clock.now() + RESET_LIFE;
        let new = NewReset {
            id: token.id,
            user_id: user.id,
            digest: self.keys.seal(&token.digest())?,
            created_by: by.user_id,
            expires_at,
        };
        self.store.insert_reset(&new).await?;
        Ok((user, token.format(), expires_at))
    }

    /// Sets the password of whoever holds a link. Every session of the account ends.
    pub async fn finish_password_reset(&self, token: &str, new: Secret) -> Result<()> {
        let refused = || Error::new(Code::InvalidCredential, "this link is over, or was used before");
        let token = parse(Kind::PasswordReset, token).ok_or_else(refused)?;
        // Checked first: a password that is too weak must not use up the link.
        self.options.password.check("new_password", &new)?;
        let digest = self.keys.seal(&token.digest())?;
        let hash = self.hash(new).await?;
        let now = self.clock.now();
        let user = self.store.take_reset(token.id, &digest, now).await?.ok_or_else(refused)?;
        let event = self.event(Fact::UserChanged { user_id: user }, now);
        let there = self.store.set_password(user, &hash, None, now, &event).await?;
        self.outbox.nudge();
        if there { Ok(()) } else { Err(refused()) }
    }

    /// The link itself, where the hub knows its public address.
    pub fn reset_link(&self, token: &Secret) -> Option<String> {
        let public = self.options.public_url.as_deref()?.trim_end_matches('/');
        Some(format!("{public}{RESET_PAGE}?token={}", token.expose()))
    }
}
