//! Signs somebody else for a cluster, on behalf of a caller who may act as others. The cluster sees who was asked for; the
//! caller's name goes with it, for both logs.

use roadstead_contracts::identity::Role;
use roadstead_contracts::message::{AuthenticateAs, Authenticated};
use roadstead_contracts::{Code, Error, Result};

use super::{App, invalid_credential};

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
        let assertion = self.sign_somebody(&known.principal, &request.acts_as.user, &roles, request.cluster_id)?;
        known.assertion = Some(assertion);
        Ok(known)
    }
}
