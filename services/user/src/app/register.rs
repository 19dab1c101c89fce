use std::collections::BTreeSet;

use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Principal, Role};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::names::{Username, parse_email};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;
use subtle::ConstantTimeEq as _;

use super::{App, NAME_TAKEN, Registered, taken};
use crate::domain::{NewUser, User, UserRef, check_person_name};

/// What somebody who wants an account says. Roles, state and ids are not among it: nobody gives themselves those.
#[derive(Debug)]
pub struct Registration {
    /// Name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: Secret,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
}

impl App {
    /// Makes an account with the default role where registration is open; where an admin confirms, it waits for that.
    pub async fn register(&self, wanted: Registration) -> Result<Registered> {
        if self.options.registration_confirmed {
            return self.ask_to_register(wanted).await;
        }
        if !self.options.registration_open {
            return Err(Error::of(Code::RegistrationClosed));
        }
        self.insert_user(wanted, self.options.default_roles.clone(), None).await.map(Registered::Made)
    }

    /// Makes an account for somebody else, on an admin's word.
    pub async fn create_user(&self, by: &Principal, wanted: Registration, roles: BTreeSet<Role>) -> Result<User> {
        let roles = if roles.is_empty() { self.options.default_roles.clone() } else { roles };
        self.insert_user(wanted, roles, Some(by.user_id)).await
    }

    /// Makes the first admin for whoever holds the bootstrap token, until there is an admin.
    pub async fn register_admin(&self, wanted: Registration, token: &Secret) -> Result<User> {
        self.check_bootstrap(token).await?;
        let new = self.check_new_user(wanted, [Role::Admin].into()).await?;
        let event = self.event(Fact::UserCreated { user_id: new.id }, new.created_at);
        match self.store.insert_first_admin(&new, &event).await {
            Ok(made) => {
                self.outbox.nudge();
                made.ok_or_else(admin_exists)
            }
            Err(fault) => Err(self.name_or_address(&new, fault).await),
        }
    }

    /// Whether there is an admin.
    pub async fn admin_exists(&self) -> Result<bool> {
        Ok(self.store.admin_exists().await?)
    }

    async fn check_bootstrap(&self, token: &Secret) -> Result<()> {
        let refused = || Error::new(Code::InvalidCredential, "Invalid bootstrap token");
        let expected = self.options.bootstrap_token.as_ref().ok_or_else(refused)?;
        let same: bool = expected.expose().as_bytes().ct_eq(token.expose().as_bytes()).into();
        if !same || expected.is_empty() {
            return Err(refused());
        }
        if self.store.admin_exists().await? { Err(admin_exists()) } else { Ok(()) }
    }

    async fn insert_user(&self, wanted: Registration, roles: BTreeSet<Role>, by: Option<UserId>) -> Result<User> {
        let new = self.check_new_user(wanted, roles).await?;
        let event = self.event(Fact::UserCreated { user_id: new.id }, new.created_at);
        match self.store.insert_user(&new, by, &event).await {
            Ok(user) => {
                self.outbox.nudge();
                Ok(user)
            }
            Err(fault) => Err(self.name_or_address(&new, fault).await),
        }
    }

    /// Where name and address are both taken the name is told, as the seed does; databases differ in what they find first.
    async fn name_or_address(&self, new: &NewUser, fault: roadstead_store::Error) -> Error {
        if fault.is_conflict("users_email_key") {
            let name = UserRef::Name(new.username.clone());
            if matches!(self.store.user(&name).await, Ok(Some(_))) {
                return Error::new(Code::Conflict, NAME_TAKEN);
            }
        }
        taken(fault)
    }

    /// Checks everything, hashes last: a refusal costs nothing, and a taken name takes as long as a free one.
    pub(super) async fn check_new_user(&self, wanted: Registration, roles: BTreeSet<Role>) -> Result<NewUser> {
        let username = Username::parse(&wanted.username)?;
        // A name that reads as a number or an id would be somebody else in a path or a grant.
        if !matches!(UserRef::parse(username.as_str()), Some(UserRef::Name(_))) {
            let words = "username must not look like a number or a UUID";
            return Err(Error::field(&["body", "username"], "value_error", words));
        }
        let email = parse_email(&wanted.email)?;
        let first_name = check_person_name("first_name", wanted.first_name)?;
        let last_name = check_person_name("last_name", wanted.last_name)?;
        self.options.password.check("password", &wanted.password)?;
        let password_hash = self.hash(wanted.password).await?;
        Ok(NewUser {
            id: self.ids.next(),
            username,
            email,
            first_name,
            last_name,
            password_hash,
            roles,
            created_at: self.clock.now(),
        })
    }
}

fn admin_exists() -> Error {
    Error::new(Code::Conflict, "an admin exists already")
}
