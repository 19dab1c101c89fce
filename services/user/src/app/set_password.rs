use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::App;
use super::service_accounts::has_password;
use crate::domain::NewPassword;

impl App {
    /// Sets somebody else's password, on an admin's word. Every session of the account ends.
    pub async fn set_password(&self, by: &Principal, which: &str, new: Secret) -> Result<()> {
        if !self.permits(by, Action::UsersWrite) {
            return Err(Error::of(Code::Forbidden));
        }
        self.options.password.check("new_password", &new)?;
        let user = self.user(which).await?;
        Self::check_rank(by, &user)?;
        if !has_password(&user) {
            return Err(Error::new(Code::Conflict, "this account has no password of its own"));
        }
        let hash = self.hash(new).await?;
        let now = self.clock.now();
        let event = self.event(Fact::UserChanged { user_id: user.id }, now);
        let there = self.store.set_password(user.id, &NewPassword::new(&hash), now, &event).await?;
        self.outbox.nudge();
        if there { Ok(()) } else { Err(Error::not_found("User not found")) }
    }
}
