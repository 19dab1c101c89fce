//! The agent against a hub and an API server that the tests play, and against a real API server where there is one.
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

mod api;
mod cluster;
mod exchange;
mod hub;
mod life;
mod operations;
mod preflight;
mod program;
mod session;
mod way;
