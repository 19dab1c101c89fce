use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::Result;
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::UserId;
use roadstead_runtime::Secret;

use super::App;
use super::list_api_keys::no_such_key;
use crate::domain::{ApiKey, ApiKeyChanges, preview};

impl App {
    /// Gives a key a new secret; the old one is dead everywhere within seconds.
    pub async fn regenerate_api_key(&self, user: UserId, which: &str) -> Result<(ApiKey, Secret)> {
        let now = self.clock.now();
        let key = self.api_key(user, which).await?;
        let token = TwoPart::new(Kind::ApiKey, key.id, &self.ids);
        let text = token.format();
        let secret = (self.keys.seal(&token.digest())?, preview(text.expose()));
        let changes = ApiKeyChanges { secret: Some(secret), ..ApiKeyChanges::default() };
        let event = self.event(Fact::ApiKeyRevoked { user_id: user, api_key_id: key.id }, now);
        let changed = self.store.change_api_key(user, key.id, &changes, now, &event).await?;
        self.outbox.nudge();
        Ok((changed.ok_or_else(no_such_key)?, text))
    }
}
