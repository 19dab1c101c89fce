//! The process's own figures, under the names every Prometheus client uses. Read when they are asked for.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Bytes of a page of memory on every platform we build for.
const PAGE: i64 = 4096;

#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    resident: Gauge,
    open_files: Gauge,
}

impl Process {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("process_resident_memory_bytes", "Resident memory size in bytes", self.resident.clone());
        registry.register("process_open_fds", "Number of open file descriptors", self.open_files.clone());
    }

    /// Takes the figures anew; where `/proc` is missing they stay 0.
    pub(super) fn refresh(&self) {
        let pages = std::fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|text| text.split_whitespace().nth(1).and_then(|pages| pages.parse::<i64>().ok()));
        if let Some(pages) = pages {
            self.resident.set(pages.saturating_mul(PAGE));
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            self.open_files.set(i64::try_from(files.count()).unwrap_or(i64::MAX));
        }
    }
}
