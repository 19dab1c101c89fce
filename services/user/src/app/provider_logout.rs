//! Logouts that concern a provider: one's own there too, and those that the provider tells of.

use std::time::Duration;

use roadstead_auth::oidc::issuer_of;
use roadstead_auth::token::digest;
use roadstead_contracts::identity::{CredentialKind, Principal};
use roadstead_contracts::{Code, Error, Result};
use roadstead_kv::Kv as _;

use super::App;
use crate::oidc::refused;
use crate::store::ProviderLogout;

impl App {
    /// Ends the caller's session, and says where its browser ends the provider's.
    pub async fn logout_at_provider(&self, caller: &Principal) -> Result<Option<String>> {
        let CredentialKind::Session(session) = caller.credential else {
            return Err(Error::new(Code::BadRequest, "an API key has no session; revoke the key instead"));
        };
        let sign_in = self.store.sign_in_of(session).await?;
        self.end_session(caller.user_id, session, "logout").await?;
        let Some(sign_in) = sign_in else { return Ok(None) };
        let Ok(provider) = self.providers.find(Some(&sign_in.provider)) else { return Ok(None) };
        let token = self.id_token_of(&sign_in);
        let back_to = start_page(&provider.settings.redirect_url);
        Ok(provider.logout_url(token.as_ref().map(roadstead_runtime::Secret::expose), back_to.as_deref()).await)
    }

    /// Ends the sessions that a provider says are over (OpenID Connect Back-Channel Logout); answers how many.
    pub async fn back_channel_logout(&self, token: &str) -> Result<u64> {
        let nobody = || refused("the logout token is from no identity provider of this hub");
        let issuer = issuer_of(token).ok_or_else(nobody)?;
        let mut fault = nobody();
        // Two clients of one issuer are two providers here; the token is for one of them.
        for provider in self.providers.of_issuer(&issuer) {
            let said = match provider.logout_token(token).await {
                Ok(said) => said,
                Err(why) => {
                    fault = why;
                    continue;
                }
            };
            let now = self.clock.now();
            let left = u64::try_from(said.expires_at - now.timestamp()).unwrap_or(0) + 60;
            let key = format!("oidc-logout:{}", digest(&format!("{issuer} {}", said.id)));
            let left = Some(Duration::from_secs(left));
            let first = if let Ok(first) = self.kv.set_if_absent(&key, &[], left).await {
                first
            } else {
                let local = self.local.set_if_absent(&key, &[], left).await;
                local.map_err(|_| Error::of(Code::Unavailable))?
            };
            if !first {
                return Err(refused("the logout token was used before"));
            }
            let logout = ProviderLogout { issuer: issuer.clone(), session: said.session, subject: said.subject };
            let ids = self.ids.clone();
            let ended = self.store.end_provider_sessions(&logout, now, &move || ids.next()).await?;
            self.outbox.nudge();
            tracing::info!("the identity provider {} ended {ended} sessions", provider.settings.name);
            return Ok(ended);
        }
        Err(fault)
    }
}

/// The hub's start page, under the address at which its providers know it.
fn start_page(redirect_url: &str) -> Option<String> {
    let after_scheme = redirect_url.find("://")? + 3;
    let end = redirect_url.get(after_scheme..)?.find('/').map_or(redirect_url.len(), |at| after_scheme + at);
    Some(format!("{}/", redirect_url.get(..end)?))
}

#[cfg(test)]
mod tests {
    use super::start_page;

    #[test]
    fn the_start_page_is_the_hubs() {
        assert_eq!(start_page("https://hub.example:8443/api/x").as_deref(), Some("https://hub.example:8443/"));
        assert_eq!(start_page("https://hub.example").as_deref(), Some("https://hub.example/"));
        assert_eq!(start_page("hub").as_deref(), None);
    }
}
