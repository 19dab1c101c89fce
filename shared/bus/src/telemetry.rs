//! The bus in the process's metrics.

use std::time::Duration;

use roadstead_telemetry::Metrics;
use roadstead_telemetry::metrics::labels::{BusMessage, BusRequest, DeadLetter};

use crate::{Count, Meter};

impl Meter for Metrics {
    fn count(&self, what: Count, label: &'static str) {
        let (direction, outcome) = match what {
            Count::StrayAnswer | Count::ForgedAnswer => {
                self.bus_stray_replies.inc();
                return;
            }
            Count::DeadLettered => {
                self.bus_dead_letters.get_or_create(&DeadLetter { reason: label }).inc();
                return;
            }
            Count::Requested | Count::Answered | Count::TimedOut | Count::NotSent | Count::Emitted => {
                ("out", what.as_str())
            }
            Count::Handled | Count::Expired | Count::Received | Count::EventFailed => ("in", what.as_str()),
        };
        self.bus_messages.get_or_create(&BusMessage { kind: label, direction, outcome }).inc();
    }

    fn call_took(&self, kind: &'static str, took: Duration) {
        self.bus_request_duration.get_or_create(&BusRequest { kind }).observe(took.as_secs_f64());
    }
}
