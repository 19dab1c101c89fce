//! What the agent may do in its cluster, and the bindings that give the hub's roles their rights there.

use http::Method;
use roadstead_contracts::identity::Role;
use roadstead_contracts::message::RightsProfile;
use roadstead_contracts::names::Namespace;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cluster, Failure};
use crate::core::Identity;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// Owner of the fields the agent applies.
const FIELD_MANAGER: &str = "roadstead-agent";

#[derive(Debug, Deserialize)]
struct Review {
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Debug, Default, Deserialize)]
struct ReviewStatus {
    #[serde(default)]
    allowed: bool,
}

/// The user that a pre-flight acts as. Nobody can have this name: it has no letter at its end.
const NOBODY: &str = "preflight-";

/// The cluster's own role behind a role of the hub.
pub fn cluster_role(role: Role, profile: RightsProfile) -> &'static str {
    match (profile, role) {
        (RightsProfile::ReadOnly, _) | (_, Role::Viewer) => "view",
        (RightsProfile::Admin, Role::Admin) => "cluster-admin",
        (RightsProfile::Namespaced, Role::Admin) => "admin",
        (RightsProfile::Operator, Role::Operator | Role::Admin)
        | (RightsProfile::Admin | RightsProfile::Namespaced, Role::Operator) => "edit",
    }
}

impl Cluster {
    /// Version of the API server.
    pub async fn version(&self) -> Result<String, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        self.get::<Version>("/version", None).await.map(|version| version.git_version)
    }

    /// Whether the agent may act as a user of the hub and in a role's group.
    pub async fn may_impersonate(&self, role: Role) -> Result<bool, Failure> {
        let group = format!("roadstead:{}", role.as_str());
        let user = json!({ "verb": "impersonate", "resource": "users", "name": "roadstead:somebody" });
        let group = json!({ "verb": "impersonate", "resource": "groups", "name": group });
        Ok(self.review(&user, None).await? && self.review(&group, None).await?)
    }

    /// Whether the role's group may list namespaces: whether it is bound at all. Asked as that group.
    pub async fn is_bound(&self, role: Role) -> Result<bool, Failure> {
        let person = Identity::of_role(NOBODY, role);
        self.review(&json!({ "verb": "list", "resource": "namespaces" }), Some(&person)).await
    }

    async fn review(&self, attributes: &Value, person: Option<&Identity>) -> Result<bool, Failure> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": attributes },
        });
        let review: Review = self.write_as(Method::POST, REVIEWS, "application/json", &body, person).await?;
        Ok(review.status.allowed)
    }

    /// Binds the hub's roles to the cluster's own, by server-side apply: for agents whose account may do so (a kubeconfig of
    /// an admin). Inside a cluster the import manifest does it, once, with rights that the agent does not keep.
    ///
    /// With the profile `namespaced` there are bindings in the named namespaces only.
    pub async fn ensure_bindings(&self, profile: RightsProfile, namespaces: &[Namespace]) -> Result<(), Failure> {
        for role in Role::ALL {
            if profile == RightsProfile::Namespaced {
                for namespace in namespaces {
                    self.bind(role, profile, Some(namespace)).await?;
                }
            } else {
                self.bind(role, profile, None).await?;
            }
        }
        Ok(())
    }

    async fn bind(&self, role: Role, profile: RightsProfile, namespace: Option<&Namespace>) -> Result<(), Failure> {
        let name = format!("roadstead-{}", role.as_str());
        let mut binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" },
            "metadata": { "name": name, "labels": { "app.kubernetes.io/managed-by": "roadstead" } },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": cluster_role(role, profile),
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Group",
                "name": format!("roadstead:{}", role.as_str()),
            }],
        });
        let folder = match namespace {
            Some(namespace) => {
                binding["metadata"]["namespace"] = namespace.as_str().into();
                format!("{RBAC}/namespaces/{}/rolebindings", namespace.as_str())
            }
            None => format!("{RBAC}/clusterrolebindings"),
        };
        let path = format!("{folder}/{name}?fieldManager={FIELD_MANAGER}&force=true");
        let applied: Result<Value, Failure> =
            self.write(Method::PATCH, &path, "application/apply-patch+yaml", &binding).await;
        match applied {
            Ok(_) => Ok(()),
            // A binding's role cannot be changed, only the binding replaced. Somebody chose another one: theirs stays.
            Err(Failure::Unexpected(detail)) if detail.starts_with("422") => {
                tracing::warn!("the binding {name} names another role; it stays as it is");
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }
}
