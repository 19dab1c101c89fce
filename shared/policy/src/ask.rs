use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::Action;
use roadstead_contracts::policy::ClusterFacts;

use crate::kubernetes;

/// A question: may this be done?
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What it takes.
    pub action: Action,
    /// At which cluster; `None` for what is not about one (accounts, the hub, making a cluster).
    pub cluster: Option<&'a ClusterFacts>,
    /// To what in the cluster, where the request says so. Rules that are limited to namespaces, kinds or verbs apply to
    /// nothing else.
    pub object: Option<Object<'a>>,
}

impl<'a> Asked<'a> {
    /// About the hub itself.
    pub fn hub(action: Action) -> Self {
        Self { action, cluster: None, object: None }
    }

    /// About a cluster as a whole.
    pub fn cluster(action: Action, cluster: &'a ClusterFacts) -> Self {
        Self { action, cluster: Some(cluster), object: None }
    }

    /// About something in a cluster.
    pub fn object(action: Action, cluster: &'a ClusterFacts, object: Object<'a>) -> Self {
        Self { action, cluster: Some(cluster), object: Some(object) }
    }
}

/// What in a cluster is asked for. A request about several is several questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Verb as Kubernetes calls it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, ….
    pub verb: &'a str,
    /// `plural.group`, the core group left out, with the subresource: `deployments.apps`, `secrets`, `pods/exec`.
    pub kind: &'a str,
    /// The same by its other name, where only its API server knows which it is: rules may name either.
    pub also: Option<&'a str>,
    /// Where it is. A namespace itself is in its own.
    pub place: Place<'a>,
}

impl<'a> Object<'a> {
    /// What a request is about; nothing for one that is about no resource.
    pub fn of(request: &'a RequestKind) -> Option<Self> {
        let kind = request.kind.as_deref()?;
        Some(Self { verb: &request.verb, kind, also: request.also.as_deref(), place: kubernetes::place(request) })
    }
}

/// Where in a cluster something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In this namespace.
    Namespace(&'a str),
    /// In any: a list or a watch over all of them.
    EveryNamespace,
    /// In none: nodes, cluster roles.
    Cluster,
}
