//! Export of traces over OTLP/HTTP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter, Tracer};
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;

/// How long one export may take, and the last one when the process ends.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the provider for a collector.
pub(crate) fn provider(endpoint: &str, service: &'static str) -> anyhow::Result<SdkTracerProvider> {
    let runtime = tokio::runtime::Handle::try_current().context("logging was started outside the runtime")?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_endpoint(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("failed to make the exporter")?;
    let resource = Resource::builder()
        .with_service_name(format!("roadstead-{service}"))
        .with_attribute(opentelemetry::KeyValue::new("service.version", crate::VERSION))
        .build();
    let exporter = OnRuntime { inner: Arc::new(exporter), runtime };
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// The layer that turns spans into traces.
pub(crate) fn layer<S>(provider: &SdkTracerProvider) -> tracing_opentelemetry::OpenTelemetryLayer<S, Tracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer("roadstead"))
}

/// Sends what is left.
pub(crate) fn shut_down(provider: &SdkTracerProvider) {
    let _ = provider.shutdown_with_timeout(EXPORT_TIMEOUT);
}

/// A collector is named by its root or by the whole address of its traces.
fn traces_endpoint(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") { endpoint.to_owned() } else { format!("{endpoint}/v1/traces") }
}

/// Runs an exporter on our runtime: the SDK calls it from a thread of its own, where the HTTP client has no reactor.
#[derive(Debug)]
struct OnRuntime {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: tokio::runtime::Handle,
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let inner = Arc::clone(&self.inner);
        let work = self.runtime.spawn(async move { inner.export(batch).await });
        work.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_root_or_path() {
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(traces_endpoint(endpoint), "http://c:4318/v1/traces");
        }
    }

    #[test]
    fn outside_the_runtime_it_says_so() {
        assert!(provider("http://127.0.0.1:9", "test").is_err());
    }

    /// A collector that counts what it gets.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn spans_reach_a_collector() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let provider = provider(&endpoint, "test").unwrap();
        {
            use opentelemetry::trace::{Span as _, Tracer as _};
            provider.tracer("test").start("a span").end();
        }
        let flushed = provider.clone();
        let flush = std::thread::spawn(move || flushed.force_flush());
        let (mut connection, _) =
            tokio::time::timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
        let mut head = vec![0; 64];
        connection.read_exact(&mut head).await.unwrap();
        assert!(head.starts_with(b"POST /v1/traces "));
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        drop(connection);
        let _ = tokio::task::spawn_blocking(move || flush.join()).await.unwrap();
    }
}
