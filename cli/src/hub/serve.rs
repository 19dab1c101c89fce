//! `roadstead serve SERVICE`: one service of a mesh, over RabbitMQ, PostgreSQL or SQLite, and Redis.

use anyhow::Result;
use roadstead_runtime::config::{ProcessEnv, Settings};
use roadstead_runtime::{LEAST_FOR_A_HUB, raise_descriptor_limit, wait_for_signal};

use crate::args::hub::ServeArgs;
use crate::wiring::{Process, services};

/// Runs `serve` until the process is told to stop.
pub async fn serve(args: &ServeArgs) -> Result<()> {
    roadstead_runtime::install_crypto();
    roadstead_runtime::crash::leave_nothing_behind();
    let service = args.service;
    let mut settings = Settings::load(service.role(), args.config.clone(), &ProcessEnv)?;
    let logging = roadstead_telemetry::Options::new(&settings.logging, &settings.telemetry, service.as_str());
    let _guard = roadstead_telemetry::init(&logging);
    for note in std::mem::take(&mut settings.notes) {
        tracing::warn!("{note}");
    }
    raise_descriptor_limit(LEAST_FOR_A_HUB)?;
    let grace = settings.server.shutdown_grace;
    let process = Process::mesh(settings, service.as_str())?;
    let tasks = process.tasks.clone();
    // A stop while the database is still waited for ends the wait.
    let started = async {
        let built = services::one(&process, service).await?;
        built.start().await?;
        tracing::info!("{} {} listens on {}", service.as_str(), env!("CARGO_PKG_VERSION"), built.address());
        anyhow::Ok(built)
    };
    let mut told = std::pin::pin!(wait_for_signal(&tasks));
    let built = tokio::select! {
        built = started => Some(built?),
        signal = &mut told => {
            signal?;
            None
        }
    };
    if built.is_some() {
        told.await?;
    }
    tasks.finish(grace).await;
    Ok(())
}
