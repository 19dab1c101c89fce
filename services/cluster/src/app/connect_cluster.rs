//! Makes a cluster that onboarding reaches by itself. The credentials go over the mesh's own connections, never on a queue.

use roadstead_contracts::Result;
use roadstead_contracts::message::{Cluster, ConnectCluster, NewConnection, RightsProfile, SeedClusterDetails};
use roadstead_contracts::names::{ClusterName, Labels, Namespace};
use roadstead_http_kit::{Caller, RequestContext};

use super::create_join_token::check_profile;
use super::{App, check_description};

/// What a caller asks for.
pub(crate) struct DirectCluster {
    pub(crate) name: ClusterName,
    pub(crate) description: String,
    pub(crate) labels: Labels,
    pub(crate) details: Option<SeedClusterDetails>,
    pub(crate) connection: NewConnection,
    pub(crate) profile: RightsProfile,
    pub(crate) namespaces: Vec<Namespace>,
}

impl App {
    /// Makes the cluster. Whether it is reached shows in its status.
    pub(crate) async fn connect_cluster(
        &self,
        caller: &Caller,
        new: DirectCluster,
        context: &RequestContext,
    ) -> Result<Cluster> {
        check_description(&new.description)?;
        new.labels.check()?;
        check_profile(new.profile, &new.namespaces)?;
        let request = ConnectCluster {
            principal: caller.principal.as_ref().clone(),
            name: new.name,
            description: new.description,
            labels: new.labels,
            details: new.details,
            connection: new.connection,
            profile: new.profile,
            namespaces: new.namespaces,
        };
        self.hand_over(&request, context).await
    }
}
