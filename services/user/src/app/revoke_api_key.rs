use roadstead_contracts::Result;
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::UserId;

use super::App;
use super::list_api_keys::no_such_key;

impl App {
    /// Removes a key.
    pub async fn revoke_api_key(&self, user: UserId, which: &str) -> Result<()> {
        let key = self.api_key(user, which).await?;
        let event = self.event(Fact::ApiKeyRevoked { user_id: user, api_key_id: key.id }, self.clock.now());
        let gone = self.store.delete_api_key(user, key.id, &event).await?;
        self.outbox.nudge();
        if gone { Ok(()) } else { Err(no_such_key()) }
    }
}
