use roadstead_contracts::ids::UserId;
use roadstead_contracts::{Error, Result};

use super::App;
use crate::domain::{ApiKey, ApiKeyRef};

impl App {
    /// The keys of an account, newest first.
    pub async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKey>> {
        Ok(self.store.api_keys(user).await?)
    }

    /// One key of an account. Somebody else's is not found.
    pub async fn api_key(&self, user: UserId, which: &str) -> Result<ApiKey> {
        let found = match ApiKeyRef::parse(which) {
            Some(which) => self.store.api_key(user, which).await?,
            None => None,
        };
        found.ok_or_else(no_such_key)
    }
}

pub(super) fn no_such_key() -> Error {
    Error::not_found("API key not found")
}
