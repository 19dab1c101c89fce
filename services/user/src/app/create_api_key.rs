use chrono::{DateTime, TimeDelta, Utc};
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::ids::{ApiKeyId, UserId};
use roadstead_contracts::scope::Scope;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::{App, taken};
use crate::domain::{ApiKey, KEYS_MAX, LIFE_DAYS_MAX, NewApiKey, check_key_name, preview};

impl App {
    /// Makes an API key. Its text is given here and never again.
    pub async fn create_api_key(
        &self,
        user: UserId,
        name: &str,
        expires_at: Option<DateTime<Utc>>,
        scope: Option<Scope>,
    ) -> Result<(ApiKey, Secret)> {
        let now = self.clock.now();
        check_end(expires_at, now)?;
        let id: ApiKeyId = self.ids.next();
        let token = TwoPart::new(Kind::ApiKey, id, &self.ids);
        let text = token.format();
        let new = NewApiKey {
            id,
            user_id: user,
            name: check_key_name(name)?,
            digest: self.keys.seal(&token.digest())?,
            legacy: false,
            preview: preview(text.expose()),
            expires_at,
            created_at: now,
            scope: scope.map(Scope::checked).transpose()?.filter(|scope| !scope.is_unlimited()),
        };
        let made = self.store.insert_api_key(&new).await.map_err(taken)?;
        let key =
            made.ok_or_else(|| Error::new(Code::Conflict, format!("an account has at most {KEYS_MAX} API keys")))?;
        Ok((key, text))
    }
}

/// A key that is over when it is made is a mistake.
pub(super) fn check_end(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<()> {
    let fault = |message: &'static str| Err(Error::field(&["body", "expires_at"], "value_error", message));
    if expires_at.is_some_and(|end| end <= now) {
        return fault("expires_at must be in the future");
    }
    if expires_at.is_some_and(|end| end - now > TimeDelta::days(LIFE_DAYS_MAX)) {
        return fault("expires_at must be within ten years");
    }
    Ok(())
}
