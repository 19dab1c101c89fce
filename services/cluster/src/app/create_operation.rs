//! Starts a change: the cluster is found as the caller sees it, the manifests are read, and only then is anything kept.

use bytes::Bytes;
use roadstead_contracts::message::{Cluster, CreateOperation, GetCluster, Operation};
use roadstead_contracts::operation::Work;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::{Caller, RequestContext};

use super::App;
use super::read_manifests::{Manifests, SourceFile};

/// What every way to start an operation takes, beside what is to be done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// `http_api` or `cli`.
    pub(crate) source: &'static str,
    pub(crate) description: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) deadline_seconds: Option<u32>,
    pub(crate) priority: Option<u8>,
    pub(crate) webhook_url: Option<String>,
}

/// A change to one cluster.
pub(crate) struct NewOperation {
    /// Id, integer or name.
    pub(crate) cluster: String,
    pub(crate) work: Work,
    /// The manifests, where the work needs some.
    pub(crate) files: Option<Vec<SourceFile>>,
    pub(crate) terms: Terms,
}

/// What was made of it.
pub(crate) struct Created {
    pub(crate) operation: Operation,
    /// Objects in the manifests.
    pub(crate) documents: usize,
}

impl App {
    /// A cluster as the caller sees it.
    pub(crate) async fn cluster(&self, caller: &Caller, cluster: &str, context: &RequestContext) -> Result<Cluster> {
        let request = GetCluster { principal: caller.principal.as_ref().clone(), cluster: cluster.to_owned() };
        self.look_up(&request, context).await
    }

    /// Starts an operation.
    pub(crate) async fn create_operation(
        &self,
        caller: &Caller,
        new: NewOperation,
        context: &RequestContext,
    ) -> Result<Created> {
        let cluster = self.cluster(caller, &new.cluster, context).await?;
        let (body_sha256, documents) = self.stage(new.files, &new.work).await?;
        let request = CreateOperation {
            principal: caller.principal.as_ref().clone(),
            cluster_id: cluster.id,
            cluster_name: cluster.name,
            work: new.work,
            body_sha256,
            source: new.terms.source.to_owned(),
            description: new.terms.description,
            idempotency_key: new.terms.idempotency_key,
            deadline_seconds: new.terms.deadline_seconds,
            priority: new.terms.priority,
            webhook_url: new.terms.webhook_url,
        };
        let operation = self.change(&request, context).await?;
        Ok(Created { operation, documents })
    }

    /// Reads manifests and hands them to the operations service; answers their digest and how many objects they hold.
    pub(super) async fn stage(&self, files: Option<Vec<SourceFile>>, work: &Work) -> Result<(Option<String>, usize)> {
        let Some(files) = files else { return Ok((None, 0)) };
        let namespace = match work {
            Work::Apply { namespace, .. } | Work::Delete { namespace, .. } | Work::Sync { namespace, .. } => namespace,
            _ => &None,
        };
        let Manifests { body, documents } = self.read_manifests(files, namespace.clone()).await?;
        if documents == 0 {
            return Err(Error::field(&["body", "manifests"], "value_error", "there is no object in the manifests"));
        }
        Ok((Some(self.bodies.stage(Bytes::from(body)).await?), documents))
    }
}
