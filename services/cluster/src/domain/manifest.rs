//! The import manifest: everything an agent needs in its cluster, for one `kubectl apply -f`.
//!
//! Built from values and written by a YAML serializer, so that nothing in a name or a token can change its shape. The
//! agent's account may read what heartbeats say, keep its own key, and impersonate: users (RBAC cannot match a
//! prefix of names, so the agent itself refuses every name that does not begin with `roadstead:`) and, by name, the
//! three groups of the hub. What those groups may do is bound here, by the rights profile.

use std::fmt::Write as _;

use roadstead_contracts::message::RightsProfile;
use roadstead_contracts::names::{ClusterName, Namespace};
use roadstead_runtime::Secret;
use serde_json::{Value, json};

/// Namespace of the agent.
const NAMESPACE: &str = "roadstead";
/// Name of its objects.
const NAME: &str = "roadstead-agent";
/// Secret with its key: the agent's default, `state.secret_name`.
const KEY_SECRET: &str = "roadstead-agent-key";
/// Secret with the join token.
const JOIN_SECRET: &str = "roadstead-join";
/// User in the image: distroless' `nonroot`.
const USER: u32 = 65_532;
/// Where the agent remembers operations: below the agent's own default, `state.ledger_dir`.
const STATE: &str = "/var/lib/roadstead-agent";
/// Port of the agent's probes.
const PORT: u16 = 8_081;

/// What a manifest is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Import<'a> {
    /// Where the agent dials.
    pub(crate) hub: &'a str,
    /// Join token.
    pub(crate) token: &'a Secret,
    /// Name of the cluster; the token's when it is bound.
    pub(crate) name: Option<&'a ClusterName>,
    /// What the hub's groups may do.
    pub(crate) profile: RightsProfile,
    /// In which namespaces, with the profile `namespaced`.
    pub(crate) namespaces: &'a [Namespace],
    /// Image of the agent.
    pub(crate) image: &'a str,
}

/// The objects, in the order they must be made.
pub(crate) fn objects(import: &Import<'_>) -> Vec<Value> {
    let mut objects = vec![namespace(), account()];
    objects.extend(rights(import.profile, import.namespaces));
    objects.extend(secrets(import.token));
    objects.push(deployment(import));
    objects.push(network_policy());
    objects
}

/// The manifest as YAML.
pub(crate) fn render(import: &Import<'_>) -> String {
    let mut text = String::from("# Roadstead agent. Holds a join token: keep it to yourself until it has been used.\n");
    for object in objects(import) {
        // JSON is YAML: the one writer that cannot be talked into another document.
        let json = serde_json::to_string_pretty(&object).unwrap_or_default();
        let _ = write!(text, "---\n{json}\n");
    }
    text
}

fn labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "roadstead"})
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": NAMESPACE, "labels": labels()})
}

fn cluster_metadata(name: &str) -> Value {
    json!({"name": name, "labels": labels()})
}

fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {
                "app.kubernetes.io/part-of": "roadstead",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    })
}

fn account() -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(NAME)})
}

/// Names of the hub's groups in the cluster.
fn group(role: &str) -> String {
    format!("roadstead:{role}")
}

fn rights(profile: RightsProfile, namespaces: &[Namespace]) -> Vec<Value> {
    let rbac = "rbac.authorization.k8s.io/v1";
    let subject = json!({"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE});
    let reference =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let groups: Vec<String> = ["viewer", "operator", "admin"].into_iter().map(group).collect();
    let mut objects = vec![
        json!({
            "apiVersion": rbac,
            "kind": "ClusterRole",
            "metadata": cluster_metadata(NAME),
            "rules": [
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
                {"nonResourceURLs": ["/version", "/healthz", "/readyz"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]},
                {"apiGroups": [""], "resources": ["groups"], "resourceNames": groups, "verbs": ["impersonate"]},
            ],
        }),
        json!({
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": cluster_metadata(NAME),
            "roleRef": reference("ClusterRole", NAME),
            "subjects": [subject],
        }),
        json!({
            "apiVersion": rbac,
            "kind": "Role",
            "metadata": metadata(NAME),
            "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [KEY_SECRET], "verbs": ["get", "update", "patch"]},
            ],
        }),
        json!({
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": metadata(NAME),
            "roleRef": reference("Role", NAME),
            "subjects": [subject],
        }),
    ];
    for (role, cluster_role) in granted(profile) {
        let bound = |kind: &str, metadata: Value| {
            json!({
                "apiVersion": rbac,
                "kind": kind,
                "metadata": metadata,
                "roleRef": reference("ClusterRole", cluster_role),
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group(role)}],
            })
        };
        let name = format!("roadstead-{role}");
        if profile == RightsProfile::Namespaced {
            objects.extend(namespaces.iter().map(|namespace| {
                let metadata = json!({"name": name, "namespace": namespace.as_str(), "labels": labels()});
                bound("RoleBinding", metadata)
            }));
        } else {
            objects.push(bound("ClusterRoleBinding", cluster_metadata(&name)));
        }
    }
    objects
}

/// Which of Kubernetes' own roles each group gets.
fn granted(profile: RightsProfile) -> [(&'static str, &'static str); 3] {
    match profile {
        RightsProfile::ReadOnly => [("viewer", "view"), ("operator", "view"), ("admin", "view")],
        // Kubernetes' own `admin` is for a namespace: no quotas, and no more rights than it has itself.
        RightsProfile::Namespaced => [("viewer", "view"), ("operator", "edit"), ("admin", "admin")],
        RightsProfile::Operator => [("viewer", "view"), ("operator", "edit"), ("admin", "edit")],
        RightsProfile::Admin => [("viewer", "view"), ("operator", "edit"), ("admin", "cluster-admin")],
    }
}

fn secrets(token: &Secret) -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(JOIN_SECRET),
            "type": "Opaque",
            "stringData": {"token": token.expose()},
        }),
        // Empty: the agent fills it, and needs no right to make Secrets.
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(KEY_SECRET), "type": "Opaque"}),
    ]
}

fn deployment(import: &Import<'_>) -> Value {
    let mut arguments = vec!["run".to_owned(), "--hub".to_owned(), import.hub.to_owned()];
    if let Some(name) = import.name {
        arguments.extend(["--name".to_owned(), name.to_string()]);
    }
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "probes"}, "periodSeconds": 10});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(NAME),
        "spec": {
            // One identity, one agent: a second would only take the first one's session away.
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "template": {
                "metadata": {"labels": labels()},
                "spec": {
                    "serviceAccountName": NAME,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "fsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [{
                        "name": "agent",
                        "image": import.image,
                        "args": arguments,
                        "env": [
                            {"name": "ROADSTEAD_JOIN_TOKEN", "valueFrom": {"secretKeyRef": {"name": JOIN_SECRET, "key": "token"}}},
                            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                        ],
                        "ports": [{"name": "probes", "containerPort": PORT}],
                        "volumeMounts": [{"name": "state", "mountPath": STATE}],
                        "livenessProbe": probe("/healthz"),
                        "readinessProbe": probe("/readyz"),
                        "resources": {
                            "requests": {"cpu": "10m", "memory": "32Mi"},
                            "limits": {"memory": "256Mi"},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }],
                    // What the agent remembers of operations: it outlives the container. Mount a claim here to let it outlive
                    // the pod as well.
                    "volumes": [{"name": "state", "emptyDir": {"sizeLimit": "1Gi"}}],
                },
            },
        },
    })
}

/// Nothing dials the agent but who scrapes it. Where the hub and the API server are is not known here, so the way out
/// is left to the cluster's own policy.
fn network_policy() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(NAME),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": PORT}]}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(profile: RightsProfile) -> Vec<Value> {
        let token = Secret::new("rsj_secret");
        let name = ClusterName::parse("prod").unwrap();
        let two = ["team-a", "team-b"].map(|name| Namespace::parse(name).unwrap());
        let namespaces: &[Namespace] = if profile == RightsProfile::Namespaced { &two } else { &[] };
        let hub = "https://hub:8007";
        objects(&Import { hub, token: &token, name: Some(&name), profile, namespaces, image: "agent:1" })
    }

    fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
        objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    #[test]
    fn the_agent_is_hardened() {
        let objects = sample(RightsProfile::Admin);
        let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(pod["volumes"], json!([{"name": "state", "emptyDir": {"sizeLimit": "1Gi"}}]), "no hostPath");
        assert_eq!(container["args"], json!(["run", "--hub", "https://hub:8007", "--name", "prod"]));
        // The token is in its Secret and nowhere else.
        let shown: Vec<&Value> = objects.iter().filter(|object| object.to_string().contains("rsj_secret")).collect();
        assert_eq!((shown.len(), &shown[0]["kind"]), (1, &json!("Secret")));
    }

    #[test]
    fn no_right_is_wild() {
        for profile in RightsProfile::ALL {
            let objects = sample(profile);
            for role in of_kind(&objects, "ClusterRole").into_iter().chain(of_kind(&objects, "Role")) {
                assert!(!role["rules"].to_string().contains('*'), "{role}");
                for rule in role["rules"].as_array().unwrap() {
                    let secrets = rule["resources"].to_string().contains("secrets");
                    assert!(!secrets || rule["resourceNames"] == json!(["roadstead-agent-key"]), "{rule}");
                    let groups = rule["resources"].to_string().contains("groups");
                    let named = json!(["roadstead:viewer", "roadstead:operator", "roadstead:admin"]);
                    assert!(!groups || rule["resourceNames"] == named, "{rule}");
                }
            }
        }
    }

    #[test]
    fn profiles_bind_the_groups() {
        let bound = |profile| {
            of_kind(&sample(profile), "ClusterRoleBinding")
                .into_iter()
                .filter(|binding| binding["subjects"][0]["kind"] == "Group")
                .map(|binding| {
                    let text = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
                    (text("/subjects/0/name"), text("/roleRef/name"))
                })
                .collect::<Vec<_>>()
        };
        let pairs = |roles: [&str; 3]| {
            ["viewer", "operator", "admin"].map(group).into_iter().zip(roles.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(bound(RightsProfile::ReadOnly), pairs(["view", "view", "view"]));
        assert_eq!(bound(RightsProfile::Operator), pairs(["view", "edit", "edit"]));
        assert_eq!(bound(RightsProfile::Admin), pairs(["view", "edit", "cluster-admin"]));
    }

    /// Every rule and every binding of a manifest, so that none can slip in: what a profile gives is exactly this.
    #[test]
    fn a_manifest_has_exactly_its_rules() {
        let agent = [
            "ClusterRole /roadstead-agent: get,list,watch nodes",
            "ClusterRole /roadstead-agent: get /version,/healthz,/readyz",
            "ClusterRole /roadstead-agent: impersonate users",
            "ClusterRole /roadstead-agent: impersonate groups named roadstead:viewer,roadstead:operator,roadstead:admin",
            "ClusterRoleBinding /roadstead-agent: ClusterRole roadstead-agent to ServiceAccount roadstead-agent",
            "Role roadstead/roadstead-agent: get,update,patch secrets named roadstead-agent-key",
            "RoleBinding roadstead/roadstead-agent: Role roadstead-agent to ServiceAccount roadstead-agent",
        ];
        for profile in RightsProfile::ALL {
            let mut expected: Vec<String> = agent.map(str::to_owned).to_vec();
            for (role, cluster_role) in granted(profile) {
                let given = format!("roadstead-{role}: ClusterRole {cluster_role} to Group roadstead:{role}");
                if profile == RightsProfile::Namespaced {
                    expected.extend(["team-a", "team-b"].map(|space| format!("RoleBinding {space}/{given}")));
                } else {
                    expected.push(format!("ClusterRoleBinding /{given}"));
                }
            }
            assert_eq!(spelt(&sample(profile)), expected, "{profile:?}");
        }
    }

    fn spelt(objects: &[Value]) -> Vec<String> {
        let list = |value: &Value| {
            let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            words.collect::<Vec<_>>().join(",")
        };
        let mut out = Vec::new();
        for object in objects {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let head = format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
            if text("/kind").ends_with("Binding") {
                let (kind, name) = (text("/roleRef/kind"), text("/roleRef/name"));
                let (who, whose) = (text("/subjects/0/kind"), text("/subjects/0/name"));
                assert_eq!(object["subjects"].as_array().map(Vec::len), Some(1), "{object}");
                out.push(format!("{head}: {kind} {name} to {who} {whose}"));
            }
            for rule in object["rules"].as_array().into_iter().flatten() {
                let what = [list(&rule["resources"]), list(&rule["nonResourceURLs"])].concat();
                let named = list(&rule["resourceNames"]);
                let named = if named.is_empty() { named } else { format!(" named {named}") };
                out.push(format!("{head}: {} {what}{named}", list(&rule["verbs"])));
            }
        }
        out
    }

    #[test]
    fn names_cannot_break_out() {
        let token = Secret::new("x\"\n---\nkind: Pod");
        let profile = RightsProfile::Admin;
        let import = Import { hub: "h\n---\n", token: &token, name: None, profile, namespaces: &[], image: "i\n---" };
        let text = render(&import);
        assert_eq!(text.matches("\n---\n").count(), objects(&import).len());
    }
}
