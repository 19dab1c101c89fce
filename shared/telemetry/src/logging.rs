//! Log lines: JSON or for people, to standard error.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use roadstead_runtime::config::{LogFormat, LogLevel, Logging, Telemetry};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// What [`init`] needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Least level of our own lines. Other crates' lines come from `warn` up.
    pub level: LogLevel,
    /// How lines look.
    pub format: LogFormat,
    /// Service that writes them.
    pub service: &'static str,
    /// Collector that takes traces.
    pub otlp_endpoint: Option<String>,
}

impl Options {
    /// From a hub process's settings.
    pub fn new(logging: &Logging, telemetry: &Telemetry, service: &'static str) -> Self {
        Self { level: logging.level, format: logging.format, service, otlp_endpoint: telemetry.otlp_endpoint.clone() }
    }

    fn filter(&self) -> EnvFilter {
        let (others, ours) = match self.level {
            LogLevel::Error => ("error", "error"),
            LogLevel::Warn => ("warn", "warn"),
            LogLevel::Info => ("warn", "info"),
            LogLevel::Debug => ("warn", "debug"),
            LogLevel::Trace => ("info", "trace"),
        };
        // Targets match by their beginning: every crate of the workspace is `roadstead_…`.
        // lapin prints messages that came back and kube answers that it cannot read, bodies and all; the bus and the agent say
        // by themselves what matters about them.
        EnvFilter::new(format!("{others},lapin=error,kube_client=error,roadstead={ours}"))
    }
}

/// Keeps what must be flushed when the process ends.
#[derive(Debug, Default)]
#[must_use = "traces are flushed when it is dropped"]
pub struct Guard {
    #[cfg(feature = "otlp")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        #[cfg(feature = "otlp")]
        if let Some(provider) = self.provider.take() {
            crate::otlp::shut_down(&provider);
        }
    }
}

/// Starts logging and, when a collector is named, the export of traces. Call it once, inside the runtime; a later call
/// changes nothing.
pub fn init(options: &Options) -> Guard {
    let json = match options.format {
        LogFormat::Json => true,
        LogFormat::Console => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if json {
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr);
        Box::new(layer.with_filter(options.filter()))
    } else {
        let layer =
            tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
        Box::new(layer.with_filter(options.filter()))
    };
    start(options, lines)
}

/// Whether spans go anywhere: without a collector nobody makes them.
pub fn exports_traces() -> bool {
    EXPORTS.load(Ordering::Relaxed)
}

static EXPORTS: AtomicBool = AtomicBool::new(false);

#[cfg(feature = "otlp")]
fn start(options: &Options, lines: Box<dyn Layer<Registry> + Send + Sync>) -> Guard {
    let provider =
        match options.otlp_endpoint.as_deref().map(|endpoint| crate::otlp::provider(endpoint, options.service)) {
            None => None,
            Some(Ok(provider)) => Some(provider),
            Some(Err(fault)) => {
                let _ = tracing_subscriber::registry().with(lines).try_init();
                tracing::warn!("traces are not exported: {fault:#}");
                return Guard::default();
            }
        };
    let traces = provider.as_ref().map(|provider| crate::otlp::layer(provider).with_filter(options.filter()));
    let first = tracing_subscriber::registry().with(lines).with(traces).try_init().is_ok();
    EXPORTS.store(first && provider.is_some(), Ordering::Relaxed);
    Guard { provider }
}

#[cfg(not(feature = "otlp"))]
fn start(options: &Options, lines: Box<dyn Layer<Registry> + Send + Sync>) -> Guard {
    let _ = tracing_subscriber::registry().with(lines).try_init();
    if options.otlp_endpoint.is_some() {
        tracing::warn!("traces are not exported: this binary was built without the feature otlp");
    }
    Guard::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_stay_quiet() {
        let options = Options { level: LogLevel::Debug, format: LogFormat::Json, service: "test", otlp_endpoint: None };
        let shown = options.filter().to_string();
        assert!(shown.contains("warn") && shown.contains("roadstead=debug"), "{shown}");
    }

    #[test]
    fn regression_no_crate_prints_the_bodies_it_carries() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let filter = Options { level, format: LogFormat::Json, service: "test", otlp_endpoint: None }.filter();
            let subscriber = Registry::default().with(filter);
            tracing::subscriber::with_default(subscriber, || {
                assert!(!tracing::enabled!(target: "kube_client::client", tracing::Level::WARN), "{level:?}");
                assert!(!tracing::enabled!(target: "lapin::channel", tracing::Level::WARN), "{level:?}");
                assert!(tracing::enabled!(target: "kube_client::client", tracing::Level::ERROR), "{level:?}");
            });
        }
    }

    #[test]
    fn starting_twice_changes_nothing() {
        let options = Options { level: LogLevel::Error, format: LogFormat::Json, service: "test", otlp_endpoint: None };
        let _first = init(&options);
        let _second = init(&options);
        tracing::debug!("not shown");
    }
}
