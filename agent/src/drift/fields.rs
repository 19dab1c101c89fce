//! Which fields of an object an operation applied, a digest of each, and whether they are still so.
//!
//! The API server says which fields are whose (`metadata.managedFields`, a tree whose names begin with what they are: `f:` a
//! field, `k:` the element of a list with these keys, `v:` a value of a set, `i:` a place, `.` the thing itself). A field of
//! ours is remembered as its path in that tree and a keyed digest of its value, never as the value.

use std::collections::BTreeSet;

use roadstead_contracts::drift::{DriftedField, FIELD_TEXT_MAX, FIELDS_MAX};
use roadstead_contracts::operation::{FIELD_MANAGER, ObjectKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::operations::hex;

/// Fields that are remembered of one object: a large Deployment has two hundred. Of more only the first are watched.
const REMEMBERED_MAX: usize = 1_000;
/// Deepest field: as deep as manifests may be, and room for the segments of lists.
const DEPTH_MAX: usize = 256;
/// Between the segments of a path. No name of a field holds one; inside keys of lists JSON escapes it.
const BETWEEN: char = '\t';
/// Characters of a digest: 96 bits tell two values of one field apart.
const DIGEST_LENGTH: usize = 24;
/// Who writes what Helm installs.
const HELM: &str = "helm";

/// Makes digests of values.
///
/// With a key, and over the object and the path too: whoever has only the list cannot tell which values are equal, nor try
/// out guesses of what a Secret holds. (Who reads the key beside it reads as the agent's own user, for whom the ledger has
/// earlier states as they are.) Sixteen bytes of key would do; there are 32.
#[derive(Clone)]
pub(crate) struct DigestKey(pub(super) [u8; 32]);

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl DigestKey {
    fn digest(&self, key: &ObjectKey, path: &str, value: Option<&Value>) -> String {
        let mut inner = Sha256::new();
        inner.update(self.0);
        for part in [key.kind.as_str(), key.namespace.as_deref().unwrap_or_default(), key.name.as_str(), path] {
            inner.update(part.as_bytes());
            inner.update([0]);
        }
        match value {
            None => inner.update(b"-"),
            Some(value) => {
                let mut text = String::from("+");
                canonical(value, &mut text);
                inner.update(text.as_bytes());
            }
        }
        // Hashed again with the key: nothing can be appended to what was hashed first.
        let outer = Sha256::new().chain_update(self.0).chain_update(inner.finalize()).finalize();
        let mut digest = hex(&outer);
        digest.truncate(DIGEST_LENGTH);
        digest
    }
}

/// A value as text that depends on nothing but the value: members in the order of their names.
fn canonical(value: &Value, out: &mut String) {
    use std::fmt::Write as _;
    match value {
        Value::Object(members) => {
            let names: BTreeSet<&String> = members.keys().collect();
            out.push('{');
            for name in names {
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                canonical(&members[name], out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// A field that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Field(String, String);

/// The fields of an object that are ours, as they are now. Of what Helm did Helm's are ours too.
pub(super) fn ours(object: &Value, at: &ObjectKey, by_helm: bool, key: &DigestKey) -> Vec<Field> {
    let mut paths = BTreeSet::new();
    for entry in entries(object) {
        let manager = entry.get("manager").and_then(Value::as_str).unwrap_or_default();
        let same_version = entry.get("apiVersion").is_none_or(|version| object.get("apiVersion") == Some(version));
        if same_version && (manager == FIELD_MANAGER || (by_helm && manager == HELM)) {
            let mut path = String::new();
            if let Some(tree) = entry.get("fieldsV1") {
                leaves(tree, &mut path, 0, &mut paths);
            }
        }
    }
    let paths = paths.into_iter().take(REMEMBERED_MAX);
    paths
        .map(|path| {
            let digest = key.digest(at, &path, value_at(object, &path).as_ref());
            Field(path, digest)
        })
        .collect()
}

/// Fields that are not as they were applied: the first of them, and how many more.
pub(super) fn differing(fields: &[Field], live: &Value, at: &ObjectKey, key: &DigestKey) -> (Vec<DriftedField>, u32) {
    let differs = |field: &&Field| key.digest(at, &field.0, value_at(live, &field.0).as_ref()) != field.1;
    let (mut named, mut more) = (Vec::new(), 0);
    for Field(path, _) in fields.iter().filter(differs) {
        if named.len() < FIELDS_MAX {
            named.push(DriftedField { path: shown(path), manager: manager_of(live, path) });
        } else {
            more += 1;
        }
    }
    (named, more)
}

/// Fields as they are remembered after a work set what stands at `set` (names from the top) and nothing else: that is as it
/// is `after`, everything else as it was left before. What had drifted has drifted still.
pub(super) fn refreshed(
    fields: Vec<Field>,
    set: &[&str],
    (before, after): (Option<&Value>, &Value),
    at: &ObjectKey,
    key: &DigestKey,
) -> Vec<Field> {
    let set = set.iter().map(|name| format!("f:{name}")).collect::<Vec<_>>().join(&BETWEEN.to_string());
    let is_below = |path: &str, above: &str| path.strip_prefix(above).is_some_and(|rest| rest.starts_with(BETWEEN));
    let refresh = |Field(path, digest): Field| {
        let of = |object: &Value| key.digest(at, &path, value_at(object, &path).as_ref());
        // A field that holds more than what was set must have been as it was left.
        let is_set = path == set
            || is_below(&path, &set)
            || (is_below(&set, &path) && before.is_some_and(|before| of(before) == digest));
        let digest = if is_set { of(after) } else { digest };
        Field(path, digest)
    };
    fields.into_iter().map(refresh).collect()
}

/// Who manages what, but for what controllers report.
fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    let all = object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice);
    let reports = |entry: &&Value| entry.get("subresource").is_some_and(|below| below == "status");
    all.unwrap_or_default().iter().filter(move |entry| !reports(entry))
}

/// Collects the paths at which the tree ends.
fn leaves(tree: &Value, path: &mut String, depth: usize, out: &mut BTreeSet<String>) {
    let below = tree.as_object().into_iter().flatten().filter(|(name, _)| *name != ".");
    let mut is_leaf = true;
    for (name, tree) in below {
        is_leaf = false;
        if depth >= DEPTH_MAX || (depth == 0 && name == "f:status") {
            continue;
        }
        let length = path.len();
        if length > 0 {
            path.push(BETWEEN);
        }
        path.push_str(name);
        leaves(tree, path, depth + 1, out);
        path.truncate(length);
    }
    if is_leaf && depth > 0 {
        // Only the thing itself is ours, not what others put into it.
        if tree.get(".").is_some() {
            path.push(BETWEEN);
            path.push('.');
            out.insert(path.clone());
            path.truncate(path.len() - 2);
        } else {
            out.insert(path.clone());
        }
    }
}

/// What stands at a path; where only the thing itself counts, that it is there.
fn value_at(object: &Value, path: &str) -> Option<Value> {
    let mut here = object;
    for segment in path.split(BETWEEN) {
        here = match segment.split_at_checked(2) {
            Some(("f:", name)) => here.get(name)?,
            Some(("k:", keys)) => {
                let keys: Value = serde_json::from_str(keys).ok()?;
                let keys = keys.as_object()?;
                here.as_array()?.iter().find(|item| keys.iter().all(|(name, value)| item.get(name) == Some(value)))?
            }
            Some(("v:", value)) => {
                let value: Value = serde_json::from_str(value).ok()?;
                here.as_array()?.iter().find(|item| **item == value)?
            }
            Some(("i:", place)) => here.get(place.parse::<usize>().ok()?)?,
            _ if segment == "." => return Some(Value::Bool(true)),
            _ => return None,
        };
    }
    Some(here.clone())
}

/// Who manages a field, whoever wrote last where several do.
fn manager_of(object: &Value, path: &str) -> Option<String> {
    let holds = |entry: &&Value| {
        let Some(mut tree) = entry.get("fieldsV1") else { return false };
        for segment in path.split(BETWEEN) {
            match tree.get(segment) {
                Some(below) => tree = below,
                // A leaf above it is all of what is below.
                None => return tree.as_object().is_some_and(serde_json::Map::is_empty),
            }
        }
        true
    };
    let time = |entry: &&Value| entry.get("time").and_then(Value::as_str).unwrap_or_default().to_owned();
    let last = entries(object).filter(holds).max_by_key(time)?;
    Some(cut(last.get("manager").and_then(Value::as_str)?))
}

/// A path as people write it.
fn shown(path: &str) -> String {
    let mut text = String::new();
    for segment in path.split(BETWEEN) {
        match segment.split_at_checked(2) {
            Some(("f:", name))
                if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) =>
            {
                text.push('.');
                text.push_str(name);
            }
            Some(("f:", name)) => text.extend(["[", format!("{name:?}").as_str(), "]"]),
            Some(("k:", keys)) => {
                let keys: Value = serde_json::from_str(keys).unwrap_or_default();
                let pairs = keys.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
                text.extend(["[", pairs.collect::<Vec<_>>().join(",").as_str(), "]"]);
            }
            // The value itself is not told.
            Some(("v:", _)) => text.push_str("[…]"),
            Some(("i:", place)) => text.extend(["[", place, "]"]),
            _ => {}
        }
    }
    cut(&text)
}

fn cut(text: &str) -> String {
    let mut out: String = text.chars().filter(|character| !character.is_control()).collect();
    let end = (0..=out.len().min(FIELD_TEXT_MAX)).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
    out.truncate(end);
    out
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
