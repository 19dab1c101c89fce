//! Registration by confirmation: people ask for an account, an admin makes it of what they asked for. Knowing the id of a
//! registration confirms nothing, and no link does by being followed.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::{Code, Error, Result};

use super::register::Registration;
use super::{App, taken};
use crate::domain::{REGISTRATION_LIFE, RegistrationState, User};

/// What came of a registration.
#[derive(Debug)]
pub enum Registered {
    /// The account is there.
    Made(User),
    /// It waits for an admin.
    Waits(UserId),
}

impl App {
    pub(super) async fn ask_to_register(&self, wanted: Registration) -> Result<Registered> {
        let new = self.check_new_user(wanted, self.options.default_roles.clone()).await?;
        let stored = self.store.insert_registration(&new, new.created_at + REGISTRATION_LIFE).await.map_err(taken)?;
        let full = || Error::new(Code::Unavailable, "too many registrations wait already").retry_after(3_600);
        if stored { Ok(Registered::Waits(new.id)) } else { Err(full()) }
    }

    /// Makes the account.
    pub async fn confirm_registration(&self, by: &Principal, which: &str) -> Result<User> {
        let id = registration_id(which)?;
        let now = self.clock.now();
        let event = self.event(Fact::UserCreated { user_id: id }, now);
        let roles = &self.options.default_roles;
        let made = self.store.confirm_registration(id, roles, by.user_id, now, &event).await.map_err(taken)?;
        self.outbox.nudge();
        match made {
            Some(user) => Ok(user),
            None => Err(self.not_waiting(id, now).await),
        }
    }

    /// Makes no account.
    pub async fn reject_registration(&self, which: &str) -> Result<()> {
        let id = registration_id(which)?;
        let now = self.clock.now();
        let done = self.store.reject_registration(id, now).await?;
        if done { Ok(()) } else { Err(self.not_waiting(id, now).await) }
    }

    /// What became of one.
    pub async fn registration(&self, which: &str) -> Result<(RegistrationState, DateTime<Utc>)> {
        self.store.registration(registration_id(which)?, self.clock.now()).await?.ok_or_else(no_registration)
    }

    async fn not_waiting(&self, id: UserId, now: DateTime<Utc>) -> Error {
        match self.store.registration(id, now).await {
            Ok(Some((state, _))) => Error::new(Code::Conflict, format!("the registration is {}", state.as_str())),
            Ok(None) => no_registration(),
            Err(fault) => fault.into(),
        }
    }
}

fn registration_id(text: &str) -> Result<UserId> {
    text.parse().map_err(|_| no_registration())
}

fn no_registration() -> Error {
    Error::not_found("Confirmation not found")
}
