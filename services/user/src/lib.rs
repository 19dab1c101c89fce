//! The user service: accounts, passwords, sessions, API keys, roles and grants; signs access tokens and identities;
//! answers `cluster_auth_requests`.
//!
//! Its doors are the queues (`bus`) and HTTP on port 8001 (`http`): passwords, refresh tokens and new keys ride HTTP only,
//! never a queue. Read [`build`] for the wiring, `app` for what it does, `domain` for the rules.

pub mod app;
mod bus;
pub mod domain;
mod export;
mod http;
pub mod keys;
mod oidc;
pub mod options;
pub mod policy;
mod service;
pub mod store;

pub use app::FirstStart;
pub use http::{openapi, routes};
pub use service::{Deps, Service, build};

/// The name of the service: of its schema, its file, its lines in the log.
pub const NAME: &str = "user";
