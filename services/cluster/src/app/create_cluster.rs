//! Makes a cluster that an agent will join, with the token to join it.

use roadstead_contracts::message::{Cluster, CreateCluster, JoinToken};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{Caller, RequestContext};

use super::{App, JoinTokenRequest, Joined};

/// Longest description: a paragraph.
pub(crate) const DESCRIPTION_MAX: usize = 2_000;

/// What a caller asks for.
pub(crate) struct NewCluster {
    pub(crate) name: ClusterName,
    pub(crate) description: String,
    pub(crate) labels: Labels,
    pub(crate) token: JoinTokenRequest,
}

impl App {
    /// Makes the cluster and its token in one step.
    pub(crate) async fn create_cluster(
        &self,
        caller: &Caller,
        new: NewCluster,
        context: &RequestContext,
    ) -> Result<(Cluster, Joined)> {
        check_description(&new.description)?;
        new.labels.check()?;
        let (token, secret) = self.new_join_token(&new.token)?;
        let request = CreateCluster {
            principal: caller.principal.as_ref().clone(),
            name: new.name,
            description: new.description,
            labels: new.labels,
            join_token: Some(token.clone()),
        };
        let cluster = self.change(&request, context).await?;
        // As stored: the answer has the cluster only, and what is shown of the token is what was asked for.
        let token = JoinToken {
            id: token.id,
            cluster_id: Some(cluster.id),
            cluster_name: Some(cluster.name.clone()),
            labels: token.labels,
            profile: token.profile,
            namespaces: token.namespaces,
            uses_left: token.uses,
            expires_at: cluster.created_at + chrono::Duration::seconds(i64::from(token.lifetime_seconds)),
            revoked_at: None,
            created_at: cluster.created_at,
        };
        Ok((cluster, Joined { token, secret }))
    }
}

/// Checks a description.
pub(crate) fn check_description(text: &str) -> Result<()> {
    if text.len() <= DESCRIPTION_MAX && !text.chars().any(|character| character.is_control() && character != '\n') {
        return Ok(());
    }
    let message = format!("description must be at most {DESCRIPTION_MAX} bytes without control characters");
    Err(Error::field(&["body", "description"], "value_error", message))
}
