use roadstead_contracts::Result;
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{CredentialKind, Principal, Role};
use roadstead_contracts::names::Username;
use roadstead_runtime::Secret;

use super::{App, taken};
use crate::domain::NewUser;

/// Name of the account that `up` makes on its first start.
const OWNER: &str = "owner";
/// Its address; nothing is ever sent there (`.invalid` never resolves, RFC 2606 §2).
const OWNER_EMAIL: &str = "owner@roadstead.invalid";
/// Random bytes of its first password: 144 bits, 24 characters to copy.
const PASSWORD_BYTES: usize = 18;
/// Name of its first API key.
const KEY_NAME: &str = "first start";

/// What the first start made. Shown once.
#[derive(Debug)]
pub struct FirstStart {
    /// The admin.
    pub principal: Principal,
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// An API key of it.
    pub api_key: Secret,
}

impl App {
    /// Makes the account `owner` unless there is an admin.
    pub async fn first_start(&self) -> Result<Option<FirstStart>> {
        if self.store.admin_exists().await? {
            return Ok(None);
        }
        let password = self.ids.token(PASSWORD_BYTES);
        // The rules of the hub are for what people think up; this one is random.
        let new = NewUser {
            id: self.ids.next(),
            username: Username::parse(OWNER)?,
            email: OWNER_EMAIL.to_owned(),
            first_name: None,
            last_name: None,
            password_hash: self.hash(password.clone()).await?,
            roles: [Role::Admin].into(),
            created_at: self.clock.now(),
        };
        let event = self.event(Fact::UserCreated { user_id: new.id }, new.created_at);
        let Some(user) = self.store.insert_first_admin(&new, &event).await.map_err(taken)? else { return Ok(None) };
        self.outbox.nudge();
        let (key, api_key) = self.create_api_key(user.id, KEY_NAME, None, None).await?;
        let principal = self.principal(&user, CredentialKind::ApiKey(key.id)).await?;
        Ok(Some(FirstStart { principal, username: user.username, password, api_key }))
    }
}
