//! The Kubernetes side of Roadstead.
//!
//! - [`Core`]: what serves a session: verbs, identities, heartbeats. The dialling agent and the hub's hosted agents run
//!   the same one.
//! - [`kubernetes`]: the only part that talks to an API server.
//! - [`operations`]: changes that the hub orders, done as a person and remembered on disk. [`drift`]: whether what they left is
//!   still so.
//! - [`net`]: the way to the hub: names, proxy, TLS, one HTTP exchange.
//! - [`enrol`], [`keep`], [`dial`], [`run`]: the life of an agent that dials: it joins, keeps its key, connects, comes
//!   back.
//! - [`preflight`]: says which step is broken and what to do about it.
//! - [`probe`]: `/healthz` and `/metrics`.
//!
//! It links no database, broker or web framework. Nothing is done for a caller without the caller's verified identity.

mod connections;
mod core;
pub mod dial;
pub mod drift;
pub mod enrol;
mod error;
mod files;
mod forward;
pub mod keep;
pub mod kubernetes;
pub mod metrics;
pub mod net;
pub mod operations;
pub mod preflight;
pub mod probe;
pub mod run;

pub use core::{Core, Ended, Identity};
pub use error::{Error, Result};

/// Version of the agent, as the hub shows it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
