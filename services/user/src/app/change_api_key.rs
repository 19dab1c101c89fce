use roadstead_contracts::Result;
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::scope::Scope;

use super::create_api_key::check_end;
use super::list_api_keys::no_such_key;
use super::{App, taken};
use crate::domain::{ApiKey, ApiKeyChanges, check_key_name};

impl App {
    /// Renames a key, ends it, or switches it off and on.
    pub async fn change_api_key(&self, user: UserId, which: &str, mut changes: ApiKeyChanges) -> Result<ApiKey> {
        let now = self.clock.now();
        changes.name = changes.name.as_deref().map(check_key_name).transpose()?;
        changes.scope = changes.scope.map(|scope| scope.map(Scope::checked).transpose()).transpose()?;
        check_end(changes.end.after(None), now)?;
        let key = self.api_key(user, which).await?;
        let event = self.event(Fact::ApiKeyRevoked { user_id: user, api_key_id: key.id }, now);
        let changed = self.store.change_api_key(user, key.id, &changes, now, &event).await.map_err(taken)?;
        self.outbox.nudge();
        changed.ok_or_else(no_such_key)
    }
}
