//! The service as the others see it: over an in-process bus and its own listener, on SQLite.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod agent;
mod catalogue;
mod connect;
mod direct;
mod drift;
mod enrolment;
mod policy;
mod recordings;
mod registry;
mod replicas;
mod rig;
mod seeds;
mod sessions;
mod streams;
mod tokens;
mod wire;
