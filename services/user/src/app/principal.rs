use roadstead_contracts::agent::IdentityClaims;
use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::{Code, Error, Result};

use super::{App, key_fault};
use crate::domain::User;

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
        Ok(Principal {
            user_id: user.id,
            user_seq: user.seq,
            username: user.username.clone(),
            email: user.email.clone(),
            roles: user.roles.clone(),
            reach,
            credential,
            scope: None,
        })
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
        };
        self.keys.now().identity.sign(&claims).map_err(key_fault)
    }

    /// Signs somebody as whom a caller acts, for one cluster. The right to was checked.
    pub(super) fn sign_somebody(
        &self,
        actor: &Principal,
        user: &str,
        roles: &[Role],
        cluster: ClusterId,
    ) -> Result<String> {
        let iat = self.clock.now().timestamp();
        let claims = IdentityClaims {
            sub: user.to_owned(),
            uid: actor.user_id.to_string(),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            aud: cluster.to_string(),
            iat,
            exp: iat + IDENTITY_SECONDS,
            actor: Some(actor.username.clone()),
        };
        self.keys.now().identity.sign(&claims).map_err(key_fault)
    }
}
