//! What operators see: log lines ([`init`]), metrics ([`Metrics`]) and traces ([`trace`]).
//!
//! Nothing here decides anything. Field names of log lines are constants in [`fields`]; read [`metrics`] for the names
//! that scrapers of the predecessors know.

pub mod fields;
mod logging;
pub mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
pub mod trace;

pub use logging::{Guard, Options, exports_traces, init};
pub use metrics::Metrics;
pub use prometheus_client;
pub use trace::TraceParent;

/// Version of the product, as `/version` and the metrics say it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit the binary was built from; `unknown` when the build did not say.
pub const GIT_COMMIT: &str = match option_env!("ROADSTEAD_BUILD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// When the binary was built (RFC 3339); `unknown` when the build did not say.
pub const BUILD_DATE: &str = match option_env!("ROADSTEAD_BUILD_DATE") {
    Some(date) => date,
    None => "unknown",
};
