//! Who is calling: the service asks itself.

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_auth::token::api_key_proof;
use roadstead_contracts::message::Authenticate;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{Authenticator, Caller, Credential, RequestContext};

use crate::app::App;

/// Checks credentials against the database.
pub(super) struct Doorkeeper {
    app: Arc<App>,
}

impl Doorkeeper {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[async_trait]
impl Authenticator for Doorkeeper {
    async fn authenticate(&self, credential: &Credential, context: &RequestContext) -> Result<Caller> {
        let refused = || Error::of(Code::InvalidCredential);
        let proof = match credential {
            Credential::ApiKey(key) => api_key_proof(key.expose()).ok_or_else(refused)?,
            Credential::Bearer(token) => {
                let keys = self.app.keys.now();
                keys.verifier.verify(token.expose(), self.app.clock.now()).map_err(|_| refused())?.proof()
            }
        };
        let question =
            Authenticate { credential: proof, cluster_id: None, source: Some(context.client.to_string()), raise: None };
        let known = self.app.authenticate(&question).await?;
        known.principal.check_source(context.client)?;
        Ok(Caller { principal: Arc::new(known.principal), proof: Arc::new(question.credential) })
    }
}

/// Knows nobody: for the list of routes.
pub(super) struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &Credential, _: &RequestContext) -> Result<Caller> {
        Err(Error::of(Code::InvalidCredential))
    }
}
