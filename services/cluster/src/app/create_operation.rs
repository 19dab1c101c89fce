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

/// A change whose body, if it has one, is staged.
pub(super) struct Begin {
    pub(super) cluster: Cluster,
    pub(super) work: Work,
    pub(super) body_sha256: Option<String>,
    pub(super) terms: Terms,
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
        let begin = Begin { cluster, work: new.work, body_sha256, terms: new.terms };
        let operation = self.begin(caller, begin, context).await?;
        Ok(Created { operation, documents })
    }

    /// Has the operations service begin what is staged.
    pub(super) async fn begin(&self, caller: &Caller, begin: Begin, context: &RequestContext) -> Result<Operation> {
        let Begin { cluster, work, body_sha256, terms } = begin;
        // The address may hold a token: it goes the way that bodies go, and no message carries it.
        let webhook_sha256 = match terms.webhook_url {
            Some(url) => Some(self.bodies.stage(Bytes::from(url)).await?),
            None => None,
        };
        let request = CreateOperation {
            principal: caller.principal.as_ref().clone(),
            cluster_id: cluster.id,
            cluster_name: cluster.name,
            work,
            body_sha256,
            source: terms.source.to_owned(),
            description: terms.description,
            idempotency_key: terms.idempotency_key,
            deadline_seconds: terms.deadline_seconds,
            priority: terms.priority,
            webhook_url: None,
            webhook_sha256,
        };
        self.change(&request, context).await
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
