//! Onboarding: the registry of clusters, agents and join tokens, and the agents' sessions.
//!
//! Two doors: the queues (`bus/`) and the agents' listener (`http/`). Both call the verbs in `app/`, which use the store
//! and the sessions of this replica (`session/`). Who may see what is decided in `app/`; who is asking was proved before.
//! Not for: accounts and keys (`services/user`), anything that clients other than agents call over HTTP.
//! Read `app/mod.rs` first, then `session/mod.rs`.

mod app;
mod bus;
mod domain;
mod drain;
mod hosting;
mod http;
mod limits;
mod recording;
mod relay;
mod service;
mod session;
mod store;
mod streams;

pub use service::{Deps, Service, build};
pub use streams::Streams;

/// The service's name: on the bus, in the database, on `/version`.
pub const NAME: &str = "onboarding";
