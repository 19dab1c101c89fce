use std::collections::BTreeSet;

use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::{CredentialKind, Role};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::message::{SignOperation, SignedOperation};
use roadstead_contracts::operation::OperationClaims;
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::As;
use roadstead_runtime::kill;

use super::{App, key_fault};
use crate::domain::UserRef;

/// Longest life of an order, seconds: what agents take.
const ORDER_SECONDS: i64 = roadstead_auth::identity::ORDER_LIFETIME_MAX_SECONDS;
/// Bytes of a SHA-256 in hex.
const DIGEST_LENGTH: usize = 64;

/// The refusal's words.
const REVOKED: &str = "the account may not change this cluster any more";

/// What rules look at of the cluster. An operation of before knows less: what is not known is covered by no rule.
fn facts_of(request: &SignOperation, user: UserId) -> Option<ClusterFacts> {
    let owner = request.owner.then_some(user);
    let unknown = || ClusterFacts { id: request.cluster_id, name: None, labels: None, owner: None };
    let facts = request.cluster.clone().unwrap_or_else(unknown);
    (facts.id == request.cluster_id).then_some(ClusterFacts { owner, ..facts })
}

impl App {
    /// Decides at a dispatch whether the account may still have this done, and signs that for the agent.
    pub async fn sign_operation(&self, request: &SignOperation) -> Result<SignedOperation> {
        let revoked = || Error::new(Code::PermissionRevoked, REVOKED);
        if request.digest.len() != DIGEST_LENGTH || !request.digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::field(&["digest"], "value_error", "digest must be a SHA-256 in hex"));
        }
        let user = self.store.user(&UserRef::Id(request.user_id)).await?.filter(|user| user.active);
        let user = user.ok_or_else(revoked)?;
        let credential = CredentialKind::QueuePeer(user.username.clone());
        let mut principal = self.principal(&user, credential).await?;
        principal.scope.clone_from(&request.scope);
        let facts = facts_of(request, user.id).ok_or_else(revoked)?;
        let judged = roadstead_policy::judge_change(&principal, &facts, &request.changes, self.clock.now());
        if !judged.verdict.allowed {
            let decision = judged.verdict.decision(&principal);
            return Err(Error::new(Code::PermissionRevoked, format!("{REVOKED}: {}", decision.reason)));
        }
        let own = principal.can_see(request.cluster_id, facts.owner);
        let mut roles = if own { principal.cluster_roles() } else { BTreeSet::new() };
        if let As::Raised(role) = judged.goes_as {
            // The order is for this work only.
            roles.insert(role);
        }
        let iat = self.clock.now().timestamp();
        let claims = OperationClaims {
            sub: principal.username.clone(),
            uid: principal.user_id.to_string(),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            aud: request.cluster_id.to_string(),
            operation: request.operation_id.to_string(),
            epoch: request.epoch,
            digest: request.digest.clone(),
            iat,
            exp: iat + i64::from(request.lifetime_seconds).clamp(1, ORDER_SECONDS),
        };
        let order = self.keys.now().identity.sign_operation(&claims).map_err(key_fault)?;
        let assertion = if own && !principal.cluster_roles().is_empty() {
            self.sign_identity(&principal, request.cluster_id)?
        } else {
            // What the stream says beside the order gives nothing.
            self.sign_only(&principal, Role::Viewer, request.cluster_id, RequestKind::discovery())?
        };
        kill::point("user.order_signed");
        Ok(SignedOperation { order, assertion })
    }
}
