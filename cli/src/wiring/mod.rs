//! Puts processes together: which bus, which store of small values, which databases. `up`, `serve` and the whole-mesh
//! tests come through here; only the objects differ that each service's `build` is handed.

mod bus;
mod database;
mod folder;
mod kv;
mod process;
pub mod services;

pub use database::{open_database, open_for_tools};
pub use folder::{DataFolder, default_data_folder};
pub use process::Process;
