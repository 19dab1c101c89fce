use std::collections::BTreeSet;

use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal, Role};
use roadstead_contracts::names::parse_email;
use roadstead_contracts::{Code, Error, Result};

use super::show_user::no_such_user;
use super::{App, taken};
use crate::domain::{User, UserChanges, check_person_name};
use crate::store::UserChange;

/// What somebody wants to change of an account. Left out = as it was.
#[derive(Debug, Default)]
pub struct UserPatch {
    /// E-mail address.
    pub email: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Whether it may be used.
    pub active: Option<bool>,
    /// All its roles.
    pub roles: Option<BTreeSet<Role>>,
}

impl App {
    /// Changes an account: one's own name and address, or anything of anyone for an admin.
    pub async fn change_user(&self, by: &Principal, which: &str, patch: UserPatch) -> Result<User> {
        let admin = self.permits(by, Action::UsersWrite);
        let user = self.visible_user(by, which).await?;
        if !admin && user.id != by.user_id {
            return Err(Error::of(Code::Forbidden));
        }
        // Nobody gives what they do not have, themselves included (reliability row Z02).
        let gives_roles = patch.roles.as_ref().is_some_and(|roles| *roles != user.roles);
        let changes_state = patch.active.is_some_and(|active| active != user.active);
        if !admin && (gives_roles || changes_state) {
            return Err(Error::of(Code::Escalation));
        }
        if user.id != by.user_id {
            Self::check_rank(by, &user)?;
        }
        let above = |role: &Role| *role > by.highest_role() && !user.roles.contains(role);
        if patch.roles.iter().flatten().any(above) {
            return Err(Error::of(Code::Escalation));
        }
        let changes = UserChanges {
            email: patch.email.as_deref().map(parse_email).transpose()?,
            first_name: check_person_name("first_name", patch.first_name)?,
            last_name: check_person_name("last_name", patch.last_name)?,
            active: patch.active,
            roles: patch.roles,
        };
        let now = self.clock.now();
        let event = self.event(Fact::UserChanged { user_id: user.id }, now);
        let outcome = self.store.change_user(user.id, &changes, by.user_id, now, &event).await.map_err(taken)?;
        self.outbox.nudge();
        match outcome {
            UserChange::Done(user) => Ok(user),
            UserChange::Missing => Err(no_such_user()),
            UserChange::LastAdmin => Err(last_admin()),
        }
    }
}

pub(super) fn last_admin() -> Error {
    Error::new(Code::Conflict, "the last active admin cannot be taken away")
}
