//! The services' databases.

use std::time::Duration;

use anyhow::{Context as _, Result};
use roadstead_runtime::Tasks;
use roadstead_runtime::config::Settings;
use roadstead_store::{Migrator, Opened, Options, open, place};
use roadstead_telemetry::Metrics;
use roadstead_telemetry::metrics::labels::ConnectionState;

/// Between two looks at a pool: finer than any scrape.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long a process waits for its database when it starts: compose starts both at once.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const START_PAUSE: Duration = Duration::from_secs(1);

/// Opens a service's database and brings its schema up to date. A server that is not there yet is waited for.
pub async fn open_database(settings: &Settings, service: &'static str) -> Result<Opened> {
    let options = options(settings, service);
    let began = tokio::time::Instant::now();
    let opened = loop {
        match open(&settings.database.url, &options).await {
            Ok(opened) => break opened,
            Err(fault @ roadstead_store::Error::Unavailable(_)) if began.elapsed() < START_PATIENCE => {
                tracing::warn!("the database of {service} does not answer yet: {:#}", anyhow::Error::from(fault));
                tokio::time::sleep(START_PAUSE).await;
            }
            Err(fault) => {
                return Err(fault)
                    .with_context(|| format!("failed to open the {}", place(&settings.database.url, service)));
            }
        }
    };
    let place = place(&settings.database.url, service);
    let steps =
        Migrator::of(service).up(&opened).await.with_context(|| format!("failed to bring the {place} up to date"));
    // Where no step was due nothing was written yet.
    opened.writable().await.with_context(|| format!("failed to write to the {place}"))?;
    match steps? {
        0 => {}
        steps => tracing::info!("{steps} schema steps applied to the database of {service}"),
    }
    Ok(opened)
}

/// Opens a service's database as it is, for a tool.
pub async fn open_for_tools(settings: &Settings, service: &'static str) -> Result<Opened> {
    let options = Options { max_connections: 2, ..Options::new(service) };
    open(&settings.database.url, &options).await.with_context(|| format!("failed to open the database of {service}"))
}

/// SQLite has one writer: its own small pool is right whatever the settings say for PostgreSQL.
fn options(settings: &Settings, service: &'static str) -> Options {
    let database = &settings.database;
    if !database.is_postgres() {
        return Options::new(service);
    }
    Options {
        service,
        max_connections: database.max_connections,
        min_connections: database.min_connections.unwrap_or(database.max_connections),
        max_lifetime: Some(database.max_lifetime),
        max_idle: Some(database.max_idle),
        acquire_timeout: Some(database.acquire_timeout),
    }
}

/// Keeps the metric true to the pool.
pub(super) fn watch(opened: &Opened, metrics: &Metrics, tasks: &Tasks) {
    let (opened, gauge, stopping) = (opened.clone(), metrics.database_connections.clone(), tasks.stopping());
    tasks.spawn("database-metric", async move {
        loop {
            let (open, idle) = opened.connections();
            let (open, idle) = (i64::from(open), i64::try_from(idle).unwrap_or(0));
            for (state, count) in [("open", open), ("idle", idle), ("in_use", (open - idle).max(0))] {
                gauge.get_or_create(&ConnectionState { state }).set(count);
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
        }
    });
}
