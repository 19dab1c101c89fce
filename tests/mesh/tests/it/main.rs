//! The product as a whole. `cargo xtask test` brings the cluster and the servers.
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

mod access;
mod canaries;
mod clients;
mod commands;
mod database;
mod direct;
mod faults;
mod kubeconfig;
mod kubernetes;
mod load;
mod main_job;
mod memory;
mod oidc;
mod operations;
mod pages;
mod passkeys;
mod peers;
mod policy;
mod replicas;
mod tls;

use std::io::Write as _;

use tokio::sync::{Mutex, MutexGuard};

/// One hub at a time: each has up to ten processes, and two cores measure badly when they are shared.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// A line at once: what `println!` prints comes with a failure only, and who hears nothing for ten minutes takes a program for
/// hung (`cargo xtask test`).
fn tell(line: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}
