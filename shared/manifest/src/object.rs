//! Which object a document is, checked before anything is sent.

use std::collections::HashMap;

use roadstead_contracts::Error;
use roadstead_contracts::error::FieldError;
use roadstead_contracts::operation::ObjectKey;
use serde_json::Value;

use crate::document::Document;
use crate::fault::{Faults, Place, shown};

/// Longest name of an object.
const NAME_MAX: usize = 253;
/// Longest name of a namespace, a group's part, a version.
const LABEL_MAX: usize = 63;
/// Longest kind.
const KIND_MAX: usize = 63;

/// Kinds whose names are parts of a path and not of a host name: RBAC's `system:…`, addresses, trust bundles.
const PATH_NAMES: [(&str, &str); 6] = [
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("certificates.k8s.io", "ClusterTrustBundle"),
    ("networking.k8s.io", "IPAddress"),
];

/// Kinds of Kubernetes itself that have no namespace.
const CLUSTER_WIDE: [(&str, &[&str]); 14] = [
    ("", &["Namespace", "Node", "PersistentVolume", "ComponentStatus"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding"]),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io", &["APIService"]),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("storage.k8s.io", &["StorageClass", "CSIDriver", "CSINode", "VolumeAttachment", "VolumeAttributesClass"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("networking.k8s.io", &["IngressClass", "IPAddress", "ServiceCIDR"]),
    ("certificates.k8s.io", &["CertificateSigningRequest", "ClusterTrustBundle"]),
    ("flowcontrol.apiserver.k8s.io", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("authentication.k8s.io", &["TokenReview", "SelfSubjectReview"]),
    ("resource.k8s.io", &["DeviceClass", "ResourceSlice"]),
    ("gateway.networking.k8s.io", &["GatewayClass"]),
];

/// Whether a kind of Kubernetes itself has no namespace. Of other groups only the API server knows: false.
pub fn is_cluster_wide(api_version: &str, kind: &str) -> bool {
    let group = group(api_version);
    CLUSTER_WIDE.iter().any(|(own, kinds)| *own == group && kinds.contains(&kind))
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Key of one object, as it is written; nothing is checked but that the parts are there.
pub fn key(value: &Value) -> Option<ObjectKey> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind) = (text("/apiVersion")?, text("/kind")?);
    let namespace = text("/metadata/namespace").filter(|_| !is_cluster_wide(&api_version, &kind));
    Some(ObjectKey { api_version, kind, namespace, name: text("/metadata/name")? })
}

/// Keys of all documents, in their order. `namespace` is for objects that name none; one that names another is a fault, as is
/// an object that stands there twice. What is cluster-wide by the API server's word only keeps the namespace for now.
pub fn keys(documents: &[Document], namespace: Option<&str>) -> Result<Vec<ObjectKey>, Error> {
    let mut faults = Faults::default();
    let mut keys = Vec::with_capacity(documents.len());
    let mut seen: HashMap<ObjectKey, &str> = HashMap::new();
    if let Some(given) = namespace.filter(|given| !is_label(given)) {
        let message = format!("{} is not a name of a namespace", shown(given));
        return Err(Error::field(&["query", "namespace"], "value_error", message));
    }
    for document in documents {
        let (source, number) = document.source.split_once('#').unwrap_or((&document.source, "1"));
        let number = number.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(1);
        let place = Place { source, document: number, line: document.line };
        match checked(&document.value, namespace, place) {
            Ok(key) => {
                if let Some(first) = seen.insert(key.clone(), &document.source) {
                    let message = format!("{} {} stands in {first} already", key.kind, key.name);
                    faults.push(place.fault("object_twice", message));
                }
                keys.push(key);
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.into_result(keys)
}

fn checked(value: &Value, namespace: Option<&str>, place: Place<'_>) -> Result<ObjectKey, FieldError> {
    let text = |pointer: &str| match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(place.fault("value_error", format!("{} must be text", named(pointer)))),
    };
    let needed = |pointer: &str| {
        text(pointer)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| place.fault("missing", format!("{} is missing", named(pointer))))
    };
    let api_version = needed("/apiVersion")?;
    if !is_api_version(api_version) {
        return Err(place.fault("value_error", format!("apiVersion {} cannot be one", shown(api_version))));
    }
    let kind = needed("/kind")?;
    if !is_kind(kind) {
        return Err(place.fault("value_error", format!("kind {} cannot be one", shown(kind))));
    }
    if !value.get("metadata").is_some_and(Value::is_object) {
        return Err(place.fault("missing", "metadata is missing"));
    }
    let name = match text("/metadata/name")?.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None if value.pointer("/metadata/generateName").is_some() => {
            return Err(place.fault("missing", "metadata.generateName is not taken: give the object a name"));
        }
        None => return Err(place.fault("missing", "metadata.name is missing")),
    };
    if !is_name(group(api_version), kind, name) {
        return Err(place.fault("value_error", format!("{} cannot be the name of a {kind}", shown(name))));
    }
    for map in ["labels", "annotations"] {
        check_texts(value, map, place)?;
    }
    let own = text("/metadata/namespace")?.filter(|own| !own.is_empty());
    let namespace = if is_cluster_wide(api_version, kind) {
        None
    } else {
        match (own, namespace) {
            (Some(own), _) if !is_label(own) => {
                return Err(place.fault("value_error", format!("{} is not a name of a namespace", shown(own))));
            }
            (Some(own), Some(given)) if own != given => {
                let message = format!("the object names the namespace {own}, the request {given}");
                return Err(place.fault("namespace_mismatch", message));
            }
            (Some(own), _) => Some(own),
            (None, given) => given,
        }
    };
    Ok(ObjectKey {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    })
}

/// Labels and annotations hold text only; JSON can say other things.
fn check_texts(value: &Value, map: &str, place: Place<'_>) -> Result<(), FieldError> {
    let entries = match value.pointer(&format!("/metadata/{map}")) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(place.fault("value_error", format!("metadata.{map} must be an object"))),
    };
    match entries.iter().find(|(_, value)| !value.is_string()) {
        Some((key, _)) => {
            Err(place.fault("yaml_not_text", format!("metadata.{map}.{} must be text; put it in quotes", shown(key))))
        }
        None => Ok(()),
    }
}

fn named(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

fn is_api_version(text: &str) -> bool {
    match text.split_once('/') {
        Some((group, version)) => is_subdomain(group) && is_label(version),
        None => is_label(text),
    }
}

fn is_kind(text: &str) -> bool {
    text.len() <= KIND_MAX
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_name(group: &str, kind: &str, name: &str) -> bool {
    if PATH_NAMES.contains(&(group, kind)) {
        return name.len() <= NAME_MAX
            && name != "."
            && name != ".."
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%'));
    }
    if kind == "Namespace" && group.is_empty() { is_label(name) } else { is_subdomain(name) }
}

fn is_label(text: &str) -> bool {
    text.len() <= LABEL_MAX && is_part(text)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.as_bytes().first().is_some_and(edge)
        && text.as_bytes().last().is_some_and(edge)
        && text.bytes().all(|byte| edge(&byte) || byte == b'-')
}
