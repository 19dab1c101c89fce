//! The manifest behind an import link: only for a token that is good now.

use roadstead_auth::token::{Kind, parse};
use roadstead_contracts::ids::JoinTokenId;
use roadstead_contracts::message::CheckJoinToken;
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::RequestContext;

use super::App;
use crate::domain::manifest::{Import, render};

impl App {
    /// The manifest, or not found: unknown, expired, revoked and used-up tokens look the same.
    pub(crate) async fn import_manifest(
        &self,
        token: &str,
        name: Option<ClusterName>,
        context: &RequestContext,
    ) -> Result<String> {
        let not_found = || Error::of(Code::NotFound);
        let shown = parse(Kind::Join, token).ok_or_else(not_found)?;
        let request = CheckJoinToken { id: shown.id::<JoinTokenId>(), digest: shown.digest() };
        let known = self.look_up(&request, context).await.map_err(|error| match error.code {
            Code::InvalidJoinToken | Code::NotFound => not_found(),
            _ => error,
        })?;
        Ok(render(&Import {
            hub: &self.urls.agents,
            token: &shown.format(),
            name: known.cluster_name.or(name).as_ref(),
            profile: known.profile,
            namespaces: &known.namespaces,
            image: &self.options.agent_image,
        }))
    }
}
