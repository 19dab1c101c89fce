//! Walks an exported chain and names the first row that is not as it was written.

use std::collections::BTreeMap;
use std::fmt;

use roadstead_contracts::audit::{AuditCheckpoint, AuditRow, AuditStart};

use super::{row_hash, verify_checkpoint};
use crate::ed25519::PublicKey;

/// Checkpoints that are kept at once: a signature every thousand rows makes this a hundred million rows.
const CHECKPOINTS_MAX: usize = 100_000;

/// What is wrong first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The row's text or number is not what was hashed.
    Edited {
        /// Number of the row.
        row: i64,
    },
    /// The row was hashed again after it was changed: the next one still follows the old one.
    Replaced {
        /// Number of the row.
        row: i64,
    },
    /// The row is not there.
    Removed {
        /// Number of the first missing row.
        row: i64,
    },
    /// The row stands somewhere else.
    Swapped {
        /// Number of the row that should stand there.
        row: i64,
    },
    /// Rows up to a checkpoint were written anew: every hash fits, the signature does not.
    Rewritten {
        /// First row that may have been changed: the one after the last good checkpoint.
        row: i64,
        /// Number of the checkpoint that does not fit.
        checkpoint: i64,
    },
    /// The chain ends before a checkpoint.
    Cut {
        /// First row that is missing.
        row: i64,
        /// Number of the checkpoint.
        checkpoint: i64,
    },
    /// A checkpoint is not signed by the key.
    Forged {
        /// Its number.
        checkpoint: i64,
    },
}

impl Fault {
    /// Number of the first row that is not as it was written.
    pub fn row(&self) -> i64 {
        match self {
            Self::Edited { row }
            | Self::Replaced { row }
            | Self::Removed { row }
            | Self::Swapped { row }
            | Self::Rewritten { row, .. }
            | Self::Cut { row, .. } => *row,
            Self::Forged { checkpoint } => *checkpoint,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { row } => write!(f, "row {row} was edited: its hash is not that of its text"),
            Self::Replaced { row } => write!(f, "row {row} was replaced: row {} follows another one", row + 1),
            Self::Removed { row } => write!(f, "row {row} was removed"),
            Self::Swapped { row } => write!(f, "row {row} was moved: another one stands in its place"),
            Self::Rewritten { row, checkpoint } => {
                write!(f, "rows from {row} on were written anew: the checkpoint of row {checkpoint} does not fit")
            }
            Self::Cut { row, checkpoint } => {
                write!(f, "the tail was cut: row {row} is missing, and a checkpoint of row {checkpoint} is signed")
            }
            Self::Forged { checkpoint } => write!(f, "the checkpoint of row {checkpoint} is not signed by the key"),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Rows that were looked at.
    pub rows: u64,
    /// First and last number, when there was a row.
    pub range: Option<(i64, i64)>,
    /// Checkpoints that fit.
    pub checkpoints: u64,
    /// Number of the last row that a checkpoint covers: what comes after it could still be cut unseen.
    pub sealed_to: i64,
    /// What is wrong first.
    pub fault: Option<Fault>,
}

/// Checks rows in their order. Feed it checkpoints first (those from elsewhere too), then rows, then [`Verifier::finish`].
#[derive(Debug)]
pub struct Verifier {
    key: Option<PublicKey>,
    next: i64,
    hash: String,
    checkpoints: BTreeMap<i64, String>,
    /// A row stood where another was expected: removed or swapped, which shows when the expected one turns up later.
    gap: Option<i64>,
    report: Report,
}

impl Verifier {
    /// Begins after a row: the last that retention removed, or none (`seq` 0). Without a key signatures are not looked at.
    pub fn new(start: &AuditStart, key: Option<PublicKey>) -> Self {
        Self {
            key,
            next: start.seq.saturating_add(1),
            hash: start.hash.clone(),
            checkpoints: BTreeMap::new(),
            gap: None,
            report: Report { rows: 0, range: None, checkpoints: 0, sealed_to: start.seq, fault: None },
        }
    }

    /// Takes a checkpoint in. One that is met after its row is checked when the rows are over.
    pub fn checkpoint(&mut self, checkpoint: &AuditCheckpoint) {
        if self.report.fault.is_some() || self.checkpoints.len() >= CHECKPOINTS_MAX {
            return;
        }
        if let Some(key) = &self.key
            && verify_checkpoint(checkpoint, key).is_err()
        {
            self.report.fault = Some(Fault::Forged { checkpoint: checkpoint.seq });
            return;
        }
        if checkpoint.seq < self.next {
            // Of a row that is behind us: only the last one's hash is still known.
            let fits = checkpoint.seq < self.next - 1 || checkpoint.hash == self.hash;
            if !fits {
                let row = self.report.sealed_to.saturating_add(1).min(checkpoint.seq);
                self.report.fault = Some(Fault::Rewritten { row, checkpoint: checkpoint.seq });
            } else if checkpoint.seq == self.next - 1 && self.report.rows > 0 {
                self.sealed(checkpoint.seq);
            }
            return;
        }
        // Two that differ: a trail that was put back went on and signed the same number again. No row is both, and no hash is
        // empty, so the row is where it shows.
        let known = self.checkpoints.entry(checkpoint.seq).or_insert_with(|| checkpoint.hash.clone());
        if *known != checkpoint.hash {
            known.clear();
        }
    }

    /// Takes the next row in.
    pub fn row(&mut self, row: &AuditRow) {
        self.report.rows += 1;
        if self.report.fault.is_some() {
            return;
        }
        if let Some(gap) = self.gap {
            if row.seq == gap {
                self.report.fault = Some(Fault::Swapped { row: gap });
            }
            return;
        }
        if row.seq != self.next {
            // A number that was there already stands in the place of the expected one.
            if row.seq < self.next {
                self.report.fault = Some(Fault::Swapped { row: self.next });
            } else {
                self.gap = Some(self.next);
            }
            return;
        }
        match row_hash(&row.prev, row.seq, row.record.get()) {
            Ok(hash) if hash == row.hash => {}
            _ => {
                self.report.fault = Some(Fault::Edited { row: row.seq });
                return;
            }
        }
        if row.prev != self.hash {
            // The first row after the start cannot blame one before it.
            let first = self.report.range.is_none();
            let fault =
                if first { Fault::Edited { row: row.seq } } else { Fault::Replaced { row: row.seq.saturating_sub(1) } };
            self.report.fault = Some(fault);
            return;
        }
        if let Some(signed) = self.checkpoints.remove(&row.seq) {
            if signed != row.hash {
                let from = self.report.sealed_to.saturating_add(1);
                self.report.fault = Some(Fault::Rewritten { row: from, checkpoint: row.seq });
                return;
            }
            self.sealed(row.seq);
        }
        self.hash.clone_from(&row.hash);
        self.next = row.seq.saturating_add(1);
        self.report.range = Some((self.report.range.map_or(row.seq, |(first, _)| first), row.seq));
    }

    fn sealed(&mut self, seq: i64) {
        self.report.checkpoints += 1;
        self.report.sealed_to = self.report.sealed_to.max(seq);
    }

    /// The rows are over.
    pub fn finish(mut self) -> Report {
        if self.report.fault.is_none() {
            if let Some(row) = self.gap {
                self.report.fault = Some(Fault::Removed { row });
            } else if let Some((checkpoint, _)) = self.checkpoints.range(self.next..).next_back() {
                self.report.fault = Some(Fault::Cut { row: self.next, checkpoint: *checkpoint });
            }
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::super::GENESIS;
    use super::*;

    fn start() -> AuditStart {
        AuditStart { seq: 0, hash: GENESIS.to_owned() }
    }

    #[test]
    fn each_fault_says_its_row() {
        for (fault, row, words) in [
            (Fault::Edited { row: 7 }, 7, "row 7 was edited"),
            (Fault::Replaced { row: 7 }, 7, "row 7 was replaced: row 8 follows another one"),
            (Fault::Removed { row: 7 }, 7, "row 7 was removed"),
            (Fault::Swapped { row: 7 }, 7, "row 7 was moved"),
            (
                Fault::Rewritten { row: 7, checkpoint: 9 },
                7,
                "rows from 7 on were written anew: the checkpoint of row 9",
            ),
            (Fault::Cut { row: 7, checkpoint: 9 }, 7, "row 7 is missing, and a checkpoint of row 9"),
            (Fault::Forged { checkpoint: 9 }, 9, "the checkpoint of row 9 is not signed by the key"),
        ] {
            assert_eq!(fault.row(), row, "{fault:?}");
            assert!(fault.to_string().contains(words), "{fault}");
        }
    }

    #[test]
    fn checkpoints_are_kept_up_to_their_bound() {
        let at = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut verifier = Verifier::new(&start(), None);
        let take = |verifier: &mut Verifier, seq| {
            verifier.checkpoint(&AuditCheckpoint { seq, hash: "h".to_owned(), at, signed: String::new() });
            verifier.checkpoints.len()
        };
        for seq in 1..CHECKPOINTS_MAX {
            take(&mut verifier, i64::try_from(seq).unwrap());
        }
        assert_eq!(take(&mut verifier, 1_000_000), CHECKPOINTS_MAX);
        assert_eq!(take(&mut verifier, 2_000_000), CHECKPOINTS_MAX);
    }
}
