//! Makes a cluster that onboarding reaches by itself. The credentials go over the mesh's own connections, never on a queue.

use roadstead_contracts::Result;
use roadstead_contracts::message::{Cluster, ConnectCluster, NewConnection, SeedClusterDetails};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_http_kit::{Caller, RequestContext};

use super::{App, check_description};

/// What a caller asks for.
pub(crate) struct DirectCluster {
    pub(crate) name: ClusterName,
    pub(crate) description: String,
    pub(crate) labels: Labels,
    pub(crate) details: Option<SeedClusterDetails>,
    pub(crate) connection: NewConnection,
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
        let request = ConnectCluster {
            principal: caller.principal.as_ref().clone(),
            name: new.name,
            description: new.description,
            labels: new.labels,
            details: new.details,
            connection: new.connection,
        };
        self.hand_over(&request, context).await
    }
}
