//! `roadstead admin rewrap`: every sealed value under the newest master key, beside a running hub.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use comfy_table::Cell;
use roadstead_runtime::config::Settings;
use roadstead_seal::Sealer;
use roadstead_seal::source::KeyringFile;
use roadstead_store::seal::Rewrapped;
use serde::Serialize;

use crate::args::hub::DatabaseName;
use crate::client::Output;
use crate::wiring::open_for_tools;

/// Running services look at the file of keys every five seconds; a value sealed with the old key meanwhile would be left over.
const ROTATION_PAUSE: Duration = Duration::from_secs(12);

#[derive(Serialize)]
struct Column {
    service: &'static str,
    table: String,
    column: String,
    processed: u64,
    succeeded: u64,
    failed: u64,
    plain: u64,
    left: u64,
}

impl Column {
    fn of(service: &'static str, counts: Rewrapped) -> Self {
        let Rewrapped { table, column, processed, succeeded, failed, plain, left } = counts;
        Self { service, table, column, processed, succeeded, failed, plain, left }
    }
}

#[derive(Serialize)]
struct Done {
    master_key: u32,
    columns: Vec<Column>,
}

pub(super) async fn run(
    settings: &Settings,
    service: Option<DatabaseName>,
    rotate: bool,
    output: Output,
) -> Result<()> {
    if rotate {
        let Some(file) = &settings.seal.keyring_file else {
            bail!(
                "one key in a variable cannot be rotated: put it into a file as `1:KEY` and name that with ROADSTEAD_SEAL_KEYRING_FILE"
            );
        };
        let version = KeyringFile::new(file).rotate()?;
        output.say(&format!("master key {version} was added to {}; waiting for running services", file.display()))?;
        tokio::time::sleep(ROTATION_PAUSE).await;
    }
    let done = rewrap(settings, service).await?;
    let failed: u64 = done.columns.iter().map(|column| column.failed + column.plain + column.left).sum();
    output.print(&done, table)?;
    if failed > 0 {
        bail!("{failed} values are not under master key {}: see the lines above", done.master_key);
    }
    Ok(())
}

async fn rewrap(settings: &Settings, service: Option<DatabaseName>) -> Result<Done> {
    let services = service.map_or_else(|| DatabaseName::ALL.to_vec(), |service| vec![service]);
    let mut done = Done { master_key: 0, columns: Vec::new() };
    for service in services {
        let name = service.as_str();
        let sealer = Sealer::open(&settings.seal, name).context("failed to open the master keys")?;
        let opened = open_for_tools(settings, name).await?;
        let outcome = async {
            roadstead_store::seal::guard(&opened, &sealer).await?;
            roadstead_store::seal::rewrap(&opened, &sealer).await
        };
        let counts = outcome.await.with_context(|| format!("failed to rewrap the database of {name}"));
        opened.close().await;
        done.master_key = sealer.newest().0;
        done.columns.extend(counts?.into_iter().map(|counts| Column::of(name, counts)));
    }
    Ok(done)
}

fn table(done: &Done) -> String {
    let rows = done
        .columns
        .iter()
        .map(|column| {
            let figures = [column.processed, column.succeeded, column.failed, column.plain, column.left];
            let names = [column.service.to_owned(), format!("{}.{}", column.table, column.column)];
            names.iter().map(Cell::new).chain(figures.iter().map(Cell::new)).collect()
        })
        .collect();
    let head = ["SERVICE", "COLUMN", "PROCESSED", "SUCCEEDED", "FAILED", "PLAIN TEXT", "LEFT"];
    format!("{}\n\nnewest master key: {}", crate::client::table(&head, rows), done.master_key)
}
