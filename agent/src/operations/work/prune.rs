//! Removes what an inventory lists and the body does not hold any more.

use std::collections::BTreeSet;

use roadstead_contracts::Error;
use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, ObjectResult, Work};
use serde_json::Value;

use super::delete::dependents;
use super::{Halt, Job, Stop, number};
use crate::kubernetes::objects::Objects;
use crate::operations::inventory::Inventory;

/// Annotations that keep an object: ours, and Helm's.
const KEEP: [(&str, &str); 2] =
    [("/metadata/annotations/roadstead.io~1prune", "keep"), ("/metadata/annotations/helm.sh~1resource-policy", "keep")];

/// An inventory, and whether to prune by it.
pub(super) struct Kept {
    inventory: Inventory,
    prune: bool,
}

impl Job {
    /// Reads the inventory of an apply and lists the new objects in it, before any of them is applied.
    pub(super) async fn open_inventory(&mut self, objects: &Objects) -> Result<Option<Kept>, Error> {
        let Work::Apply { namespace, dry_run, prune, inventory, .. } = self.plan.order.head.work.clone() else {
            return Ok(None);
        };
        let Some(name) = prune.as_ref().or(inventory.as_ref()) else { return Ok(None) };
        if dry_run && prune.is_none() {
            return Ok(None);
        }
        let inventory = Inventory::open(objects, name, namespace.as_deref()).await?;
        if !dry_run {
            let mut listed = inventory.listed.clone();
            listed.extend(self.plan.keys.iter().cloned());
            if listed != inventory.listed {
                inventory.write(objects, &listed).await?;
            }
        }
        Ok(Some(Kept { inventory, prune: prune.is_some() }))
    }

    /// Prunes when everything was applied, and lists what is there now. What a stop leaves is skipped, and listed still.
    pub(super) async fn prune(&mut self, objects: &Objects, kept: Kept) -> Result<(Option<Stop>, Option<Error>), Halt> {
        let Kept { inventory, prune } = kept;
        let dry_run = self.plan.order.head.work.is_dry_run();
        if self.ledger.story.finished.values().any(|outcome| *outcome == ObjectOutcome::Failed) {
            return Ok((None, None));
        }
        let mut body = BTreeSet::new();
        for key in &self.plan.keys {
            body.insert(resolved(objects, key).await);
        }
        let mut gone = Vec::new();
        for key in &inventory.listed {
            if !body.contains(&resolved(objects, key).await) {
                gone.push(key.clone());
            }
        }
        let mut listed: BTreeSet<ObjectKey> = self.plan.keys.iter().cloned().collect();
        if prune {
            let first = self.plan.keys.len();
            let (mut stop, mut skipped) = (None, Vec::new());
            for (at, index) in roadstead_manifest::delete_order(&gone).into_iter().enumerate() {
                let Some(key) = gone.get(index).cloned() else { continue };
                let position = first + at;
                self.plan.keys.push(key.clone());
                if !self.ledger.story.finished.contains_key(&number(position)) {
                    if stop.is_none() {
                        stop = self.stop()?;
                    }
                    if stop.is_some() {
                        skipped.push(self.result(position, ObjectOutcome::Skipped));
                        continue;
                    }
                    let result = self.prune_one(objects, position, dry_run).await?;
                    self.finish(vec![result]).await?;
                }
                let outcome = self.ledger.story.finished.get(&number(position));
                if !matches!(outcome, Some(ObjectOutcome::Deleted | ObjectOutcome::Absent)) {
                    listed.insert(key);
                }
            }
            if stop.is_some() {
                self.finish(skipped).await?;
                return Ok((stop, None));
            }
        } else {
            listed.extend(gone);
        }
        if dry_run {
            return Ok((None, None));
        }
        Ok((None, inventory.write(objects, &listed).await.err()))
    }

    async fn prune_one(&mut self, objects: &Objects, position: usize, dry_run: bool) -> Result<ObjectResult, Halt> {
        let live = match objects.find(self.key(position)).await {
            Ok(Some(at)) => objects.get(&at).await.map(|live| live.map(|live| (at, live))),
            Ok(None) => Ok(None),
            Err(failure) => Err(failure),
        };
        let (at, live) = match live {
            Ok(Some(found)) => found,
            Ok(None) => {
                // Gone: this operation's own work when it was there before.
                let outcome = match self.ledger.before(number(position)).await? {
                    Some(Some(_)) => ObjectOutcome::Deleted,
                    _ => ObjectOutcome::Absent,
                };
                return Ok(self.result(position, outcome));
            }
            Err(failure) => return Ok(self.failed_by(position, &failure)),
        };
        if KEEP.iter().any(|(pointer, word)| live.pointer(pointer).and_then(Value::as_str) == Some(*word)) {
            return Ok(self.result(position, ObjectOutcome::Drifted));
        }
        if dry_run {
            let diff = roadstead_manifest::diff(Some(&live), None);
            return Ok(ObjectResult { diff, ..self.result(position, ObjectOutcome::Deleted) });
        }
        let origin = self.origin(position, Some(&live)).await?.object;
        match objects.delete(&at, &live, dependents(&live), false).await {
            Ok(_) => {
                Ok(ObjectResult { before: origin, undoable: true, ..self.result(position, ObjectOutcome::Deleted) })
            }
            Err(failure) => Ok(self.failed_by(position, &failure)),
        }
    }
}

/// A key as the cluster sees it: its namespace as it really is, and without its version, because an object of another
/// version is the same object.
async fn resolved(objects: &Objects, key: &ObjectKey) -> ObjectKey {
    let mut key = match objects.find(key).await {
        Ok(Some(at)) => at.key,
        _ => key.clone(),
    };
    key.api_version = key.api_version.split_once('/').map_or_else(String::new, |(group, _)| group.to_owned());
    key
}
