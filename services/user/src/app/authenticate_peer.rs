//! Answers a peer of the seeds on `cluster_auth_requests`: its own body, its own words.

use roadstead_auth::token::api_key_proof;
use roadstead_contracts::Result;
use roadstead_contracts::seed::kubesage::{AuthRequest, AuthResult, UserData};

use super::App;
use super::authenticate::KeyFault;
use crate::domain::{User, seed_names};

/// Longest `request_id` that is echoed.
const REQUEST_ID_MAX: usize = 256;

impl App {
    /// The seed's answer. `None` when the request cannot be answered: it names no request.
    pub async fn authenticate_peer(&self, account: &str, request: &AuthRequest) -> Result<Option<AuthResult>> {
        if request.request_id.is_empty() || request.request_id.len() > REQUEST_ID_MAX {
            return Ok(None);
        }
        // The peer's own account comes first: one that was switched off asks nothing more.
        if self.service_account(account).await?.is_none() {
            tracing::warn!(account, "a queue peer stands for an account that is missing or not active");
            return Ok(Some(refused(request, "User not found or inactive")));
        }
        let now = self.clock.now();
        let outcome = match api_key_proof(&request.api_key) {
            Some(proof) => self.known_key(&proof, now).await?,
            None => Err(KeyFault::Unknown),
        };
        self.count("peer", outcome.is_ok());
        Ok(Some(match outcome {
            Ok(known) => {
                self.last_used.api_key(&known.key, now);
                accepted(request, &known.user)
            }
            Err(KeyFault::Disabled) => refused(request, "User not found or inactive"),
            Err(KeyFault::Unknown | KeyFault::Expired) => refused(request, "Invalid API key"),
        }))
    }
}

fn accepted(request: &AuthRequest, user: &User) -> AuthResult {
    AuthResult {
        request_id: request.request_id.clone(),
        valid: true,
        user_data: Some(UserData {
            id: user.seq,
            username: user.username.clone(),
            email: user.email.clone(),
            roles: seed_names(&user.roles),
            is_active: user.active,
        }),
        message: Some("Authentication successful".to_owned()),
        error: None,
    }
}

fn refused(request: &AuthRequest, why: &str) -> AuthResult {
    AuthResult {
        request_id: request.request_id.clone(),
        valid: false,
        user_data: None,
        message: None,
        error: Some(why.to_owned()),
    }
}
