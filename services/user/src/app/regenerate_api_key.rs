use chrono::TimeDelta;
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::{Error, Result};
use roadstead_runtime::Secret;

use super::App;
use super::list_api_keys::no_such_key;
use crate::domain::{ApiKey, ApiKeyChanges, NewSecret, OVERLAP_SECONDS_MAX, preview};

impl App {
    /// Gives a key a new secret. The old one works for the overlap too, so that a fleet can change over; without one it
    /// is dead everywhere within seconds.
    pub async fn regenerate_api_key(
        &self,
        user: UserId,
        which: &str,
        overlap_seconds: Option<u32>,
    ) -> Result<(ApiKey, Secret)> {
        let overlap = overlap_seconds.unwrap_or(0);
        if overlap > OVERLAP_SECONDS_MAX {
            let words = format!("overlap_seconds must be at most {OVERLAP_SECONDS_MAX}");
            return Err(Error::field(&["body", "overlap_seconds"], "value_error", words));
        }
        let now = self.clock.now();
        let key = self.api_key(user, which).await?;
        let token = TwoPart::new(Kind::ApiKey, key.id, &self.ids);
        let text = token.format();
        let secret = NewSecret {
            digest: self.keys.seal(&token.digest())?,
            preview: preview(text.expose()),
            previous_until: (overlap > 0).then(|| now + TimeDelta::seconds(i64::from(overlap))),
        };
        let changes = ApiKeyChanges { secret: Some(secret), ..ApiKeyChanges::default() };
        let event = self.event(Fact::ApiKeyRevoked { user_id: user, api_key_id: key.id }, now);
        let changed = self.store.change_api_key(user, key.id, &changes, now, &event).await?;
        self.outbox.nudge();
        Ok((changed.ok_or_else(no_such_key)?, text))
    }
}
