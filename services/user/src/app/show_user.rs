use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::{Error, Result};

use super::App;
use crate::domain::{User, UserRef};

impl App {
    /// An account by id, integer or name.
    pub(super) async fn user(&self, which: &str) -> Result<User> {
        let found = match UserRef::parse(which) {
            Some(which) => self.store.user(&which).await?,
            None => None,
        };
        found.ok_or_else(no_such_user)
    }

    /// An account that the caller may see: its own, or any for an admin. Others are not found.
    pub async fn visible_user(&self, by: &Principal, which: &str) -> Result<User> {
        let user = self.user(which).await?;
        if user.id == by.user_id || self.permits(by, Action::UsersRead) { Ok(user) } else { Err(no_such_user()) }
    }

    /// The caller's own account.
    pub async fn own_user(&self, id: UserId) -> Result<User> {
        self.store.user(&UserRef::Id(id)).await?.ok_or_else(no_such_user)
    }
}

pub(super) fn no_such_user() -> Error {
    Error::not_found("User not found")
}
