//! What the API server's answers mean for an object, and marks that tell whether somebody changed it since.

use roadstead_contracts::{Code, Error};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::kubernetes::Failure;
use crate::kubernetes::objects::version_of;
use crate::operations::order::hex;

/// Characters of the digest in a mark: enough to tell two states of one object apart.
const DIGEST_LENGTH: usize = 32;

/// Why an object failed.
pub(in crate::operations) fn object_error(failure: &Failure) -> Error {
    match failure {
        Failure::Conflict(message) => Error::new(Code::Conflict, message.clone()),
        Failure::NotFound => Error::not_found("the namespace or the kind of the object is not there"),
        other => other.to_error(),
    }
}

/// The object as it was left: its version, and a digest of what people write. A controller that only reports its status
/// changes the version and not the digest.
pub(in crate::operations) fn left_version(object: &Value) -> String {
    format!("{}:{}", version_of(object), digest(object))
}

/// Whether somebody changed the object since it was left so.
pub(in crate::operations) fn is_changed(live: &Value, left: &str) -> bool {
    let (version, known) = left.split_once(':').unwrap_or((left, ""));
    version != version_of(live) && known != digest(live)
}

fn digest(object: &Value) -> String {
    let text = roadstead_manifest::content(object).to_string();
    let mut digest = hex(&Sha256::digest(text.as_bytes()));
    digest.truncate(DIGEST_LENGTH);
    digest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_no_change() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "resourceVersion": "1"},
            "spec": {"replicas": 1},
        });
        let left = left_version(&object);
        let mut later = object.clone();
        later["metadata"]["resourceVersion"] = json!("2");
        later["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
        later["status"] = json!({"replicas": 1});
        assert!(!is_changed(&object, &left) && !is_changed(&later, &left) && !is_changed(&object, "1"));
        later["spec"]["replicas"] = json!(2);
        assert!(is_changed(&later, &left) && is_changed(&later, "1"));
    }
}
