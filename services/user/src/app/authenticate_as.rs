//! Signs somebody else for a cluster, on behalf of a caller who may act as others. The cluster sees who was asked for; the
//! caller's name goes with it, for both logs. What a rule denies either of them is not done.

use std::collections::BTreeSet;

use roadstead_contracts::identity::{Principal, Role};
use roadstead_contracts::message::{AuthenticateAs, Authenticated, Raise};
use roadstead_contracts::names::Username;
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::Who;

use super::{App, invalid_credential};
use crate::domain::UserRef;
use crate::policy::Strategy;

impl App {
    /// Answers [`AuthenticateAs`].
    pub async fn authenticate_as(&self, request: &AuthenticateAs) -> Result<Authenticated> {
        let mut known = self.whose(&request.credential).await.map_err(|error| match error.code {
            Code::NotFound => invalid_credential(),
            _ => error,
        })?;
        if !known.principal.may_impersonate() {
            return Err(Error::new(Code::ImpersonationDenied, "this credential may not act as somebody else"));
        }
        let roles: Vec<Role> = request.acts_as.roles.iter().copied().collect();
        // A key that is held below its account gives no role above what it is held to.
        let highest = known.principal.cluster_roles().last().copied();
        if roles.iter().any(|role| Some(*role) > highest) {
            return Err(Error::new(
                Code::ImpersonationDenied,
                "this credential is held below the role that was asked for",
            ));
        }
        if let Some(raise) = &request.raise {
            self.judge_both(&known.principal, request, raise).await?;
        }
        let only = request.raise.as_ref().map(|raise| raise.request.clone());
        let assertion = self.sign_somebody(&known.principal, &request.acts_as, request.cluster_id, only)?;
        known.assertion = Some(assertion);
        Ok(known)
    }

    /// The caller must be allowed the request themselves, and no rule may deny it to whom they act as.
    async fn judge_both(&self, caller: &Principal, request: &AuthenticateAs, raise: &Raise) -> Result<()> {
        if raise.cluster.id != request.cluster_id {
            return Err(Error::new(Code::BadRequest, "the request is about another cluster"));
        }
        let now = self.clock.now();
        roadstead_policy::judge_acting(caller, &raise.cluster, &raise.request, now).check(caller)?;
        if matches!(self.policy.strategy(), Strategy::NoAuth) {
            return Ok(());
        }
        let standing = self.policy.now().await?;
        // Whoever has no account here may still be somebody to the cluster, and rules may name them.
        let account = match Username::parse(&request.acts_as.user) {
            Ok(name) => self.store.user(&UserRef::Name(name)).await?,
            Err(_) => None,
        };
        let mut roles = request.acts_as.roles.clone();
        roles.extend(account.iter().flat_map(|account| &account.roles));
        let groups = match &account {
            Some(account) if standing.policy().names_groups() => self.store.groups(account.id).await?,
            _ => BTreeSet::new(),
        };
        let username = account.as_ref().map_or(request.acts_as.user.as_str(), |account| account.username.as_str());
        let who = Who { username, roles: &roles, groups: &groups };
        let rules = standing.policy().concerning(who, now);
        match roadstead_policy::denied(&rules, &raise.cluster, &raise.request, now) {
            Some(verdict) => verdict.check(caller),
            None => Ok(()),
        }
    }
}
