//! What `cargo xtask test` offers to tests, by environment. A test that needs one of these is `#[ignore = "needs …"]`.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// PostgreSQL, as a superuser: make a database of your own.
pub fn postgres_url() -> Result<String> {
    required("ROADSTEAD_TEST_POSTGRES_URL")
}

/// RabbitMQ, with all rights: use names of your own.
pub fn rabbitmq_url() -> Result<String> {
    required("ROADSTEAD_TEST_RABBITMQ_URL")
}

/// Redis: use keys of your own.
pub fn redis_url() -> Result<String> {
    required("ROADSTEAD_TEST_REDIS_URL")
}

/// A real cluster, with full rights.
pub fn kubeconfig() -> Result<PathBuf> {
    required("ROADSTEAD_TEST_KUBECONFIG").map(PathBuf::from)
}

/// A folder in which a test may start programs and servers: they are stopped even when the tests are ended by force.
pub fn folder() -> PathBuf {
    std::env::var_os("ROADSTEAD_TEST_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn required(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; `cargo xtask test` sets it"))
}
