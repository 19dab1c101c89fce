use roadstead_contracts::identity::{Action, CredentialKind};
use roadstead_contracts::message::{SignOperation, SignedOperation};
use roadstead_contracts::operation::OperationClaims;
use roadstead_contracts::{Code, Error, Result};

use super::{App, key_fault};
use crate::domain::UserRef;

/// Longest life of an order, seconds: what agents take.
const ORDER_SECONDS: i64 = roadstead_auth::identity::ORDER_LIFETIME_MAX_SECONDS;
/// Bytes of a SHA-256 in hex.
const DIGEST_LENGTH: usize = 64;

impl App {
    /// Decides at a dispatch whether the account may still have this done, and signs that for the agent.
    pub async fn sign_operation(&self, request: &SignOperation) -> Result<SignedOperation> {
        let revoked = || Error::new(Code::PermissionRevoked, "the account may not change this cluster any more");
        if request.digest.len() != DIGEST_LENGTH || !request.digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::field(&["digest"], "value_error", "digest must be a SHA-256 in hex"));
        }
        let user = self.store.user(&UserRef::Id(request.user_id)).await?.filter(|user| user.active);
        let user = user.ok_or_else(revoked)?;
        let credential = CredentialKind::QueuePeer(user.username.clone());
        let mut principal = self.principal(&user, credential).await?;
        principal.scope.clone_from(&request.scope);
        let owner = request.owner.then_some(user.id);
        if !principal.allows(Action::OperationsWrite) || !principal.can_see(request.cluster_id, owner) {
            return Err(revoked());
        }
        let iat = self.clock.now().timestamp();
        let claims = OperationClaims {
            sub: principal.username.clone(),
            uid: principal.user_id.to_string(),
            roles: principal.cluster_roles().iter().map(|role| role.as_str().to_owned()).collect(),
            aud: request.cluster_id.to_string(),
            operation: request.operation_id.to_string(),
            epoch: request.epoch,
            digest: request.digest.clone(),
            iat,
            exp: iat + i64::from(request.lifetime_seconds).clamp(1, ORDER_SECONDS),
        };
        let order = self.keys.now().identity.sign_operation(&claims).map_err(key_fault)?;
        let assertion = self.sign_identity(&principal, request.cluster_id)?;
        Ok(SignedOperation { order, assertion })
    }
}
