//! What agents of the seeds are asked beside their namespaces: they carry no streams, so they are asked by their own commands.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::AgentTarget;
use crate::agent::RequestKind;
use crate::identity::Principal;

/// Asks an agent of the seeds what it sees. It asks its cluster as itself, so what the caller may see is the hub's to say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AskSeedAgent {
    /// Who asks.
    pub principal: Principal,
    /// Which agent.
    pub target: AgentTarget,
    /// What it is asked.
    pub view: SeedView,
}

/// A command of the seeds' newest agent, spelt as it reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub enum SeedView {
    /// Pods of a namespace, or of all.
    GetPods {
        /// Empty: all.
        namespace: String,
    },
    /// Deployments of a namespace, or of all.
    GetDeployments {
        /// Empty: all.
        namespace: String,
    },
    /// Services of a namespace, or of all.
    GetServices {
        /// Empty: all.
        namespace: String,
    },
    /// Nodes.
    GetNodes {},
    /// How much of everything there is.
    GetClusterResources {},
    /// The end of a container's log.
    GetPodLogs {
        /// Where.
        namespace: String,
        /// Which pod.
        pod_name: String,
        /// Empty: its only one.
        container_name: String,
        /// How many lines.
        tail_lines: u32,
    },
}

impl SeedView {
    /// The command.
    pub fn command(&self) -> &'static str {
        match self {
            Self::GetPods { .. } => "get-pods",
            Self::GetDeployments { .. } => "get-deployments",
            Self::GetServices { .. } => "get-services",
            Self::GetNodes {} => "get-nodes",
            Self::GetClusterResources {} => "get-cluster-resources",
            Self::GetPodLogs { .. } => "get-pod-logs",
        }
    }

    /// The requests to the Kubernetes API that it stands for.
    pub fn requests(&self) -> Vec<RequestKind> {
        let list = |kind: &str, namespace: &str| {
            RequestKind::of("list", kind, Some(namespace).filter(|namespace| !namespace.is_empty()))
        };
        match self {
            Self::GetPods { namespace } => vec![list("pods", namespace)],
            Self::GetDeployments { namespace } => vec![list("deployments.apps", namespace)],
            Self::GetServices { namespace } => vec![list("services", namespace)],
            Self::GetNodes {} => vec![list("nodes", "")],
            Self::GetClusterResources {} => {
                ["nodes", "namespaces", "pods", "deployments.apps", "services"].map(|kind| list(kind, "")).to_vec()
            }
            Self::GetPodLogs { namespace, .. } => vec![RequestKind::of("get", "pods/log", Some(namespace))],
        }
    }

    /// Whether it tells of what is in no namespace.
    pub fn is_cluster_wide(&self) -> bool {
        matches!(self, Self::GetNodes {} | Self::GetClusterResources {})
    }
}

super::requests! {
    crate::queue::CLUSTER_NAMESPACE: {
        AskSeedAgent = "ask_seed_agent.v1" -> Value;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_are_spelt_as_the_seeds_agents_read_them() {
        let logs = SeedView::GetPodLogs {
            namespace: "shop".to_owned(),
            pod_name: "web-1".to_owned(),
            container_name: String::new(),
            tail_lines: 100,
        };
        for view in [SeedView::GetPods { namespace: String::new() }, SeedView::GetNodes {}, logs.clone()] {
            assert_eq!(serde_json::to_value(&view).unwrap()["message"], view.command());
        }
        assert_eq!(
            serde_json::to_value(&logs).unwrap(),
            json!({"message": "get-pod-logs", "namespace": "shop", "pod_name": "web-1", "container_name": "", "tail_lines": 100})
        );
        assert_eq!(SeedView::GetPods { namespace: String::new() }.requests()[0].namespace, None);
        assert!(SeedView::GetClusterResources {}.is_cluster_wide() && !logs.is_cluster_wide());
    }
}
