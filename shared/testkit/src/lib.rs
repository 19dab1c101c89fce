//! For tests and development only: real servers, waiting for a condition, free ports, what the environment offers.
//!
//! Knows no service and links nothing heavy, because `cargo xtask` links it as well. Start at [`servers`] for RabbitMQ,
//! PostgreSQL and Redis, at [`keycloak`] for an identity provider, at [`browser`] for Chromium, at [`wait`] for `until` and `eventually`, at [`environment`] for what `cargo xtask test` offers.

pub mod browser;
pub mod environment;
pub mod keycloak;
pub mod kube;
#[cfg(feature = "logs")]
pub mod logs;
#[cfg(feature = "passkeys")]
pub mod passkey;
#[cfg(feature = "tls")]
pub mod pki;
pub mod ports;
pub mod programs;
pub mod servers;
pub mod wait;
