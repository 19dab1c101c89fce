//! What serves a session of the hub, whoever made the session.

mod identity;
mod serve;
mod verbs;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use roadstead_contracts::message::RightsProfile;
use roadstead_contracts::names::Namespace;
use roadstead_runtime::{SharedClock, SystemClock, Tasks};
use roadstead_tunnel::{Incoming, Session};

pub use identity::Identity;
pub use serve::Ended;

use crate::kubernetes::Cluster;
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::{Error, Result};

/// Serves sessions for one cluster.
#[derive(Debug)]
pub struct Core {
    cluster: Cluster,
    clock: SharedClock,
    metrics: Metrics,
    operations: Arc<Operations>,
    /// The program for charts.
    helm: Option<PathBuf>,
    /// The hub's roles are still to be bound in the cluster.
    binds: AtomicBool,
    /// What they may do in it, and where.
    rights: OnceLock<(RightsProfile, Vec<Namespace>)>,
}

/// Time for binding the hub's roles before a hosted agent serves.
const BIND_LIMIT: Duration = Duration::from_secs(5);
/// How often operations are looked at that are to end.
const REST_LOOK: Duration = Duration::from_millis(50);

impl Core {
    /// For the cluster of a kubeconfig file; without one: the pod's own account, else `KUBECONFIG` and `~/.kube/config`.
    /// An account that may binds the hub's roles to view, edit and cluster-admin before the first session is served.
    pub async fn from_kubeconfig(file: Option<&Path>, context: Option<&str>) -> Result<Self> {
        let core = Self::new(Cluster::open(file, context).await?);
        core.binds.store(!core.cluster.inside, Ordering::Relaxed);
        Ok(core)
    }

    /// For a cluster that a caller of the hub described. An account that may binds the hub's roles, as for a kubeconfig.
    pub fn connected(cluster: Cluster) -> Self {
        let core = Self::new(cluster);
        core.binds.store(!core.cluster.inside, Ordering::Relaxed);
        core
    }

    /// For a cluster that is open already.
    pub fn new(cluster: Cluster) -> Self {
        let operations = Arc::new(Operations::new(cluster.clone(), None));
        Self {
            cluster,
            clock: SystemClock::shared(),
            metrics: Metrics::new(),
            operations,
            helm: None,
            binds: AtomicBool::new(false),
            rights: OnceLock::new(),
        }
    }

    /// What the hub's roles may do in the cluster; everything by default.
    #[must_use]
    pub fn with_rights(self, profile: RightsProfile, namespaces: Vec<Namespace>) -> Self {
        self.learn_rights(profile, namespaces);
        self
    }

    /// The same for an agent that learns it when it joins. What was learnt first stays.
    pub(crate) fn learn_rights(&self, profile: RightsProfile, namespaces: Vec<Namespace>) {
        let _ = self.rights.set((profile, namespaces));
    }

    /// Namespaces of the profile `namespaced`; none where the roles are bound in the whole cluster.
    fn namespaces(&self) -> &[Namespace] {
        match self.rights.get() {
            Some((RightsProfile::Namespaced, namespaces)) => namespaces,
            _ => &[],
        }
    }

    /// Remembers operations in this folder. Without one, orders for operations are refused.
    #[must_use]
    pub fn with_ledger(mut self, folder: PathBuf) -> Self {
        let operations = Operations::new(self.cluster.clone(), Some(folder));
        self.operations = Arc::new(operations.with_helm(self.helm.clone()));
        self
    }

    /// Takes this program for charts, instead of the one on `PATH`. To be said before the ledger is.
    #[must_use]
    pub fn with_helm(mut self, program: Option<PathBuf>) -> Self {
        self.helm = program;
        self
    }

    /// Takes the time from here: a dialling agent corrects its own by the hub's.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Counts here.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// A session of a hosted agent begins, with this epoch. Others may have hosted it before: what they did its ledger does
    /// not know. Writes a file.
    pub fn attend(&self, epoch: i64) {
        self.operations.attend(epoch, self.clock.now());
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Binds the hub's roles in the cluster. Without the rights to do so the cluster's admin does it; requests then say
    /// what is missing.
    pub async fn bind_roles(&self, profile: RightsProfile, namespaces: &[Namespace]) {
        match tokio::time::timeout(BIND_LIMIT, self.cluster.ensure_bindings(profile, namespaces)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!("the hub's roles could not be bound in this cluster: {failure}"),
            Err(_) => tracing::warn!("the cluster did not bind the hub's roles within {BIND_LIMIT:?}"),
        }
    }

    /// Waits until no operation changes anything. To be asked after a stop, when none begins any more.
    pub async fn at_rest(&self) {
        while !self.operations.is_idle() {
            tokio::time::sleep(REST_LOOK).await;
        }
    }

    /// Serves one session until it ends, or is to be followed by another ([`Ended::Move`]): what runs on it then goes on as one
    /// of the `tasks`. `identity_root` is what was pinned at enrolment, `cluster_id` what identities
    /// must be for.
    pub async fn serve(
        self: Arc<Self>,
        session: Session,
        incoming: Incoming,
        identity_root: String,
        cluster_id: String,
        tasks: &Tasks,
    ) -> Result<Ended> {
        let verifier = roadstead_auth::identity::Verifier::new(&identity_root)?;
        let cluster_id = cluster_id.parse().map_err(|_| Error::Protocol("cluster id is not a UUID".to_owned()))?;
        if self.binds.swap(false, Ordering::Relaxed) {
            let (profile, namespaces) = self.rights.get().cloned().unwrap_or_default();
            self.bind_roles(profile, &namespaces).await;
        }
        serve::Server::new(self, session, verifier, cluster_id, tasks.clone()).run(incoming).await
    }
}
