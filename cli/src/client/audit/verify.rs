//! Checks the trail: an exported file without the hub, or what the hub gives out now.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use roadstead_auth::audit::{GENESIS, Report, Verifier};
use roadstead_auth::ed25519::PublicKey;
use roadstead_contracts::audit::{AuditCheckpoint, AuditStart, EXPORT_FORM, ExportHead, ExportLine};
use serde::Serialize;

use super::export;
use crate::client::hub::Hub;
use crate::client::output::Output;

/// Longest line of an export: a record has some kilobytes at most.
const LINE_MAX: usize = 1024 * 1024;

#[derive(Serialize)]
struct Verdict {
    whole: bool,
    rows: u64,
    first: Option<i64>,
    last: Option<i64>,
    checkpoints: u64,
    sealed_to: i64,
    key: String,
    first_bad_row: Option<i64>,
    fault: Option<String>,
}

pub(super) async fn run(
    file: Option<&Path>,
    key: Option<&str>,
    checkpoints: Option<&Path>,
    output: Output,
) -> Result<()> {
    let extra = checkpoints.map(shipped).transpose()?.unwrap_or_default();
    let (report, used) = if let Some(path) = file {
        let open =
            || File::open(path).map(BufReader::new).with_context(|| format!("failed to read {}", path.display()));
        verify(open, key, &extra)?
    } else {
        let text = fetch(&mut Hub::remembered()?).await?;
        verify(|| Ok(text.as_slice()), key, &extra)?
    };
    let verdict = Verdict {
        whole: report.fault.is_none(),
        rows: report.rows,
        first: report.range.map(|(first, _)| first),
        last: report.range.map(|(_, last)| last),
        checkpoints: report.checkpoints,
        sealed_to: report.sealed_to,
        key: used,
        first_bad_row: report.fault.as_ref().map(roadstead_auth::audit::Fault::row),
        fault: report.fault.as_ref().map(ToString::to_string),
    };
    output.print(&verdict, |verdict| sentence(verdict, key.is_some()))?;
    if verdict.whole { Ok(()) } else { bail!("the audit trail is not whole") }
}

fn sentence(verdict: &Verdict, trusted: bool) -> String {
    if let Some(fault) = &verdict.fault {
        return fault.clone();
    }
    let range = match (verdict.first, verdict.last) {
        (Some(first), Some(last)) => format!("rows {first} to {last} are as they were written"),
        _ => "there are no rows".to_owned(),
    };
    let sealed = format!("{} checkpoints fit, signed up to row {}", verdict.checkpoints, verdict.sealed_to);
    let hint = if trusted {
        String::new()
    } else {
        format!("\nthe key is the file's own; compare it with one from elsewhere: --key {}", verdict.key)
    };
    format!("{range}; {sealed}{hint}")
}

/// Everything the hub has, as it would be exported.
async fn fetch(hub: &mut Hub) -> Result<Vec<u8>> {
    let (mut text, mut after) = (Vec::new(), None);
    loop {
        let page = export::page(hub, "jsonl", after).await?;
        text.extend(page.text);
        match page.last {
            Some(last) if page.rows > 0 => after = Some(last),
            _ => return Ok(text),
        }
    }
}

/// Two passes: the checkpoints, then the rows.
fn verify<R: BufRead>(
    open: impl Fn() -> Result<R>,
    key: Option<&str>,
    extra: &[AuditCheckpoint],
) -> Result<(Report, String)> {
    let mut start = None;
    let mut found = extra.to_vec();
    each(open()?, |line| {
        match line {
            ExportLine::Head(ExportHead { roadstead_audit, key, after, .. }) => {
                if roadstead_audit != EXPORT_FORM {
                    bail!("the file has form {roadstead_audit}, which this version does not know");
                }
                start.get_or_insert((after, key));
            }
            ExportLine::Checkpoint(line) => found.push(line.checkpoint),
            ExportLine::Row(_) => {}
        }
        Ok(())
    })?;
    let (after, own) = start.unwrap_or_else(|| (AuditStart { seq: 0, hash: GENESIS.to_owned() }, String::new()));
    let used = key.map_or(own, str::to_owned);
    let public = PublicKey::parse(&used).context("the key of the checkpoints cannot be read; give one with --key")?;
    let mut verifier = Verifier::new(&after, Some(public));
    found.sort_by_key(|checkpoint| checkpoint.seq);
    for checkpoint in found.iter().filter(|checkpoint| checkpoint.seq >= after.seq) {
        verifier.checkpoint(checkpoint);
    }
    each(open()?, |line| {
        if let ExportLine::Row(row) = line {
            verifier.row(&row);
        }
        Ok(())
    })?;
    Ok((verifier.finish(), used))
}

/// Reads line by line.
fn each(reader: impl BufRead, mut take: impl FnMut(ExportLine) -> Result<()>) -> Result<()> {
    for (index, line) in reader.lines().enumerate() {
        let line = line.context("the file is not text")?;
        if line.is_empty() {
            continue;
        }
        if line.len() > LINE_MAX {
            bail!("line {} is too long", index + 1);
        }
        let line =
            ExportLine::parse(&line).map_err(|_| anyhow::anyhow!("line {} is not one of an export", index + 1))?;
        take(line)?;
    }
    Ok(())
}

/// Checkpoints that were shipped out: lines of the file that the hub appends to.
fn shipped(path: &Path) -> Result<Vec<AuditCheckpoint>> {
    let context = || format!("failed to read checkpoints from {}", path.display());
    let mut checkpoints = Vec::new();
    for line in BufReader::new(File::open(path).with_context(context)?).lines() {
        let line = line.with_context(context)?;
        if !line.is_empty() {
            checkpoints.push(serde_json::from_str(&line).with_context(context)?);
        }
    }
    Ok(checkpoints)
}

#[cfg(test)]
mod tests {
    use roadstead_auth::audit::{CheckpointKey, Fault, row_hash};
    use roadstead_auth::ed25519::PrivateKey;
    use roadstead_contracts::audit::{AuditRow, CheckpointLine};
    use serde_json::value::RawValue;

    use super::*;

    /// An export of ten rows with a checkpoint behind the last.
    fn export() -> (Vec<String>, CheckpointKey) {
        let key = CheckpointKey::new(PrivateKey::generate().unwrap());
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let head = ExportHead {
            roadstead_audit: EXPORT_FORM,
            exported_at: now,
            key: key.public_base64url(),
            after: AuditStart { seq: 0, hash: GENESIS.to_owned() },
        };
        let mut lines = vec![serde_json::to_string(&ExportLine::Head(head)).unwrap()];
        let mut prev = GENESIS.to_owned();
        for seq in 1..=10 {
            // Spaces and the order of members are part of what was hashed.
            let text = format!(r#"{{"z": {seq},"a":"x"}}"#);
            let hash = row_hash(&prev, seq, &text).unwrap();
            let row = AuditRow { seq, prev, hash: hash.clone(), record: RawValue::from_string(text).unwrap() };
            lines.push(serde_json::to_string(&ExportLine::Row(row)).unwrap());
            prev = hash;
        }
        let checkpoint = key.sign(10, &prev, now).unwrap();
        lines.push(serde_json::to_string(&ExportLine::Checkpoint(CheckpointLine { checkpoint })).unwrap());
        (lines, key)
    }

    fn fault(lines: &[String], key: Option<&str>) -> Option<Fault> {
        let text = lines.join("\n");
        verify(|| Ok(text.as_bytes()), key, &[]).unwrap().0.fault
    }

    #[test]
    fn l03_an_export_is_verified_without_the_hub() {
        let (lines, key) = export();
        assert_eq!(fault(&lines, None), None);
        assert_eq!(fault(&lines, Some(&key.public_base64url())), None);
        let other = PrivateKey::generate().unwrap().public().base64url();
        assert_eq!(fault(&lines, Some(&other)), Some(Fault::Forged { checkpoint: 10 }));
        let mut edited = lines.clone();
        edited[4] = edited[4].replace(r#""a":"x""#, r#""a":"y""#);
        assert_eq!(fault(&edited, None), Some(Fault::Edited { row: 4 }));
        let mut removed = lines.clone();
        removed.remove(7);
        assert_eq!(fault(&removed, None), Some(Fault::Removed { row: 7 }));
        let mut swapped = lines.clone();
        swapped.swap(2, 9);
        assert_eq!(fault(&swapped, None), Some(Fault::Swapped { row: 2 }));
        let mut cut = lines;
        cut.drain(9..11);
        assert_eq!(fault(&cut, None), Some(Fault::Cut { row: 9, checkpoint: 10 }));
    }
}
