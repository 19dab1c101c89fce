//! The trail as a file.

use std::fs::OpenOptions;
use std::io::{BufRead as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use reqwest::Method;
use roadstead_contracts::audit::ExportLine;

use crate::client::hub::Hub;

/// Rows asked for at a time: with usual records three megabytes.
const PAGE: usize = 5_000;

pub(super) async fn run(hub: &mut Hub, file: Option<&Path>, after: Option<i64>, csv: bool) -> Result<()> {
    let mut out: Box<dyn Write> = match file {
        // Who did what is nobody else's business on this machine.
        Some(path) => Box::new(
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("failed to write {}", path.display()))?,
        ),
        None => Box::new(std::io::stdout().lock()),
    };
    let format = if csv { "csv" } else { "jsonl" };
    let mut after = after;
    let mut rows = 0;
    loop {
        let page = page(hub, format, after).await?;
        out.write_all(&page.text).context("failed to write the export")?;
        rows += page.rows;
        match page.last {
            Some(last) if page.rows == PAGE => after = Some(last),
            _ => break,
        }
    }
    out.flush().context("failed to write the export")?;
    if file.is_some() {
        eprintln!("{rows} rows");
    }
    Ok(())
}

/// One page of the export.
pub(super) struct Page {
    pub(super) text: Vec<u8>,
    pub(super) rows: usize,
    pub(super) last: Option<i64>,
}

/// Asks for the rows after a number; the first page of all has the head.
pub(super) async fn page(hub: &mut Hub, format: &str, after: Option<i64>) -> Result<Page> {
    let after = after.map_or_else(String::new, |after| format!("&after={after}"));
    let path = format!("/api/v1/audit/export?format={format}&limit={PAGE}{after}");
    let text = hub.send(Method::GET, &path, None).await?;
    let (mut rows, mut last) = (0, None);
    for line in text.lines() {
        let line = line.context("the hub's answer is not text")?;
        let seq = match format {
            "csv" => line.split(',').next().and_then(|cell| cell.trim_matches('"').parse().ok()),
            _ => match ExportLine::parse(&line).context("the hub's answer was not understood")? {
                ExportLine::Row(row) => Some(row.seq),
                _ => None,
            },
        };
        if let Some(seq) = seq {
            rows += 1;
            last = Some(seq);
        }
    }
    Ok(Page { text, rows, last })
}
