//! The checker of operations: what callers were told, joined with what the API server did.
//!
//! - *lost*: accepted, and not ended when everything was quiet.
//! - *twice*: an effect that was not to happen again: an object made twice, changed after it was made, or touched more often
//!   than the deaths of its agent explain.
//! - *unexpected*: an effect that nobody asked for, or by somebody else; a success without its effect.
//! - *backward*: an operation that changed after it had ended.
//! - *silent*: an effect that the operation's own record does not tell, or that the hub's audit trail did not announce before
//!   it happened, or whose end the trail does not tell.
//!
//! All five must be empty in every run; a failed run is not tried again. Effects come from the API server's audit log
//! ([`AuditLog`]), and whether a call changed anything from a watch ([`Changes`]), for an apply that changes nothing is
//! logged as well. The hub is asked for its trail ([`Trail`]) and for nothing else.

mod audit_log;
mod changes;
mod trail;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};

pub use audit_log::AuditLog;
pub use changes::{Changes, Seen};
pub use trail::Trail;

/// What one caller asked for, and everything it was told.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The caller's own key of the change.
    pub key: String,
    /// The operation, once its acceptance was heard.
    pub operation: Option<String>,
    /// Names of the objects that it makes. No other change makes them.
    pub objects: Vec<String>,
    /// States that the hub told, in order.
    pub states: Vec<String>,
    /// Objects that the record of the operation tells as made, changed or found unchanged.
    pub told: BTreeSet<String>,
    /// Somebody asked for its end: not all objects need be there.
    pub cancelled: bool,
}

/// A call that may have changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// `create`, `patch`, `update`, `delete`, …
    pub verb: String,
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

/// Joins the logs. `user` is whom the cluster must have seen; `deaths` is how often an agent or hub process died: each may
/// have cost one object its record, so that one call is made again and changes nothing.
pub fn judge(
    wanted: &[Wanted],
    effects: &[Effect],
    changes: &BTreeMap<String, Seen>,
    user: &str,
    deaths: usize,
) -> Verdict {
    let mut verdict = Verdict::default();
    let owners: BTreeMap<&str, &Wanted> =
        wanted.iter().flat_map(|one| one.objects.iter().map(move |name| (name.as_str(), one))).collect();
    let mut good: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
    for effect in effects.iter().filter(|effect| (200..300).contains(&effect.code)) {
        match owners.get(effect.name.as_str()) {
            // An answer that was lost says nothing: the hub may have accepted it.
            Some(_) if effect.user == user => good.entry(&effect.name).or_default().push(effect),
            Some(_) => verdict.unexpected.push(format!("{effect:?} by another than {user}")),
            None => verdict.unexpected.push(format!("{effect:?}, which nobody asked for")),
        }
    }
    let mut repeated = 0;
    for (name, effects) in &good {
        let made = effects.iter().filter(|effect| effect.code == 201).count();
        let seen = changes.get(*name).copied().unwrap_or_default();
        if made > 1 || seen.added > 1 || seen.modified > 0 || seen.deleted > 0 {
            verdict.twice.push(format!("{name}: made {made} times, {seen:?}"));
        }
        repeated += effects.len() - 1;
        if owners.get(*name).is_some_and(|one| one.operation.is_some() && !one.told.contains(*name)) {
            verdict.silent.push(format!("{name}: its operation does not tell of it"));
        }
    }
    if repeated > deaths {
        verdict.twice.push(format!("{repeated} calls were made again, after {deaths} deaths"));
    }
    for one in wanted {
        let Some(operation) = &one.operation else { continue };
        let mut ended: Option<&str> = None;
        for state in &one.states {
            if let Some(before) = ended.filter(|before| before != state) {
                verdict.backward.push(format!("{operation}: {before}, then {state}"));
            }
            if TERMINAL.contains(&state.as_str()) {
                ended = Some(state);
            }
        }
        match ended {
            None => verdict.lost.push(format!("{operation} is {:?}", one.states.last())),
            Some("succeeded") => {
                let missing = one.objects.iter().find(|name| !good.contains_key(name.as_str()));
                verdict.unexpected.extend(missing.map(|name| format!("{operation} succeeded without {name}")));
            }
            Some("cancelled") if one.cancelled => {}
            Some(other) => verdict.unexpected.push(format!("{operation} is {other}")),
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "roadstead:owner";

    fn wanted(states: &[&str]) -> Wanted {
        Wanted {
            key: "k".to_owned(),
            operation: Some("op".to_owned()),
            objects: vec!["a".to_owned(), "b".to_owned()],
            states: states.iter().map(|state| (*state).to_owned()).collect(),
            told: ["a".to_owned(), "b".to_owned()].into(),
            cancelled: false,
        }
    }

    fn effect(name: &str, code: u16) -> Effect {
        Effect {
            verb: "patch".to_owned(),
            name: name.to_owned(),
            user: USER.to_owned(),
            code,
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn added(names: &[&str]) -> BTreeMap<String, Seen> {
        names.iter().map(|name| ((*name).to_owned(), Seen { added: 1, ..Seen::default() })).collect()
    }

    #[test]
    fn a_good_run_is_clean() {
        let one = [wanted(&["queued", "running", "succeeded", "succeeded"])];
        let effects = [effect("a", 201), effect("b", 201)];
        assert!(judge(&one, &effects, &added(&["a", "b"]), USER, 0).is_clean());
        // An agent died before it had written down that b was made.
        let effects = [effect("a", 201), effect("b", 201), effect("b", 200)];
        assert!(judge(&one, &effects, &added(&["a", "b"]), USER, 1).is_clean());
        assert_eq!(judge(&one, &effects, &added(&["a", "b"]), USER, 0).twice.len(), 1);
    }

    #[test]
    fn each_fault_is_found() {
        let good = [effect("a", 201), effect("b", 201)];
        let seen = added(&["a", "b"]);
        let of = |one: Wanted, effects: &[Effect], seen: &BTreeMap<String, Seen>| judge(&[one], effects, seen, USER, 0);
        assert_eq!(of(wanted(&["queued", "running"]), &good, &seen).lost.len(), 1);
        assert_eq!(of(wanted(&["succeeded", "failed"]), &good, &seen).backward.len(), 1);
        assert_eq!(of(wanted(&["succeeded"]), &[effect("a", 201)], &seen).unexpected.len(), 1);
        assert_eq!(of(wanted(&["failed"]), &good, &seen).unexpected.len(), 1);
        let stranger = [good[0].clone(), good[1].clone(), effect("c", 201)];
        assert_eq!(of(wanted(&["succeeded"]), &stranger, &seen).unexpected.len(), 1);
        let other = [effect("a", 201), Effect { user: "system:agent".to_owned(), ..effect("b", 201) }];
        assert_eq!(of(wanted(&["succeeded"]), &other, &seen).unexpected.len(), 2);
        let again = [effect("a", 201), effect("a", 201), effect("b", 201)];
        assert!(!of(wanted(&["succeeded"]), &again, &seen).twice.is_empty());
        let changed = [("a".to_owned(), Seen { added: 1, modified: 1, deleted: 0 })].into();
        assert_eq!(of(wanted(&["succeeded"]), &good, &changed).twice.len(), 1);
        let quiet = Wanted { told: ["a".to_owned()].into(), ..wanted(&["succeeded"]) };
        assert_eq!(of(quiet, &good, &seen).silent.len(), 1);
        let stopped = Wanted { cancelled: true, ..wanted(&["running", "cancelled"]) };
        assert!(of(stopped, &[effect("a", 201)], &added(&["a"])).is_clean());
    }
}
