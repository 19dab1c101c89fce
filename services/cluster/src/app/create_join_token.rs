//! Makes a join token: the secret is drawn here, shown once, and only its digest goes on.

use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::ids::JoinTokenId;
use roadstead_contracts::message::{
    CreateJoinToken, JOIN_TOKEN_SECONDS_MAX, JOIN_TOKEN_USES_MAX, JoinToken, NewJoinToken, RightsProfile,
};
use roadstead_contracts::names::{Labels, Namespace};
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{Caller, RequestContext};
use roadstead_runtime::Secret;

use super::App;

/// Life of a token when the caller names none.
const LIFETIME_SECONDS: u32 = 3_600;

/// What a caller asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct JoinTokenRequest {
    pub(crate) cluster: Option<String>,
    pub(crate) lifetime_seconds: Option<u32>,
    pub(crate) uses: Option<u32>,
    pub(crate) labels: Labels,
    pub(crate) profile: RightsProfile,
    pub(crate) namespaces: Vec<Namespace>,
}

/// A new token and its whole text.
pub(crate) struct Joined {
    pub(crate) token: JoinToken,
    pub(crate) secret: Secret,
}

impl App {
    /// Makes a token and has it stored.
    pub(crate) async fn create_join_token(
        &self,
        caller: &Caller,
        request: &JoinTokenRequest,
        context: &RequestContext,
    ) -> Result<Joined> {
        let (new, secret) = self.new_join_token(request)?;
        let principal = caller.principal.as_ref().clone();
        let request = CreateJoinToken { principal, token: new, cluster: request.cluster.clone() };
        let token = self.change(&request, context).await?;
        Ok(Joined { token, secret })
    }

    /// Draws a token: what is stored of it, and its text.
    pub(super) fn new_join_token(&self, request: &JoinTokenRequest) -> Result<(NewJoinToken, Secret)> {
        let lifetime_seconds =
            within(request.lifetime_seconds, LIFETIME_SECONDS, JOIN_TOKEN_SECONDS_MAX, "lifetime_seconds")?;
        let uses = within(request.uses, 1, JOIN_TOKEN_USES_MAX, "uses")?;
        request.labels.check()?;
        check_profile(request.profile, &request.namespaces)?;
        let id: JoinTokenId = self.ids.next();
        let drawn = TwoPart::new(Kind::Join, id, &self.ids);
        let new = NewJoinToken {
            id,
            digest: drawn.digest(),
            lifetime_seconds,
            uses,
            labels: request.labels.clone(),
            profile: request.profile,
            namespaces: request.namespaces.clone(),
        };
        Ok((new, drawn.format()))
    }
}

/// Namespaces belong to one profile.
pub(super) fn check_profile(profile: RightsProfile, namespaces: &[Namespace]) -> Result<()> {
    if (profile == RightsProfile::Namespaced) == namespaces.is_empty() {
        let message = "namespaces go with the profile namespaced, and it with them";
        return Err(Error::field(&["body", "namespaces"], "value_error", message));
    }
    Ok(())
}

fn within(asked: Option<u32>, default: u32, most: u32, field: &str) -> Result<u32> {
    let value = asked.unwrap_or(default);
    if (1..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::field(&["body", field], "value_error", format!("{field} must be from 1 to {most}")))
}
