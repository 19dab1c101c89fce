//! For tests and development only: real servers, waiting for a condition, free ports, what the environment offers.
//!
//! Knows no service and links nothing heavy, because `cargo xtask` links it as well. Start at [`servers`] for RabbitMQ,
//! PostgreSQL and Redis, at [`wait`] for `until` and `eventually`, at [`environment`] for what `cargo xtask test` offers.

pub mod environment;
pub mod kube;
pub mod ports;
pub mod programs;
pub mod servers;
pub mod wait;
