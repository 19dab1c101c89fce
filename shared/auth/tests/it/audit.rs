//! Row L03: an audit row edited, deleted, swapped, the last rows cut, the table emptied.

use chrono::{DateTime, Utc};
use roadstead_auth::audit::{CheckpointKey, Fault, GENESIS, Report, Verifier, row_hash};
use roadstead_auth::ed25519::{PrivateKey, PublicKey};
use roadstead_contracts::audit::{AuditCheckpoint, AuditRow, AuditStart};
use serde_json::value::RawValue;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn row(prev: &str, seq: i64, text: &str) -> AuditRow {
    let record = RawValue::from_string(text.to_owned()).unwrap();
    AuditRow { seq, prev: prev.to_owned(), hash: row_hash(prev, seq, text).unwrap(), record }
}

/// Rows from `first` on, chained.
fn chained(mut prev: String, first: i64, count: i64) -> Vec<AuditRow> {
    (first..first + count)
        .map(|seq| {
            let made = row(&prev, seq, &format!(r#"{{"n":{seq}}}"#));
            prev.clone_from(&made.hash);
            made
        })
        .collect()
}

fn feed(verifier: &mut Verifier, checkpoints: &[AuditCheckpoint], rows: &[AuditRow]) {
    for checkpoint in checkpoints {
        verifier.checkpoint(checkpoint);
    }
    for row in rows {
        verifier.row(row);
    }
}

struct Chain {
    key: CheckpointKey,
    rows: Vec<AuditRow>,
    checkpoints: Vec<AuditCheckpoint>,
}

impl Chain {
    /// Twenty rows, a checkpoint every five.
    fn new() -> Self {
        let key = CheckpointKey::new(PrivateKey::generate().unwrap());
        let rows = chained(GENESIS.to_owned(), 1, 20);
        let checkpoints = rows
            .iter()
            .filter(|row| row.seq % 5 == 0)
            .map(|row| key.sign(row.seq, &row.hash, now()).unwrap())
            .collect();
        Self { key, rows, checkpoints }
    }

    fn verify(&self) -> Report {
        let key = PublicKey::parse(&self.key.public_base64url()).unwrap();
        let mut verifier = Verifier::new(&AuditStart { seq: 0, hash: GENESIS.to_owned() }, Some(key));
        feed(&mut verifier, &self.checkpoints, &self.rows);
        verifier.finish()
    }
}

#[test]
fn l03_an_untouched_chain_is_whole() {
    let report = Chain::new().verify();
    let expected = Report { rows: 20, range: Some((1, 20)), checkpoints: 4, sealed_to: 20, fault: None };
    assert_eq!(report, expected);
}

#[test]
fn l03_an_edited_row_is_named() {
    for (index, seq) in (1..=20).enumerate() {
        let mut chain = Chain::new();
        chain.rows[index].record = RawValue::from_string(r#"{"n":"edited"}"#.to_owned()).unwrap();
        assert_eq!(chain.verify().fault, Some(Fault::Edited { row: seq }));
    }
}

#[test]
fn l03_an_edited_row_that_was_hashed_again_is_named() {
    let mut chain = Chain::new();
    let prev = chain.rows[6].prev.clone();
    chain.rows[6] = row(&prev, 7, r#"{"n":"edited"}"#);
    assert_eq!(chain.verify().fault, Some(Fault::Replaced { row: 7 }));
}

#[test]
fn l03_a_chain_that_was_hashed_again_breaks_at_the_next_checkpoint() {
    let mut chain = Chain::new();
    let prev = chain.rows[6].prev.clone();
    let edited = row(&prev, 7, r#"{"n":"edited"}"#);
    let tail = chained(edited.hash.clone(), 8, 13);
    chain.rows.truncate(6);
    chain.rows.push(edited);
    chain.rows.extend(tail);
    let fault = chain.verify().fault.unwrap();
    assert_eq!(fault, Fault::Rewritten { row: 6, checkpoint: 10 });
}

#[test]
fn l03_a_removed_row_is_named() {
    for (index, seq) in (1..20).enumerate() {
        let mut chain = Chain::new();
        chain.rows.remove(index);
        assert_eq!(chain.verify().fault, Some(Fault::Removed { row: seq }));
    }
}

#[test]
fn l03_swapped_rows_are_named() {
    let mut chain = Chain::new();
    chain.rows.swap(11, 12);
    assert_eq!(chain.verify().fault, Some(Fault::Swapped { row: 12 }));
    let mut chain = Chain::new();
    chain.rows.swap(3, 15);
    assert_eq!(chain.verify().fault, Some(Fault::Swapped { row: 4 }));
    // Contents swapped under their numbers.
    let mut chain = Chain::new();
    let (one, two) = (chain.rows[3].record.clone(), chain.rows[4].record.clone());
    (chain.rows[3].record, chain.rows[4].record) = (two, one);
    assert_eq!(chain.verify().fault, Some(Fault::Edited { row: 4 }));
}

#[test]
fn l03_a_cut_tail_shows_at_a_signed_checkpoint() {
    let mut chain = Chain::new();
    chain.rows.truncate(17);
    assert_eq!(chain.verify().fault, Some(Fault::Cut { row: 18, checkpoint: 20 }));
    chain.rows.clear();
    assert_eq!(chain.verify().fault, Some(Fault::Cut { row: 1, checkpoint: 20 }));
    // What is cut together with every checkpoint about it cannot be seen; the report says how far the signatures reach.
    let mut chain = Chain::new();
    chain.rows.truncate(17);
    chain.checkpoints.truncate(3);
    let report = chain.verify();
    assert_eq!((report.fault, report.sealed_to), (None, 15));
}

#[test]
fn l03_a_forged_checkpoint_is_named() {
    let mut chain = Chain::new();
    let other = CheckpointKey::new(PrivateKey::generate().unwrap());
    chain.checkpoints[1] = other.sign(10, &chain.rows[9].hash, now()).unwrap();
    assert_eq!(chain.verify().fault, Some(Fault::Forged { checkpoint: 10 }));
    let mut chain = Chain::new();
    chain.checkpoints[1].seq = 11;
    assert_eq!(chain.verify().fault, Some(Fault::Forged { checkpoint: 11 }));
}

#[test]
fn a_chain_whose_head_was_removed_by_retention_is_whole() {
    let chain = Chain::new();
    let key = PublicKey::parse(&chain.key.public_base64url()).unwrap();
    let mut verifier = Verifier::new(&AuditStart { seq: 10, hash: chain.rows[9].hash.clone() }, Some(key));
    feed(&mut verifier, &chain.checkpoints, &chain.rows[10..]);
    let report = verifier.finish();
    assert_eq!((report.fault, report.range, report.sealed_to), (None, Some((11, 20)), 20));
}

/// Rows and checkpoints as an export has them: a checkpoint stands behind its row.
fn export(chain: &Chain, after: i64, lag: i64) -> Verifier {
    let key = PublicKey::parse(&chain.key.public_base64url()).unwrap();
    let hash =
        if after == 0 { GENESIS.to_owned() } else { chain.rows[usize::try_from(after).unwrap() - 1].hash.clone() };
    let mut verifier = Verifier::new(&AuditStart { seq: after, hash }, Some(key));
    for row in chain.rows.iter().filter(|row| row.seq > after) {
        verifier.row(row);
        for checkpoint in chain.checkpoints.iter().filter(|checkpoint| checkpoint.seq + lag == row.seq) {
            verifier.checkpoint(checkpoint);
        }
    }
    verifier
}

#[test]
fn checkpoints_behind_their_rows_count() {
    let chain = Chain::new();
    let report = export(&chain, 0, 0).finish();
    assert_eq!((report.fault, report.checkpoints, report.sealed_to), (None, 4, 20));
    // The hash of a row that is further back is not known any more: such a checkpoint says nothing, good or bad.
    for lag in [1, 2] {
        let report = export(&chain, 0, lag).finish();
        assert_eq!((report.fault, report.checkpoints, report.sealed_to), (None, 0, 0), "{lag}");
    }
    // One of the row before the first is compared, and covers nothing that was looked at.
    let key = PublicKey::parse(&chain.key.public_base64url()).unwrap();
    let with = |checkpoint: &AuditCheckpoint| {
        let mut verifier = Verifier::new(&AuditStart { seq: 10, hash: chain.rows[9].hash.clone() }, Some(key));
        verifier.checkpoint(checkpoint);
        verifier.finish()
    };
    let report = with(&chain.checkpoints[1]);
    assert_eq!((report.fault, report.checkpoints, report.sealed_to), (None, 0, 10));
    let odd = chain.key.sign(10, GENESIS, now()).unwrap();
    assert_eq!(with(&odd).fault, Some(Fault::Rewritten { row: 10, checkpoint: 10 }));
}

#[test]
fn l03_a_checkpoint_behind_a_rewritten_row_does_not_fit() {
    let whole = Chain::new();
    for after in [0, 5] {
        let (key, rows, checkpoints) = (whole.key.clone(), whole.rows.clone(), whole.checkpoints.clone());
        let mut chain = Chain { key, rows, checkpoints };
        let prev = chain.rows[6].prev.clone();
        let edited = row(&prev, 7, r#"{"n":"edited"}"#);
        let tail = chained(edited.hash.clone(), 8, 13);
        chain.rows.truncate(6);
        chain.rows.push(edited);
        chain.rows.extend(tail);
        let fault = export(&chain, after, 0).finish().fault.unwrap();
        assert_eq!(fault, Fault::Rewritten { row: 6, checkpoint: 10 }, "after {after}");
    }
}

/// A database was put back, and its trail went on: what was shipped out before has the same numbers as what is signed since.
#[test]
fn regression_l03_two_checkpoints_of_one_row_do_not_both_fit() {
    for behind in [0, 4] {
        let mut chain = Chain::new();
        let lost = chain.key.sign(15, GENESIS, now()).unwrap();
        chain.checkpoints.insert(behind, lost);
        assert_eq!(chain.verify().fault, Some(Fault::Rewritten { row: 11, checkpoint: 15 }));
    }
}

#[test]
fn the_first_fault_stays() {
    let mut chain = Chain::new();
    chain.rows[2].record = RawValue::from_string("{}".to_owned()).unwrap();
    let other = CheckpointKey::new(PrivateKey::generate().unwrap());
    chain.checkpoints[3] = other.sign(20, &chain.rows[19].hash, now()).unwrap();
    let report = export(&chain, 0, 0).finish();
    assert_eq!((report.fault, report.rows), (Some(Fault::Edited { row: 3 }), 20));
}

#[test]
fn l03_a_row_that_stands_there_twice_is_named() {
    let mut chain = Chain::new();
    let again = chain.rows[3].clone();
    chain.rows.insert(4, again);
    assert_eq!(chain.verify().fault, Some(Fault::Swapped { row: 5 }));
    let mut chain = Chain::new();
    let again = chain.rows[0].clone();
    chain.rows.push(again);
    assert_eq!(chain.verify().fault, Some(Fault::Swapped { row: 21 }));
}

#[test]
fn l03_a_chain_that_does_not_follow_its_start_is_named() {
    let mut chain = Chain::new();
    chain.rows = chained("1".repeat(64), 1, 20);
    chain.checkpoints.clear();
    assert_eq!(chain.verify().fault, Some(Fault::Edited { row: 1 }));
}
