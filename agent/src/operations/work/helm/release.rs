//! What Helm writes down about a release: a Secret for each revision, whose text is packed JSON.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use roadstead_contracts::operation::ObjectKey;
use roadstead_contracts::percent::escape;
use serde_json::{Value, json};

use crate::kubernetes::Failure;
use crate::kubernetes::objects::Objects;

/// How the Secrets are called.
const PREFIX: &str = "sh.helm.release.v1.";
/// A release, unpacked: as much as a chart.
const UNPACKED_MAX: u64 = roadstead_manifest::CHART_UNPACKED_MAX;

/// A revision of a release.
#[derive(Debug, Clone)]
pub(super) struct Revision {
    /// Its Secret.
    pub(super) key: ObjectKey,
    secret: Value,
}

/// The newest revision of a release.
pub(super) async fn newest(objects: &Objects, namespace: &str, release: &str) -> Result<Option<Revision>, Failure> {
    let selector = escape(&format!("owner=helm,name={release}"));
    let path = format!("/api/v1/namespaces/{}/secrets?labelSelector={selector}", escape(namespace));
    let list = objects.read(&path).await?.unwrap_or_default();
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |secret: &Value| label(secret, "version").parse::<u64>().unwrap_or(0);
    let newest = items.into_iter().max_by_key(number);
    Ok(newest.map(|secret| Revision { key: key(namespace, &secret), secret }))
}

fn key(namespace: &str, secret: &Value) -> ObjectKey {
    let name = secret.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    ObjectKey {
        api_version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

fn label<'a>(secret: &'a Value, name: &str) -> &'a str {
    secret.pointer("/metadata/labels").and_then(|labels| labels.get(name)).and_then(Value::as_str).unwrap_or_default()
}

impl Revision {
    pub(super) fn is_deployed(&self) -> bool {
        label(&self.secret, "status") == "deployed"
    }

    /// Helm was at it and has not come to an end.
    pub(super) fn is_pending(&self) -> bool {
        let status = label(&self.secret, "status");
        status.starts_with("pending-") || status == "uninstalling"
    }

    /// The manifest of everything that belongs to it.
    pub(super) fn manifest(&self) -> Option<String> {
        let text = self.secret.pointer("/data/release")?.as_str()?;
        Some(unpacked(text)?.get("manifest")?.as_str()?.to_owned())
    }
}

/// Says that a revision did not come to its end, so that Helm may go on from it.
pub(super) async fn mark_failed(objects: &Objects, revision: &Revision, why: &str) -> Result<(), Failure> {
    let unreadable = || Failure::Unexpected("a release that cannot be read".to_owned());
    let mut secret = revision.secret.clone();
    let text = secret.pointer("/data/release").and_then(Value::as_str).ok_or_else(unreadable)?;
    let mut release = unpacked(text).ok_or_else(unreadable)?;
    release["info"]["status"] = json!("failed");
    release["info"]["description"] = json!(why);
    secret["data"]["release"] = json!(packed(&release).ok_or_else(unreadable)?);
    secret["metadata"]["labels"]["status"] = json!("failed");
    secret["apiVersion"] = json!("v1");
    secret["kind"] = json!("Secret");
    let at = objects.find(&revision.key).await?.ok_or(Failure::NotFound)?;
    // Carries the version that was read: whoever wrote meanwhile knows better.
    objects.replace(&at, &secret).await.map(drop)
}

/// Whether a request is about what Helm writes down, and not about what it manages.
pub(super) fn is_about_releases(path: &str, sent: &Value) -> bool {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let Some((_, last)) = path.rsplit_once("/secrets") else { return false };
    match last.strip_prefix('/') {
        Some(name) => name.starts_with(PREFIX),
        None if !last.is_empty() => false,
        // Asked for by Helm's labels, or made.
        None if sent.is_null() => query.contains("owner%3Dhelm") || query.contains("owner=helm"),
        None => key("", sent).name.starts_with(PREFIX),
    }
}

/// Base64 around base64 around gzip around JSON.
fn unpacked(text: &str) -> Option<Value> {
    let packed = STANDARD.decode(STANDARD.decode(text).ok()?).ok()?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice()).take(UNPACKED_MAX).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

fn packed(release: &Value) -> Option<String> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(release.to_string().as_bytes()).ok()?;
    Some(STANDARD.encode(STANDARD.encode(packer.finish().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_packed_as_it_was() {
        let release = json!({ "name": "buoy", "info": { "status": "deployed" }, "manifest": "kind: A\n" });
        let text = packed(&release).unwrap();
        assert_eq!(unpacked(&text).unwrap(), release);
        let secret = json!({ "metadata": { "name": "x", "labels": { "status": "pending-upgrade" } }, "data": { "release": text } });
        let revision = Revision { key: key("n", &secret), secret };
        assert!(revision.is_pending() && !revision.is_deployed());
        assert_eq!(revision.manifest().unwrap(), "kind: A\n");
        assert!(unpacked("").is_none() && unpacked("AAAA").is_none());
    }

    #[test]
    fn releases_are_told_from_secrets() {
        let (secret, none) = (json!({"metadata": {"name": "sh.helm.release.v1.buoy.v1"}}), json!(null));
        for (path, sent, expected) in [
            ("/api/v1/namespaces/n/secrets/sh.helm.release.v1.buoy.v1", &none, true),
            ("/api/v1/namespaces/n/secrets?labelSelector=name%3Dbuoy%2Cowner%3Dhelm", &none, true),
            ("/api/v1/namespaces/n/secrets", &secret, true),
            ("/api/v1/namespaces/n/secrets", &json!({}), false),
            ("/api/v1/namespaces/n/secrets", &none, false),
            ("/api/v1/namespaces/n/secrets/password", &none, false),
            ("/api/v1/namespaces/n/configmaps", &secret, false),
        ] {
            assert_eq!(is_about_releases(path, sent), expected, "{path}");
        }
    }
}
