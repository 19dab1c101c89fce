//! The operations service: every change to a cluster as a durable operation.
//!
//! Two doors: the queues (`bus/`) and, in a mesh, a listener to which the front door brings bodies (`stage.rs`). Both call the
//! verbs in `app/`; `dispatch/` gives operations to agents; `domain/life_cycle.rs` says which state follows which, and nothing
//! else does. Not for reads of clusters (onboarding), nor for what an apply is (the agent). Read `dispatch/mod.rs` first, then
//! `store/mod.rs`.

mod app;
mod bus;
mod dispatch;
mod domain;
mod http;
mod limits;
mod options;
mod service;
mod stage;
mod store;

pub use dispatch::{Faults, POINTS};
pub use domain::life_cycle;
pub use http::routes;
pub use options::Options;
pub use service::{Deps, Service, build};
pub use stage::Stage;

/// The name of the service: of its schema, its file, its lines in the log.
pub const NAME: &str = "operations";
