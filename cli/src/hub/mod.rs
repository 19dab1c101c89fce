//! The commands that run a hub or look after one: `serve`, `migrate`, `doctor`, `admin`. `up` has a module of its own.

mod admin;
mod doctor;
mod migrate;
mod rewrap;
mod serve;

pub use admin::admin;
pub use doctor::doctor;
pub use migrate::migrate;
pub use serve::serve;

use anyhow::Result;
use roadstead_runtime::config::{KEYRING, ProcessEnv, ServiceRole, Settings};

use crate::args::hub::DatabaseArgs;
use crate::wiring::default_data_folder;

/// Settings of a tool that works on the databases: those of the environment or the file, else those of `up`.
pub(crate) fn settings_for_tools(args: &DatabaseArgs) -> Result<Settings> {
    let mut top = Vec::new();
    if let Some(folder) = &args.data {
        top.push(("data_dir", folder.display().to_string(), "--data"));
    }
    let mut settings = Settings::load_with(ServiceRole::Tool, args.config.clone(), &ProcessEnv, &top)?;
    if settings.data_dir.as_os_str().is_empty() {
        settings.data_dir = default_data_folder()?;
        if settings.seal.keyring_file.as_deref() == Some(std::path::Path::new(KEYRING)) {
            settings.seal.keyring_file = Some(settings.data_dir.join(KEYRING));
        }
        if settings.database.url.expose() == "sqlite:" {
            settings.database.url = roadstead_runtime::Secret::new(format!("sqlite:{}", settings.data_dir.display()));
        }
    }
    Ok(settings)
}
