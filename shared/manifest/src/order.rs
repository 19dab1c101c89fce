//! In which order objects are applied.
//!
//! | first to last | why |
//! |---|---|
//! | `Namespace` | what lies in it needs it |
//! | `CustomResourceDefinition` | its objects need it; the agent waits until it is established |
//! | `PriorityClass`, `RuntimeClass`, `StorageClass`, `VolumeAttributesClass`, `IngressClass`, `GatewayClass` | named by others |
//! | `ResourceQuota`, `LimitRange`, `NetworkPolicy`, `PodDisruptionBudget` | they bound what comes next |
//! | `ServiceAccount`, `Secret`, `ConfigMap` | pods mount them |
//! | `PersistentVolume`, `PersistentVolumeClaim` | pods mount them |
//! | `ClusterRole`, `ClusterRoleBinding`, `Role`, `RoleBinding` | pods act with them |
//! | `Service` | pods find its address in their environment |
//! | `DaemonSet`, `Pod`, `ReplicationController`, `ReplicaSet`, `Deployment`, `StatefulSet`, `Job`, `CronJob`, `HorizontalPodAutoscaler` | the work |
//! | `Ingress` | it leads to the work |
//! | every other kind | custom resources: their definitions and operators stand |
//! | `APIService`, admission policies and webhook configurations | from here on they can refuse the others |
//!
//! Objects of one row stay in the order in which they were given. Removal goes the other way round.

use roadstead_contracts::operation::ObjectKey;

const ROWS: [&[&str]; 10] = [
    &["Namespace"],
    &["CustomResourceDefinition"],
    &["PriorityClass", "RuntimeClass", "StorageClass", "VolumeAttributesClass", "IngressClass", "GatewayClass"],
    &["ResourceQuota", "LimitRange", "NetworkPolicy", "PodDisruptionBudget"],
    &["ServiceAccount", "Secret", "ConfigMap"],
    &["PersistentVolume", "PersistentVolumeClaim"],
    &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
    &["Service"],
    &[
        "DaemonSet",
        "Pod",
        "ReplicationController",
        "ReplicaSet",
        "Deployment",
        "StatefulSet",
        "Job",
        "CronJob",
        "HorizontalPodAutoscaler",
    ],
    &["Ingress"],
];
const OTHERS: usize = ROWS.len();
const LAST: [&str; 7] = [
    "APIService",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
];

/// Indexes of the keys in the order in which they are applied.
pub fn apply_order(keys: &[ObjectKey]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|index| keys.get(*index).map_or(0, rank));
    order
}

/// Indexes of the keys in the order in which they are removed.
pub fn delete_order(keys: &[ObjectKey]) -> Vec<usize> {
    let mut order = apply_order(keys);
    order.reverse();
    order
}

fn rank(key: &ObjectKey) -> usize {
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
    // A kind of somebody else's may have the name of one of Kubernetes' own (Knative's Service).
    let own = !group.contains('.') || group.ends_with(".k8s.io");
    if !own {
        return OTHERS;
    }
    let kind = key.kind.as_str();
    if LAST.contains(&kind) {
        return OTHERS + 1;
    }
    ROWS.iter().position(|row| row.contains(&kind)).unwrap_or(OTHERS)
}
