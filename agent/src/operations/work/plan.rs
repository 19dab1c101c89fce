//! What is to be done: an order with its body read, and the order of its objects.

use std::collections::HashSet;

use roadstead_contracts::operation::{CHART_FILE, HelmAction, OBJECTS_MAX, ObjectKey, Restore, Work};
use roadstead_contracts::{Code, Error};
use roadstead_manifest::Document;

use super::number;
use crate::operations::ledger::Head;
use crate::operations::order::Order;

/// An order with its body read.
#[derive(Debug)]
pub(in crate::operations) struct Plan {
    pub(in crate::operations) order: Order,
    pub(super) documents: Vec<Document>,
    pub(super) restores: Vec<Restore>,
    /// Keys of the documents, of the restores, or of the one object.
    pub(super) keys: Vec<ObjectKey>,
    /// Files of a chart's install.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The body cannot be read.
    pub(in crate::operations) fault: Option<Error>,
}

impl Plan {
    /// Reads the body, beside the sessions' thread.
    pub(in crate::operations) async fn read(order: Order) -> Result<Self, Error> {
        let read = tokio::task::spawn_blocking(move || {
            let mut plan = Self {
                order,
                documents: Vec::new(),
                restores: Vec::new(),
                keys: Vec::new(),
                files: Vec::new(),
                fault: None,
            };
            plan.fault = plan.fill().err();
            plan.order.body = Vec::new();
            plan
        });
        read.await.map_err(|_| Error::of(Code::Internal))
    }

    fn fill(&mut self) -> Result<(), Error> {
        match &self.order.head.work {
            Work::Apply { namespace, .. } | Work::Delete { namespace, .. } | Work::Sync { namespace, .. } => {
                self.documents = roadstead_manifest::parse(&self.order.body)?;
                self.keys = roadstead_manifest::keys(&self.documents, namespace.as_deref())?;
            }
            Work::Undo { .. } => {
                self.restores = restores(&self.order.body)?;
                self.keys = self.restores.iter().map(|restore| restore.key.clone()).collect();
            }
            Work::Scale { object, .. } | Work::Restart { object, .. } | Work::Rollback { object, .. } => {
                self.keys = vec![object.clone()];
            }
            Work::Helm { action: HelmAction::Install, .. } => {
                self.files = chart_files(&self.order.body)?;
                return Ok(());
            }
            Work::Exec { .. } | Work::Helm { .. } => return Ok(()),
        }
        if self.keys.is_empty() {
            return Err(Error::new(Code::Validation, "the body holds no objects"));
        }
        Ok(())
    }

    /// First line of its ledger.
    pub(in crate::operations) fn head(&self) -> Head {
        Head {
            operation_id: self.order.head.operation_id,
            epoch: self.order.head.epoch,
            kind: self.order.head.work.kind(),
            digest: self.order.digest.clone(),
            user: self.order.person.user().to_owned(),
            objects: self.objects(),
        }
    }

    /// Objects that are worked on.
    pub(in crate::operations) fn objects(&self) -> u32 {
        u32::try_from(self.positions().len()).unwrap_or(u32::MAX)
    }

    /// Positions in the order of the work.
    pub(super) fn positions(&self) -> Vec<usize> {
        let mut positions = match &self.order.head.work {
            Work::Delete { .. } => roadstead_manifest::delete_order(&self.keys),
            // In the order in which the hub wrote them.
            Work::Undo { .. } => (0..self.keys.len()).collect(),
            _ => roadstead_manifest::apply_order(&self.keys),
        };
        if let Some(only) = &self.order.head.only {
            let only: HashSet<u32> = only.iter().copied().collect();
            positions.retain(|position| only.contains(&number(*position)));
        }
        positions
    }
}

/// A chart and its values. What must not be unpacked is refused here too: the hub's word is not enough for that.
fn chart_files(body: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let files = roadstead_manifest::files(body)?;
    let charts: Vec<&[u8]> = files.iter().filter(|(name, _)| *name == CHART_FILE).map(|(_, bytes)| *bytes).collect();
    let [chart] = charts.as_slice() else {
        return Err(Error::new(Code::ChartRefused, "the order holds no chart, or several"));
    };
    roadstead_manifest::check_chart(chart)?;
    Ok(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect())
}

/// Lines of an undo's body.
fn restores(body: &[u8]) -> Result<Vec<Restore>, Error> {
    let mut restores = Vec::new();
    for (at, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if restores.len() >= OBJECTS_MAX {
            return Err(Error::new(Code::Validation, "the undo has more objects than an operation takes"));
        }
        let restore = serde_json::from_slice(line)
            .map_err(|_| Error::new(Code::Validation, format!("line {} of the undo cannot be read", at + 1)))?;
        restores.push(restore);
    }
    Ok(restores)
}
