use roadstead_contracts::Result;
use roadstead_contracts::ids::UserId;

use super::App;
use crate::domain::Session;

impl App {
    /// The sessions of an account that stand, newest first.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>> {
        Ok(self.store.sessions(user, self.clock.now()).await?)
    }
}
