//! Is this join token good now? Spends no use.

use roadstead_auth::token::digests_equal;
use roadstead_contracts::message::{CheckJoinToken, JoinToken};
use roadstead_contracts::{Code, Result};

use super::App;

pub(crate) async fn check_join_token(app: &App, request: CheckJoinToken) -> Result<JoinToken> {
    let record = app.store.find_token(request.id).await?;
    let now = app.clock.now();
    record
        .filter(|record| digests_equal(&record.digest, &request.digest))
        .map(|record| record.token)
        .filter(|token| token.revoked_at.is_none() && token.expires_at > now && token.uses_left > 0)
        .ok_or_else(|| Code::InvalidJoinToken.into())
}
