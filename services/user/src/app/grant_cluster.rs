use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal, Reach};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{ClusterGrant, GrantCluster, RevokeCluster};
use roadstead_contracts::{Code, Error, Result};

use super::App;

impl App {
    /// Lets an account see a cluster.
    pub async fn grant_cluster(&self, request: &GrantCluster) -> Result<ClusterGrant> {
        let grant = self.grant_of(&request.principal, request.cluster_id, &request.account).await?;
        let now = self.clock.now();
        let event = self.event(Fact::UserChanged { user_id: grant.user_id }, now);
        self.store.grant(grant.user_id, grant.cluster_id, request.principal.user_id, now, &event).await?;
        self.outbox.nudge();
        Ok(grant)
    }

    /// Takes the grant back.
    pub async fn revoke_cluster(&self, request: &RevokeCluster) -> Result<ClusterGrant> {
        let grant = self.grant_of(&request.principal, request.cluster_id, &request.account).await?;
        let event = self.event(Fact::UserChanged { user_id: grant.user_id }, self.clock.now());
        self.store.revoke(grant.user_id, grant.cluster_id, &event).await?;
        self.outbox.nudge();
        Ok(grant)
    }

    /// Forgets the grants of a cluster that is gone.
    pub async fn forget_cluster(&self, cluster: ClusterId) -> Result<()> {
        Ok(self.store.forget_cluster(cluster).await?)
    }

    async fn grant_of(&self, by: &Principal, cluster_id: ClusterId, account: &str) -> Result<ClusterGrant> {
        // Whoever may not write accounts would give away what is not theirs to give (reliability row Z02).
        if !self.permits(by, Action::UsersWrite) {
            return Err(Error::of(Code::Escalation));
        }
        // A rule that gives accounts to look after gives no clusters with them.
        if by.reach != Reach::All {
            return Err(Error::of(Code::Escalation));
        }
        let user = self.user(account).await?;
        Ok(ClusterGrant { cluster_id, user_id: user.id, username: user.username })
    }
}
