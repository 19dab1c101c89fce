//! What our crates log, kept in memory at every level: for tests that look for what must not be there. Spans count too, because
//! traces carry their fields.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span;

static LINES: Mutex<String> = Mutex::new(String::new());

/// Keeps every line of ours from now on, for the whole process. Later calls change nothing.
pub fn keep() {
    static ONCE: OnceLock<bool> = OnceLock::new();
    let kept = ONCE.get_or_init(|| tracing::subscriber::set_global_default(Lines).is_ok());
    assert!(*kept, "somebody else takes the log lines of this process");
}

/// Everything since then: fields as `name=value`, a line for each event.
pub fn lines() -> String {
    text().clone()
}

fn text() -> MutexGuard<'static, String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Lines;

impl Visit for &Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(text(), "{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(text(), "{}={value} ", field.name());
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("roadstead")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut &*self);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut &*self);
        text().push('\n');
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
