//! A forgotten password: an admin makes a link that works once, and never learns the new password.

use chrono::{DateTime, Utc};
use roadstead_auth::token::{Kind, TwoPart, parse};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::{MessageId, UserId};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::App;
use super::service_accounts::has_password;
use crate::domain::{NewPassword, NewReset, RESET_LIFE, SecondFactors, User};

/// Where the link leads, under the hub's public address.
pub(super) const RESET_PAGE: &str = "/api/v1/auth/password-reset";

/// A link that was made.
#[derive(Debug)]
pub struct ResetBegun {
    /// Whose password it sets.
    pub user: User,
    /// What sets it.
    pub token: Secret,
    /// When it is over.
    pub expires_at: DateTime<Utc>,
    /// What the account will still be signed in to with, as it stands now.
    pub left: SecondFactors,
}

/// What became of a link.
#[derive(Debug)]
pub struct ResetDone {
    /// Whose password it was.
    pub user_id: UserId,
    /// Whether the second factors were to go with it.
    pub removed_second_factors: bool,
    /// What the account is still signed in to with.
    pub left: SecondFactors,
}

impl App {
    /// Makes a link for an account. A passkey signs in without the password, so a new password alone puts nobody out who added
    /// one: with `remove_second_factors` they go, in the moment in which the new password counts. Not before: until then the
    /// old password alone would open the account.
    pub async fn begin_password_reset(
        &self,
        by: &Principal,
        which: &str,
        remove_second_factors: bool,
    ) -> Result<ResetBegun> {
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
            remove_second_factors,
        };
        self.store.insert_reset(&new).await?;
        let left = if remove_second_factors { SecondFactors::default() } else { self.second_factors(user.id).await? };
        Ok(ResetBegun { user, token: token.format(), expires_at, left })
    }

    /// Sets the password of whoever holds a link. Every session of the account ends.
    pub async fn finish_password_reset(&self, token: &str, new: Secret) -> Result<ResetDone> {
        let refused = || Error::new(Code::InvalidCredential, "this link is over, or was used before");
        let token = parse(Kind::PasswordReset, token).ok_or_else(refused)?;
        // Checked first: a password that is too weak must not use up the link.
        self.options.password.check("new_password", &new)?;
        let digest = self.keys.seal(&token.digest())?;
        let hash = self.hash(new).await?;
        let now = self.clock.now();
        let taken = self.store.take_reset(token.id, &digest, now).await?.ok_or_else(refused)?;
        let (user_id, removed_second_factors) = (taken.user_id, taken.remove_second_factors);
        let event = self.event(Fact::UserChanged { user_id }, now);
        let new = NewPassword { remove_second_factors: removed_second_factors, ..NewPassword::new(&hash) };
        let there = self.store.set_password(user_id, &new, now, &event).await?;
        self.outbox.nudge();
        if !there {
            return Err(refused());
        }
        Ok(ResetDone { user_id, removed_second_factors, left: self.second_factors(user_id).await? })
    }

    /// The link itself, where the hub knows its public address.
    pub fn reset_link(&self, token: &Secret) -> Option<String> {
        let public = self.options.public_url.as_deref()?.trim_end_matches('/');
        Some(format!("{public}{RESET_PAGE}?token={}", token.expose()))
    }
}
