//! Drift: what of that which operations applied is not as they left it. An agent watches it and says so in notices; the
//! operations service keeps the latest word of each cluster.
//!
//! A report is the whole state, never a difference: a lost one is made good by the next, a repeated one changes nothing. What
//! does not fit one notice comes in parts of one revision. No report carries a value of a field.

use serde::{Deserialize, Serialize};

use crate::ids::OperationId;
use crate::operation::ObjectKey;

/// Drifted objects that a report names; of more it tells only the number. As JSON some 300 KB at most, so that one message
/// of the queues holds them.
pub const DRIFTED_MAX: usize = 500;
/// Parts of a report: half as many as the tunnel takes notices at once.
pub const PARTS_MAX: u32 = 12;
/// Bytes of a part, below a notice's 32 KiB.
pub const PART_BYTES_MAX: usize = 24 * 1024;
/// Fields that are named of one object.
pub const FIELDS_MAX: usize = 8;
/// Longest text of a field's path, and of a manager's name; longer ones are cut.
pub const FIELD_TEXT_MAX: usize = 256;

/// How an object differs from what an operation left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftState {
    /// Fields that the operation applied have other values, or are gone.
    Changed,
    /// It is not there any more.
    Missing,
}

impl DriftState {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
        }
    }
}

/// A field that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftedField {
    /// `.spec.template.spec.containers[name="shop"].image`.
    pub path: String,
    /// Who manages it now; none: nobody, it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
}

/// An object that has drifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftedObject {
    /// Which.
    pub key: ObjectKey,
    /// How.
    pub state: DriftState,
    /// The operation that applied it last.
    pub operation_id: OperationId,
    /// What differs, the first [`FIELDS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<DriftedField>,
    /// How many more do.
    #[serde(default)]
    pub more_fields: u32,
}

/// Figures of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriftCounts {
    /// Objects that are remembered.
    pub remembered: u32,
    /// Objects that have drifted, those that the report does not name included.
    pub drifted: u32,
    /// Objects that the agent cannot look at: the cluster's own rules do not let it.
    pub unseen: u32,
    /// Objects that were applied and not remembered, because as many are as may be.
    pub left_out: u32,
}

/// Part of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftPart {
    /// Rises with each report of a session.
    pub revision: u64,
    /// Which part, from 0.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// Of the whole report.
    pub counts: DriftCounts,
    /// Objects of this part, by key.
    #[serde(default)]
    pub objects: Vec<DriftedObject>,
}

/// A whole report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftReport {
    /// Rises with each report of a session.
    pub revision: u64,
    /// Figures.
    pub counts: DriftCounts,
    /// Objects that have drifted, by key; at most [`DRIFTED_MAX`].
    pub objects: Vec<DriftedObject>,
}

impl DriftReport {
    /// Cuts it into parts that a notice holds each. What does not fit them is not named.
    pub fn parts(self) -> Vec<DriftPart> {
        let Self { revision, counts, objects } = self;
        let mut parts: Vec<Vec<DriftedObject>> = vec![Vec::new()];
        let mut length = 0;
        for object in objects.into_iter().take(DRIFTED_MAX) {
            let own = serde_json::to_vec(&object).map_or(PART_BYTES_MAX, |text| text.len() + 1);
            if own > PART_BYTES_MAX {
                continue;
            }
            if length + own > PART_BYTES_MAX {
                if parts.len() >= PARTS_MAX as usize {
                    break;
                }
                parts.push(Vec::new());
                length = 0;
            }
            length += own;
            if let Some(part) = parts.last_mut() {
                part.push(object);
            }
        }
        let all = u32::try_from(parts.len()).unwrap_or(PARTS_MAX);
        let numbered = (0..).zip(parts);
        numbered.map(|(part, objects)| DriftPart { revision, part, parts: all, counts, objects }).collect()
    }
}

/// Puts the parts of a report together. Parts of one revision come in their order; what does not begins anew.
#[derive(Debug, Default)]
pub struct DriftParts {
    so_far: DriftReport,
    next: u32,
}

impl DriftParts {
    /// Takes a part; gives the report with its last one.
    pub fn add(&mut self, part: DriftPart) -> Option<DriftReport> {
        if part.part == 0 {
            *self = Self { so_far: DriftReport { revision: part.revision, ..DriftReport::default() }, next: 0 };
        }
        let fits = part.part == self.next
            && part.revision == self.so_far.revision
            && part.parts <= PARTS_MAX
            && part.part < part.parts
            && self.so_far.objects.len() + part.objects.len() <= DRIFTED_MAX;
        if !fits {
            *self = Self { next: u32::MAX, ..Self::default() };
            return None;
        }
        self.so_far.objects.extend(part.objects);
        self.so_far.counts = part.counts;
        self.next += 1;
        (self.next == part.parts).then(|| std::mem::take(self).so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(number: usize, fields: usize) -> DriftedObject {
        DriftedObject {
            key: ObjectKey {
                api_version: "v1".to_owned(),
                kind: "ConfigMap".to_owned(),
                namespace: Some("shop".to_owned()),
                name: format!("c-{number:04}"),
            },
            state: DriftState::Changed,
            operation_id: "0198c5b0-0000-7000-8000-000000000001".parse().unwrap(),
            fields: vec![
                DriftedField { path: "x".repeat(FIELD_TEXT_MAX), manager: Some("kubectl".to_owned()) };
                fields
            ],
            more_fields: 0,
        }
    }

    fn report(objects: usize, fields: usize) -> DriftReport {
        let objects: Vec<_> = (0..objects).map(|number| object(number, fields)).collect();
        let drifted = u32::try_from(objects.len()).unwrap();
        DriftReport { revision: 7, counts: DriftCounts { drifted, ..DriftCounts::default() }, objects }
    }

    #[test]
    fn a_report_survives_its_parts() {
        for (objects, fields) in [(0, 0), (1, FIELDS_MAX), (100, 1), (80, FIELDS_MAX)] {
            let whole = report(objects, fields);
            let parts = whole.clone().parts();
            for part in &parts {
                assert!(serde_json::to_vec(part).unwrap().len() < 32 * 1024 - 256);
            }
            let mut together = DriftParts::default();
            let last = parts.len() - 1;
            for (number, part) in parts.into_iter().enumerate() {
                // What is broken off begins anew.
                if number == 0 {
                    assert_eq!(together.add(DriftPart { part: 1, parts: 3, ..part.clone() }), None);
                }
                let read = together.add(part);
                assert_eq!(read.is_some(), number == last);
                if let Some(read) = read {
                    assert_eq!(read, whole);
                }
            }
        }
    }

    #[test]
    fn more_than_fits_is_counted_and_not_named() {
        let parts = report(2_000, FIELDS_MAX).parts();
        assert_eq!(parts.len(), PARTS_MAX as usize);
        let mut together = DriftParts::default();
        let read = parts.into_iter().find_map(|part| together.add(part)).unwrap();
        assert!(read.objects.len() < DRIFTED_MAX && read.counts.drifted == 2_000);
        assert!(serde_json::to_vec(&read).unwrap().len() < 700 * 1024);
    }

    #[test]
    fn parts_out_of_order_are_no_report() {
        let parts = report(200, FIELDS_MAX).parts();
        assert!(parts.len() > 2);
        let mut together = DriftParts::default();
        for part in parts.iter().rev() {
            assert_eq!(together.add(part.clone()), None);
        }
        let mut many = parts[0].clone();
        many.parts = u32::MAX;
        assert_eq!(together.add(many), None);
    }
}
