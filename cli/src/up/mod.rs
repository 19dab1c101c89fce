//! `roadstead up`: all four services in one process, with a bus and small values in memory and SQLite files.

mod certificates;
mod kubeconfig;
mod options;
mod owner;
mod ready_file;
mod show;
mod start;

pub use certificates::Certificates;
pub use kubeconfig::{Hosted, name_clusters};
pub use options::{Chosen, choose, reachable};
pub use ready_file::{Admin, Ready};
pub use start::{Hub, start};

use std::io::IsTerminal as _;

use anyhow::Result;
use roadstead_runtime::config::ProcessEnv;
use roadstead_runtime::{LEAST_FOR_A_HUB, raise_descriptor_limit, wait_for_signal};

use crate::args::hub::UpArgs;
use crate::wiring::{DataFolder, default_data_folder};

/// Name of the ready file in the hub's folder, when nobody watches the first start and none is named: the owner's
/// password must be somewhere, and nowhere else.
const OWN_READY_FILE: &str = "ready.json";

/// Runs `up` until the process is told to stop.
pub async fn up(args: &UpArgs) -> Result<()> {
    roadstead_runtime::crash::leave_nothing_behind();
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => default_data_folder()?,
    };
    let folder = DataFolder::take(&folder)?;
    let chosen = options::choose(args, folder.path(), &ProcessEnv)?;
    let logging = roadstead_telemetry::Options::new(&chosen.settings.logging, &chosen.settings.telemetry, "up");
    let _guard = roadstead_telemetry::init(&logging);
    for remark in &chosen.remarks {
        tracing::warn!("{remark}");
    }
    raise_descriptor_limit(LEAST_FOR_A_HUB)?;
    let terminal = std::io::stdout().is_terminal();
    let grace = chosen.settings.server.shutdown_grace;
    let clusters = kubeconfig::name_clusters(&args.kubeconfigs)?;
    let hub = Box::pin(start(chosen.settings, &clusters, &folder)).await?;
    let first_start = hub.ready().admin.is_some();
    let own_file = folder.path().join(OWN_READY_FILE);
    let file = args.ready_file.clone().or_else(|| (first_start && !terminal).then_some(own_file));
    if let Some(file) = file {
        hub.ready().write(&file)?;
        tracing::info!("ready, see {}", file.display());
    }
    if terminal {
        show::show(hub.ready(), folder.path(), &chosen.remarks)?;
    }
    wait_for_signal(hub.tasks()).await?;
    hub.stop(grace).await;
    Ok(())
}
