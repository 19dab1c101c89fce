use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::{Code, Error, Result};

use super::App;
use super::change_user::last_admin;
use super::show_user::no_such_user;
use crate::store::UserChange;

impl App {
    /// Removes an account with everything of it: sessions and keys are dead everywhere within seconds.
    pub async fn delete_user(&self, by: &Principal, which: &str) -> Result<()> {
        if !self.permits(by, Action::UsersDelete) {
            return Err(Error::of(Code::Forbidden));
        }
        let user = self.user(which).await?;
        if user.id == by.user_id {
            return Err(Error::new(Code::BadRequest, "Cannot delete your own account"));
        }
        Self::check_rank(by, &user)?;
        let event = self.event(Fact::UserDeleted { user_id: user.id }, self.clock.now());
        let outcome = self.store.delete_user(user.id, &event).await?;
        self.outbox.nudge();
        match outcome {
            UserChange::Done(_) => {
                // The rules that named it are gone with it; other replicas see that by themselves.
                if let Err(error) = self.policy.refresh().await {
                    tracing::warn!("the rules are looked at again later: {error}");
                }
                Ok(())
            }
            UserChange::Missing => Err(no_such_user()),
            UserChange::LastAdmin => Err(last_admin()),
        }
    }
}
