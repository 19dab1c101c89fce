//! Named points at which a test lets a whole process die, as `kill -9` at exactly that place would: nothing is flushed,
//! nothing is told, nothing is put away.
//!
//! `ROADSTEAD_TEST_KILL=NAME:N` ends the process when it passes the point for the Nth time. Builds without debug assertions,
//! which is every release, have none of it: neither the points nor the variable. The campaign in `tests/mesh` goes through
//! [`POINTS`], so a point that nothing passes any more fails there.

/// Every point, in the order in which a change passes them, with the parts of a hub that pass it.
pub const POINTS: [Point; 41] = [
    // The front door takes a request.
    at("cluster.intent_kept", &["cluster"]),
    Point { one_process: false, ..at("stage.body_sent", &["cluster"]) },
    at("operations.body_sealed", &["operations"]),
    at("operations.body_kept", &["operations"]),
    // A message and its answer.
    at("bus.question_ready", ASKING),
    at("bus.event_confirmed", &["operations"]),
    at("bus.message_received", SERVING),
    at("bus.message_handled", SERVING),
    at("bus.answer_sent", SERVING),
    at("bus.answer_received", ASKING),
    // An event and a record leave with their transaction.
    at("relay.claimed", &["operations"]),
    at("relay.handed_on", &["operations"]),
    at("relay.settled", &["operations"]),
    at("bus.event_received", &["operations"]),
    at("bus.event_handled", &["operations"]),
    at("user.records_chained", &["user"]),
    at("user.order_signed", &["user"]),
    // An operation is made, and changes.
    at("operations.create_uncommitted", &["operations"]),
    at("operations.create_committed", &["operations"]),
    at("operations.change_uncommitted", &["operations"]),
    at("operations.change_committed", &["operations"]),
    // A dispatcher carries it.
    at("claimed", &["operations"]),
    at("order_signed", &["operations"]),
    at("stream_open", &["operations"]),
    at("dispatched_stored", &["operations"]),
    at("order_sent", &["operations"]),
    at("event_read", &["operations"]),
    at("events_stored", &["operations"]),
    at("ending_read", &["operations"]),
    at("ending_stored", &["operations"]),
    at("settled", &["operations"]),
    at("onboarding.stream_opened", &["onboarding"]),
    // The agent does it.
    at("agent.order_checked", AGENT),
    at("agent.ledger_begun", AGENT),
    at("agent.origin_written", AGENT),
    at("agent.applied", AGENT),
    at("agent.result_written", AGENT),
    at("agent.event_told", AGENT),
    at("agent.ending_written", AGENT),
    at("agent.ending_told", AGENT),
    at("agent.settled", AGENT),
];

const ASKING: &[&str] = &["cluster", "operations"];
const SERVING: &[&str] = &["user", "onboarding", "operations"];
const AGENT: &[&str] = &["agent"];

/// A point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// Who passes it while operations run: services, or `agent`.
    pub parts: &'static [&'static str],
    /// Whether a hub in one process passes it: not what only brings something to another process.
    pub one_process: bool,
}

const fn at(name: &'static str, parts: &'static [&'static str]) -> Point {
    Point { name, parts, one_process: true }
}

/// Dies here if this is where, and when, it is to die.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| wanted(&std::env::var("ROADSTEAD_TEST_KILL").ok()?));
    let Some((wanted, left)) = wanted else { return };
    if wanted == name && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        eprintln!("dies at the point {name}");
        std::process::abort();
    }
}

/// Nothing: this is not a build for tests.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn point(_name: &'static str) {}

/// Reads `NAME:N`.
#[cfg(debug_assertions)]
fn wanted(text: &str) -> Option<(String, std::sync::atomic::AtomicU64)> {
    let (name, passing) = text.rsplit_once(':')?;
    Some((name.to_owned(), passing.parse::<u64>().ok()?.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn each_point_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), POINTS.len());
    }

    #[test]
    fn nobody_dies_who_is_not_told_to() {
        point("claimed");
        let (name, passing) = wanted("agent.applied:3").unwrap();
        assert_eq!((name.as_str(), passing.load(Ordering::Relaxed)), ("agent.applied", 3));
        assert!(wanted("agent.applied").is_none() && wanted("agent.applied:").is_none());
    }
}
