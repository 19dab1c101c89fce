//! Starts one change to many clusters: a selector becomes the clusters that the caller sees now.

use roadstead_contracts::message::{
    CreateRollout, ListClusters, PageRequest, RolloutCreated, RolloutPlan, RolloutTarget,
};
use roadstead_contracts::names::Labels;
use roadstead_contracts::operation::Work;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{Caller, RequestContext};

use super::App;
use super::read_manifests::SourceFile;

/// Rows of a page.
const PAGE: u32 = 1_000;
/// Most clusters of one rollout: what one message carries (1 MiB) with their labels.
const CLUSTERS_MAX: usize = 1_000;

/// Which clusters.
pub(crate) enum Clusters {
    /// All that have these labels, by name.
    Selected(Labels),
    /// These, in this order.
    Named(Vec<String>),
}

/// One change to many clusters.
pub(crate) struct NewRollout {
    pub(crate) name: String,
    pub(crate) clusters: Clusters,
    pub(crate) work: Work,
    pub(crate) files: Option<Vec<SourceFile>>,
    pub(crate) plan: RolloutPlan,
    pub(crate) confirmed: bool,
    pub(crate) idempotency_key: Option<String>,
}

/// What came of it, and which clusters it is about.
pub(crate) struct MadeRollout {
    pub(crate) answer: RolloutCreated,
    pub(crate) clusters: Vec<String>,
}

impl App {
    /// Starts a rollout, or says what it would touch.
    pub(crate) async fn create_rollout(
        &self,
        caller: &Caller,
        new: NewRollout,
        context: &RequestContext,
    ) -> Result<MadeRollout> {
        let clusters_asked = match &new.clusters {
            Clusters::Selected(labels) => serde_json::json!({ "selector": labels }),
            Clusters::Named(names) => serde_json::json!({ "clusters": names }),
        };
        let targets = match new.clusters {
            Clusters::Selected(labels) => self.selected(caller, labels, context).await?,
            Clusters::Named(names) => self.named(caller, names, context).await?,
        };
        if targets.is_empty() {
            return Err(Error::field(&["body", "selector"], "value_error", "no cluster that you can see matches"));
        }
        let clusters = targets.iter().map(|target| target.cluster_name.to_string()).collect();
        let (body_sha256, _) = self.stage(new.files, &new.work).await?;
        let request = CreateRollout {
            principal: caller.principal.as_ref().clone(),
            name: new.name,
            targets,
            work: new.work,
            body_sha256,
            plan: new.plan,
            confirmed: new.confirmed,
            idempotency_key: new.idempotency_key,
            clusters_asked: Some(clusters_asked.to_string()),
        };
        Ok(MadeRollout { answer: self.change(&request, context).await?, clusters })
    }

    async fn selected(&self, caller: &Caller, labels: Labels, context: &RequestContext) -> Result<Vec<RolloutTarget>> {
        let page = PageRequest { limit: PAGE, offset: 0, cursor: None };
        let request = ListClusters { principal: caller.principal.as_ref().clone(), page, labels };
        let found = self.look_up(&request, context).await?;
        if found.total > CLUSTERS_MAX as u64 {
            return Err(too_many());
        }
        let mut targets: Vec<RolloutTarget> = found
            .items
            .into_iter()
            .map(|cluster| RolloutTarget { cluster_id: cluster.id, cluster_name: cluster.name, labels: cluster.labels })
            .collect();
        // The same waves each time, whoever joined last.
        targets.sort_by(|one, two| one.cluster_name.cmp(&two.cluster_name));
        Ok(targets)
    }

    async fn named(&self, caller: &Caller, names: Vec<String>, context: &RequestContext) -> Result<Vec<RolloutTarget>> {
        if names.len() > CLUSTERS_MAX {
            return Err(too_many());
        }
        let mut targets: Vec<RolloutTarget> = Vec::with_capacity(names.len());
        for name in names {
            let cluster = self.cluster(caller, &name, context).await?;
            // The same cluster by its name and by its id is one cluster.
            if targets.iter().all(|target| target.cluster_id != cluster.id) {
                targets.push(RolloutTarget {
                    cluster_id: cluster.id,
                    cluster_name: cluster.name,
                    labels: cluster.labels,
                });
            }
        }
        Ok(targets)
    }
}

fn too_many() -> Error {
    Error::field(&["body", "clusters"], "value_error", format!("a rollout has at most {CLUSTERS_MAX} clusters"))
}
