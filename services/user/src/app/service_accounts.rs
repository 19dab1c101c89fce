//! Accounts of machines: they have API keys and nothing else, so nobody logs in as one, and no person's leaving takes one
//! away.

use std::collections::BTreeSet;

use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal, Role};
use roadstead_contracts::ids::{TypedId as _, UserId};
use roadstead_contracts::names::Username;
use roadstead_contracts::{Code, Error, Result};

use super::show_user::no_such_user;
use super::{App, taken};
use crate::domain::{FROM_PROVIDER, FROM_SERVICE, NewAccount, SignIn, User, UserRef};

impl App {
    /// Makes one.
    pub async fn create_service_account(&self, by: &Principal, name: &str, roles: BTreeSet<Role>) -> Result<User> {
        self.require(by, Action::UsersWrite)?;
        // Nobody gives what they do not have (reliability row Z02).
        if roles.iter().any(|role| *role > by.highest_role()) {
            return Err(Error::of(Code::Escalation));
        }
        let username = Username::parse(name)?;
        if !matches!(UserRef::parse(username.as_str()), Some(UserRef::Name(_))) {
            let words = "username must not look like a number or a UUID";
            return Err(Error::field(&["body", "username"], "value_error", words));
        }
        let id: UserId = self.ids.next();
        let new = NewAccount {
            id,
            username,
            // `.invalid` never resolves (RFC 2606 §2); the id keeps it unique.
            email: format!("{}@service.invalid", id.uuid().simple()),
            first_name: None,
            last_name: None,
            source: FROM_SERVICE,
            roles: if roles.is_empty() { self.options.default_roles.clone() } else { roles },
            created_at: self.clock.now(),
        };
        let event = self.event(Fact::UserCreated { user_id: id }, new.created_at);
        let user = self.store.insert_account(&new, None, Some(by.user_id), &event).await.map_err(taken)?;
        self.outbox.nudge();
        Ok(user)
    }

    /// All of them, newest first.
    pub async fn service_accounts(&self, by: &Principal) -> Result<Vec<User>> {
        self.require(by, Action::UsersRead)?;
        Ok(self.store.accounts_from(FROM_SERVICE).await?)
    }

    /// One of them; a person's account is not found here.
    pub async fn machine(&self, by: &Principal, which: &str, action: Action) -> Result<User> {
        self.require(by, action)?;
        let user = self.user(which).await?;
        if user.auth_source != FROM_SERVICE {
            return Err(no_such_user());
        }
        if action != Action::UsersRead {
            Self::check_rank(by, &user)?;
        }
        Ok(user)
    }

    /// Links a person of an identity provider to an account, on an admin's word.
    pub async fn link_subject(&self, by: &Principal, which: &str, provider: &str, subject: &str) -> Result<()> {
        self.require(by, Action::UsersWrite)?;
        let provider = self.providers.find(Some(provider))?;
        let user = self.user(which).await?;
        if user.auth_source == FROM_SERVICE {
            return Err(Error::new(Code::Conflict, "a service account is nobody's login"));
        }
        Self::check_rank(by, &user)?;
        let sign_in = SignIn {
            provider: provider.settings.name.clone(),
            issuer: provider.settings.issuer.clone(),
            subject: subject.to_owned(),
            provider_session: None,
            sealed_id_token: None,
        };
        let linked = self.store.link_subject(user.id, &sign_in, self.clock.now()).await;
        linked.map_err(|fault| match fault {
            roadstead_store::Error::Conflict { .. } => {
                Error::new(Code::Conflict, "this person is linked to an account already")
            }
            fault => fault.into(),
        })
    }
}

/// Whether an account has a password of its own here.
pub(super) fn has_password(user: &User) -> bool {
    !matches!(user.auth_source.as_str(), FROM_PROVIDER | FROM_SERVICE)
}
