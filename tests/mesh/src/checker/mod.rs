//! The checker of operations: what callers were told, joined with what the API server did.
//!
//! - *lost*: accepted, and not ended when everything was quiet.
//! - *twice*: an effect that was not to happen again: an object that is once more as it was before, a removal more than
//!   removals were accepted, or more calls without effect than the deaths of its agent explain.
//! - *unexpected*: an effect that nobody asked for, by somebody else, or out of its turn; a success without its effect.
//! - *backward*: an operation that changed after it had ended.
//! - *silent*: an effect that the operation's own record does not tell, or tells as another, or that the hub's audit trail did
//!   not announce before it happened, or whose end the trail does not tell.
//!
//! All five must be empty in every run; a failed run is not tried again. What each object must go through follows from the
//! changes that were accepted for it (`history.rs`); what it went through is told by the API server's audit log
//! ([`AuditLog`]), call by call, and by a watch ([`Changes`]), state by state, for a call that changes nothing is logged as
//! well. The hub is asked for its trail ([`Trail`]) and for nothing else. `judge.rs` joins them.

mod audit_log;
mod changes;
mod history;
mod judge;
mod trail;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};

pub use audit_log::AuditLog;
pub use changes::Changes;
pub use history::{Deed, State};
pub use judge::judge;
pub use trail::Trail;

/// What one caller asked for, and everything it was told.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The caller's own key of the change.
    pub key: String,
    /// The operation, once its acceptance was heard.
    pub operation: Option<String>,
    /// What is to happen to each of its objects.
    pub deed: Deed,
    /// They are Deployments, and not ConfigMaps.
    pub workload: bool,
    /// Names of the objects. Other changes of them were accepted before or after this one, never beside it.
    pub objects: Vec<String>,
    /// States that the hub told, in order.
    pub states: Vec<String>,
    /// When it ended, by the hub.
    pub ended: Option<DateTime<Utc>>,
    /// What the record of the operation tells of each object: `created`, `skipped`, …
    pub told: BTreeMap<String, String>,
    /// Somebody asked for its end: not all of it need be done.
    pub cancelled: bool,
}

impl Wanted {
    /// Whether the hub says that this was done with an object: by the record, or because all of it has succeeded.
    fn has_done(&self, name: &str) -> bool {
        let done = ["created", "configured", "unchanged", "deleted", "absent"];
        self.told.get(name).is_some_and(|outcome| done.contains(&outcome.as_str()))
            || self.states.last().is_some_and(|state| state == "succeeded")
    }
}

/// A call that may have changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// `create`, `patch`, `update`, `delete`, …
    pub verb: String,
    /// The sub-resource, such as `scale`.
    pub below: String,
    /// Name of the object.
    pub name: String,
    /// Who it was done as.
    pub user: String,
    /// HTTP status.
    pub code: u16,
    /// When the API server took the call.
    pub at: DateTime<Utc>,
}

/// What is wrong. Empty everywhere, or the run has failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// See the module.
    pub lost: Vec<String>,
    /// See the module.
    pub twice: Vec<String>,
    /// See the module.
    pub unexpected: Vec<String>,
    /// See the module.
    pub backward: Vec<String>,
    /// See the module.
    pub silent: Vec<String>,
}

impl Verdict {
    /// Whether all five are empty.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("lost", &self.lost),
            ("twice", &self.twice),
            ("unexpected", &self.unexpected),
            ("backward", &self.backward),
            ("silent", &self.silent),
        ];
        let counts: Vec<String> = all.iter().map(|(name, found)| format!("{name} {}", found.len())).collect();
        f.write_str(&counts.join(", "))?;
        for (name, found) in all {
            for one in found.iter().take(5) {
                write!(f, "\n  {name}: {one}")?;
            }
        }
        Ok(())
    }
}

/// States that never change again.
const TERMINAL: [&str; 5] = ["succeeded", "failed", "cancelled", "timed_out", "interrupted"];

#[cfg(test)]
mod tests;
