//! What belongs together: a ConfigMap that lists the objects of one inventory, read and written as the person.
//!
//! Before anything is applied it lists what it listed and what is new, so that nothing is forgotten by a crash; after the
//! pruning it lists what is there.

use std::collections::BTreeSet;

use roadstead_contracts::operation::{OBJECTS_MAX, ObjectKey};
use roadstead_contracts::{Code, Error};
use serde_json::{Value, json};

use super::work::object_error;
use crate::kubernetes::objects::{Applying, At, Objects};

/// Where inventories lie that belong to no namespace.
const NAMESPACE: &str = "roadstead-system";
const PREFIX: &str = "roadstead-inventory-";
const LABEL: &str = "roadstead.io/inventory";
/// Longest name: what is left of a label's value.
const NAME_MAX: usize = 63;
/// Keys of an inventory in all, those that are to be pruned included. As text they must fit one ConfigMap.
const KEYS_MAX: usize = OBJECTS_MAX + 1_000;
/// Text of an inventory: below what a ConfigMap takes.
const TEXT_MAX: usize = 1_000_000;

/// An inventory that was read.
#[derive(Debug)]
pub(super) struct Inventory {
    at: At,
    name: String,
    /// What it listed before.
    pub(super) listed: BTreeSet<ObjectKey>,
}

impl Inventory {
    /// Reads it; makes the namespace it lies in when that is the hub's own.
    pub(super) async fn open(objects: &Objects, name: &str, namespace: Option<&str>) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let edges = name.starts_with(|it: char| it.is_ascii_alphanumeric())
            && name.ends_with(|it: char| it.is_ascii_alphanumeric());
        if name.len() > NAME_MAX || !edges || !name.bytes().all(plain) {
            return Err(Error::new(
                Code::Validation,
                "an inventory's name is letters, digits, dots and dashes, at most 63",
            ));
        }
        if namespace.is_none() {
            make_namespace(objects).await?;
        }
        let key = config_map(namespace.unwrap_or(NAMESPACE), &format!("{PREFIX}{name}"));
        let at = place(objects, &key).await?;
        let kept = objects.get(&at).await.map_err(|failure| object_error(&failure))?;
        let text = kept.as_ref().and_then(|kept| kept.pointer("/data/objects")).and_then(Value::as_str);
        let mut listed = BTreeSet::new();
        for line in text.unwrap_or_default().lines() {
            let key = serde_json::from_str(line).map_err(|_| {
                let why = format!("the inventory {} cannot be read; remove it to start anew", at.key.name);
                Error::new(Code::Conflict, why)
            })?;
            listed.insert(key);
        }
        Ok(Self { at, name: name.to_owned(), listed })
    }

    /// Writes what it lists from now on.
    pub(super) async fn write(&self, objects: &Objects, keys: &BTreeSet<ObjectKey>) -> Result<(), Error> {
        let text = keys
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Error::of(Code::Internal))?
            .join("\n");
        if keys.len() > KEYS_MAX || text.len() > TEXT_MAX {
            return Err(Error::new(Code::Validation, "the inventory lists more objects than one ConfigMap holds"));
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.at.key.name,
                "namespace": self.at.key.namespace,
                "labels": { "app.kubernetes.io/managed-by": "roadstead", LABEL: self.name },
            },
            "data": { "objects": text },
        });
        let how = Applying { dry_run: false, force: true };
        objects.apply(&self.at, &object, how).await.map(drop).map_err(|failure| object_error(&failure))
    }
}

async fn make_namespace(objects: &Objects) -> Result<(), Error> {
    let key = ObjectKey {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: NAMESPACE.to_owned(),
    };
    let at = place(objects, &key).await?;
    // Who may not look at namespaces may still write into this one.
    if !matches!(objects.get(&at).await, Ok(None)) {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": NAMESPACE, "labels": { "app.kubernetes.io/managed-by": "roadstead" } },
    });
    objects.apply(&at, &object, Applying::default()).await.map(drop).map_err(|failure| object_error(&failure))
}

async fn place(objects: &Objects, key: &ObjectKey) -> Result<At, Error> {
    let found = objects.find(key).await.map_err(|failure| object_error(&failure))?;
    found.ok_or_else(|| Error::new(Code::AgentError, "the cluster does not have its own kinds"))
}

fn config_map(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}
