use std::collections::BTreeSet;

use roadstead_contracts::agent::{IdentityClaims, RequestKind};
use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{ActsAs, Raise};
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::{As, Who};

use super::{App, key_fault};
use crate::domain::User;
use crate::policy::{Standing, Strategy};

/// Life of a signed identity, seconds: the agents refuse more.
const IDENTITY_SECONDS: i64 = roadstead_auth::identity::LIFETIME_MAX_SECONDS;

impl App {
    /// The account as a caller.
    pub(super) async fn principal(&self, user: &User, credential: CredentialKind) -> Result<Principal> {
        let reach = if user.is_admin() || self.options.dev {
            Reach::All
        } else {
            Reach::Granted(self.store.grants(user.id).await?)
        };
        let standing = self.policy.now().await?;
        let mut principal = Principal {
            user_id: user.id,
            user_seq: user.seq,
            username: user.username.clone(),
            email: user.email.clone(),
            roles: user.roles.clone(),
            reach,
            credential,
            scope: None,
            permissions: None,
            rules: Vec::new(),
        };
        let groups = if standing.policy().names_groups() { self.store.groups(user.id).await? } else { BTreeSet::new() };
        self.by_strategy(&mut principal, &groups, &standing).await?;
        Ok(principal)
    }

    /// What the hub's policy adds to an account: words in the place of its roles', and the rules that concern it.
    pub(super) async fn by_strategy(
        &self,
        principal: &mut Principal,
        groups: &BTreeSet<String>,
        standing: &Standing,
    ) -> Result<()> {
        if matches!(self.policy.strategy(), Strategy::NoAuth) {
            principal.roles = [Role::Admin].into();
            principal.reach = Reach::All;
            return Ok(());
        }
        let who = Who { username: &principal.username, roles: &principal.roles, groups };
        let permissions = standing.words(who).await?;
        let rules = standing.policy().concerning(who, self.clock.now());
        (principal.permissions, principal.rules) = (permissions, rules);
        Ok(())
    }

    /// Signs who is asking, for one cluster. Whether the cluster can be seen is onboarding's to say.
    pub(super) fn sign_identity(&self, principal: &Principal, cluster: ClusterId) -> Result<String> {
        let iat = self.clock.now().timestamp();
        let roles = principal.cluster_roles();
        if roles.is_empty() && !principal.roles.is_empty() {
            // The scope covers nothing that a role of a cluster is for.
            return Err(Error::of(Code::Forbidden));
        }
        let claims = IdentityClaims {
            sub: principal.username.clone(),
            uid: principal.user_id.to_string(),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            aud: cluster.to_string(),
            iat,
            exp: iat + IDENTITY_SECONDS,
            actor: None,
            only: None,
        };
        self.keys.now().identity.sign(&claims).map_err(key_fault)
    }

    /// Signs who is asking for one request, in the role that the policy gives for it: decided here again, with the rules as
    /// they are now, so that nobody between here and the agent can ask for more.
    pub(super) fn sign_raised(&self, principal: &Principal, cluster: ClusterId, raise: &Raise) -> Result<String> {
        if raise.cluster.id != cluster {
            return Err(Error::new(Code::BadRequest, "the request is about another cluster"));
        }
        let judged = roadstead_policy::judge(principal, &raise.cluster, &raise.request, self.clock.now());
        judged.verdict.check(principal)?;
        match judged.goes_as {
            As::Own => self.sign_identity(principal, cluster),
            As::Raised(role) => self.sign_only(principal, role, cluster, raise.request.clone()),
        }
    }

    /// Signs who is asking in a role that is not the account's own, for one kind of request.
    pub(super) fn sign_only(
        &self,
        principal: &Principal,
        role: Role,
        cluster: ClusterId,
        only: RequestKind,
    ) -> Result<String> {
        let iat = self.clock.now().timestamp();
        let claims = IdentityClaims {
            sub: principal.username.clone(),
            uid: principal.user_id.to_string(),
            roles: vec![role.as_str().to_owned()],
            aud: cluster.to_string(),
            iat,
            exp: iat + IDENTITY_SECONDS,
            actor: None,
            only: Some(only),
        };
        self.keys.now().identity.sign(&claims).map_err(key_fault)
    }

    /// Signs somebody as whom a caller acts, for one kind of request to a cluster. The right to was checked.
    pub(super) fn sign_somebody(
        &self,
        actor: &Principal,
        somebody: &ActsAs,
        cluster: ClusterId,
        only: Option<RequestKind>,
    ) -> Result<String> {
        let iat = self.clock.now().timestamp();
        let claims = IdentityClaims {
            sub: somebody.user.clone(),
            uid: actor.user_id.to_string(),
            roles: somebody.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            aud: cluster.to_string(),
            iat,
            exp: iat + IDENTITY_SECONDS,
            actor: Some(actor.username.clone()),
            only,
        };
        self.keys.now().identity.sign(&claims).map_err(key_fault)
    }
}
