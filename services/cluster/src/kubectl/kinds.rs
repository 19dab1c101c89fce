//! Kinds by the words that people use for them. Kubernetes' own are known here; others are asked for.

use serde_json::Value;

use super::{Api, Ask, Failure, Told, json, said};

/// Longest name: Kubernetes' own limit for most, and enough for a path.
const NAME_MAX: usize = 253;
/// Kinds behind the word `all`, as kubectl has them.
const ALL: [&str; 9] = [
    "pods",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "horizontalpodautoscalers",
    "cronjobs",
    "jobs",
];

/// A kind as its API serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
}

/// One of Kubernetes' own: plural, short names (joined by commas), kind, group, version, whether in a namespace.
struct Known(&'static str, &'static str, &'static str, &'static str, &'static str, bool);

const KNOWN: [Known; 37] = [
    Known("pods", "po", "Pod", "", "v1", true),
    Known("services", "svc", "Service", "", "v1", true),
    Known("configmaps", "cm", "ConfigMap", "", "v1", true),
    Known("secrets", "", "Secret", "", "v1", true),
    Known("namespaces", "ns", "Namespace", "", "v1", false),
    Known("nodes", "no", "Node", "", "v1", false),
    Known("events", "ev", "Event", "", "v1", true),
    Known("endpoints", "ep", "Endpoints", "", "v1", true),
    Known("persistentvolumes", "pv", "PersistentVolume", "", "v1", false),
    Known("persistentvolumeclaims", "pvc", "PersistentVolumeClaim", "", "v1", true),
    Known("serviceaccounts", "sa", "ServiceAccount", "", "v1", true),
    Known("resourcequotas", "quota", "ResourceQuota", "", "v1", true),
    Known("limitranges", "limits", "LimitRange", "", "v1", true),
    Known("replicationcontrollers", "rc", "ReplicationController", "", "v1", true),
    Known("deployments", "deploy", "Deployment", "apps", "v1", true),
    Known("statefulsets", "sts", "StatefulSet", "apps", "v1", true),
    Known("daemonsets", "ds", "DaemonSet", "apps", "v1", true),
    Known("replicasets", "rs", "ReplicaSet", "apps", "v1", true),
    Known("controllerrevisions", "", "ControllerRevision", "apps", "v1", true),
    Known("jobs", "", "Job", "batch", "v1", true),
    Known("cronjobs", "cj", "CronJob", "batch", "v1", true),
    Known("horizontalpodautoscalers", "hpa", "HorizontalPodAutoscaler", "autoscaling", "v2", true),
    Known("ingresses", "ing", "Ingress", "networking.k8s.io", "v1", true),
    Known("ingressclasses", "", "IngressClass", "networking.k8s.io", "v1", false),
    Known("networkpolicies", "netpol", "NetworkPolicy", "networking.k8s.io", "v1", true),
    Known("storageclasses", "sc", "StorageClass", "storage.k8s.io", "v1", false),
    Known("volumeattachments", "", "VolumeAttachment", "storage.k8s.io", "v1", false),
    Known("poddisruptionbudgets", "pdb", "PodDisruptionBudget", "policy", "v1", true),
    Known("roles", "", "Role", "rbac.authorization.k8s.io", "v1", true),
    Known("rolebindings", "", "RoleBinding", "rbac.authorization.k8s.io", "v1", true),
    Known("clusterroles", "", "ClusterRole", "rbac.authorization.k8s.io", "v1", false),
    Known("clusterrolebindings", "", "ClusterRoleBinding", "rbac.authorization.k8s.io", "v1", false),
    Known("priorityclasses", "pc", "PriorityClass", "scheduling.k8s.io", "v1", false),
    Known("endpointslices", "", "EndpointSlice", "discovery.k8s.io", "v1", true),
    Known("leases", "", "Lease", "coordination.k8s.io", "v1", true),
    Known("customresourcedefinitions", "crd,crds", "CustomResourceDefinition", "apiextensions.k8s.io", "v1", false),
    Known("apiservices", "", "APIService", "apiregistration.k8s.io", "v1", false),
];

impl From<&Known> for Resource {
    fn from(Known(plural, _, kind, group, version, namespaced): &Known) -> Self {
        Self {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            plural: (*plural).to_owned(),
            singular: kind.to_ascii_lowercase(),
            kind: (*kind).to_owned(),
            namespaced: *namespaced,
        }
    }
}

impl Resource {
    /// Path of a collection, or of one object.
    pub(crate) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path = format!("{path}/namespaces/{namespace}");
        }
        path = format!("{path}/{}", self.plural);
        if let Some(name) = name {
            path = format!("{path}/{name}");
        }
        path
    }

    /// `pod` or `deployment.apps`: before a slash and a name.
    pub(crate) fn shown(&self) -> String {
        if self.group.is_empty() { self.singular.clone() } else { format!("{}.{}", self.singular, self.group) }
    }

    /// `v1` or `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether its objects hold secrets.
    pub(crate) fn is_secret(&self) -> bool {
        self.group.is_empty() && self.plural == "secrets"
    }
}

/// Whether a text can be the name of an object in a path: what a path would read otherwise is none.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.bytes().all(|byte| byte == b'.')
}

/// The kinds behind a word: one, but for `all`.
pub(crate) async fn find_all(api: &dyn Api, word: &str) -> Told<Vec<Resource>> {
    if word == "all" {
        return Ok(KNOWN.iter().filter(|known| ALL.contains(&known.0)).map(Resource::from).collect());
    }
    Ok(vec![find(api, word).await?])
}

/// The kind behind a word: plural, singular, short name, or `plural.group`.
pub(crate) async fn find(api: &dyn Api, word: &str) -> Told<Resource> {
    let word = word.to_ascii_lowercase();
    let missing = || Failure::Said(format!("error: the server doesn't have a resource type \"{word}\""));
    if !is_name(&word) || word.len() > 128 {
        return said("error: that is no kind of Kubernetes");
    }
    if let Some(known) = known(&word) {
        return Ok(known);
    }
    let Some((plural, group)) = word.split_once('.') else { return Err(missing()) };
    if let Some(known) = KNOWN.iter().find(|known| known.3 == group && is_called(known, plural)) {
        return Ok(known.into());
    }
    // A custom kind: the group says which version is preferred, the version which kinds there are.
    let about = json(api, Ask::get(format!("/apis/{group}"))).await.map_err(|fault| match fault {
        Failure::Cluster(404, _) => missing(),
        other => other,
    })?;
    let version =
        about["preferredVersion"]["version"].as_str().filter(|version| is_name(version)).ok_or_else(missing)?;
    let served = json(api, Ask::get(format!("/apis/{group}/{version}"))).await?;
    let resources = served["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = resources.iter().find(|resource| {
        let is = |field: &str| resource[field].as_str().is_some_and(|text| text.eq_ignore_ascii_case(plural));
        is("name") || is("singularName") || is("kind") || short_names(resource).any(|short| short == plural)
    });
    let text = |field: &str| found.and_then(|resource| resource[field].as_str()).filter(|text| is_name(text));
    let (Some(name), Some(kind)) = (text("name"), text("kind")) else { return Err(missing()) };
    Ok(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: name.to_owned(),
        singular: text("singularName").map_or_else(|| kind.to_ascii_lowercase(), str::to_owned),
        kind: kind.to_owned(),
        namespaced: found.is_some_and(|resource| resource["namespaced"] == true),
    })
}

fn short_names(resource: &Value) -> impl Iterator<Item = &str> {
    resource["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn known(word: &str) -> Option<Resource> {
    KNOWN.iter().find(|known| is_called(known, word)).map(Resource::from)
}

fn is_called(Known(plural, short, kind, ..): &Known, word: &str) -> bool {
    // Not every kind has a short name.
    !word.is_empty()
        && (*plural == word || kind.eq_ignore_ascii_case(word) || short.split(',').any(|short| short == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_kubectl() {
        for (word, path) in [
            ("po", "/api/v1/namespaces/a/pods/x"),
            ("pod", "/api/v1/namespaces/a/pods/x"),
            ("deploy", "/apis/apps/v1/namespaces/a/deployments/x"),
            ("ingress", "/apis/networking.k8s.io/v1/namespaces/a/ingresses/x"),
            ("no", "/api/v1/nodes/x"),
            ("hpa", "/apis/autoscaling/v2/namespaces/a/horizontalpodautoscalers/x"),
        ] {
            assert_eq!(known(word).unwrap().path(Some("a"), Some("x")), path, "{word}");
        }
        assert_eq!(known("deploy").unwrap().shown(), "deployment.apps");
        assert!(known("").is_none() && known("widgets").is_none());
    }

    #[test]
    fn names_are_parts_of_a_path_and_nothing_else() {
        for good in ["web-1", "a.b", "system:masters", "x_y"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a%2fb", "a?b", "a b", "ä", "a\\b", "a;b", &"x".repeat(254)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
