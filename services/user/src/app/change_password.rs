use std::net::IpAddr;

use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{CredentialKind, Principal};
use roadstead_contracts::{Error, Result};
use roadstead_runtime::Secret;

use super::{App, password_fault};
use crate::domain::NewPassword;

impl App {
    /// Changes the caller's own password. Every other session of the account ends.
    pub async fn change_password(
        &self,
        caller: &Principal,
        current: Secret,
        new: Secret,
        source: IpAddr,
    ) -> Result<()> {
        self.options.password.check("new_password", &new)?;
        // A stolen session must not be a place to guess the password.
        let tried = self.begin_try(&caller.username, source, None).await?;
        let stored = self.store.user_for_login(&caller.username).await?.and_then(|(_, hash)| hash);
        if !self.hasher.verify(current, stored).await.map_err(password_fault)? {
            self.failed_try(tried).await;
            let words = "Current password is incorrect";
            return Err(Error::field(&["body", "current_password"], "value_error", words));
        }
        let hash = self.hash(new).await?;
        let keep = match &caller.credential {
            CredentialKind::Session(id) => Some(*id),
            CredentialKind::ApiKey(_) | CredentialKind::QueuePeer(_) => None,
        };
        let now = self.clock.now();
        let event = self.event(Fact::UserChanged { user_id: caller.user_id }, now);
        let new = NewPassword { keep, ..NewPassword::new(&hash) };
        let there = self.store.set_password(caller.user_id, &new, now, &event).await?;
        self.outbox.nudge();
        if there { Ok(()) } else { Err(Error::not_found("User not found")) }
    }
}
