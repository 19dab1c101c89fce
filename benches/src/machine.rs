//! What the machine is and does meanwhile: printed above every result.

use std::fs;
use std::io::Write as _;
use std::time::Instant;

use crate::figures::{median, microseconds};

/// Writes to take the median of.
const SYNCS: usize = 50;

/// A few lines about the machine, for the head of a result.
pub fn describe() -> String {
    let first = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = first("/proc/cpuinfo");
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) { "DEBUG BUILD: the figures mean nothing" } else { "release build" };
    format!(
        "- machine: {cores} cores, {model}, kernel {}\n- build: {profile}, version {}\n- load average {}, stolen {:.1} %, \
         fdatasync p50 {:.2} ms\n",
        first("/proc/sys/kernel/osrelease").trim(),
        env!("CARGO_PKG_VERSION"),
        load_average(),
        stolen() * 100.0,
        fdatasync_milliseconds(),
    )
}

/// The three load averages.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The part of all processor time since the start that another guest took.
fn stolen() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let times: Vec<f64> =
        text.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let all: f64 = times.iter().sum();
    if all > 0.0 { times.get(7).copied().unwrap_or(0.0) / all } else { 0.0 }
}

/// Median time of a small durable write: what quorum queues and databases wait for.
pub fn fdatasync_milliseconds() -> f64 {
    let Ok(mut file) = tempfile::tempfile() else { return 0.0 };
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        if file.write_all(&[0; 512]).and_then(|()| file.sync_data()).is_err() {
            return 0.0;
        }
        times.push(began.elapsed());
    }
    median(&microseconds(&times)) / 1e3
}
