//! How an object is to be, one state after another, if every change that was accepted happens once and in its turn.

use std::collections::BTreeMap;

use kube::api::DynamicObject;

use super::Wanted;

/// The annotation by which a restart replaces the pods of a workload; its value is the operation's id.
const RESTARTED: &str = "/spec/template/metadata/annotations/roadstead.io~1restarted-by";

/// What a change does to each of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is made so, or becomes so.
    Apply {
        /// Of a ConfigMap its value, of a workload the tag of its image.
        value: String,
        /// Of a workload.
        replicas: u32,
    },
    /// It goes.
    Delete,
    /// A workload gets so many replicas.
    Scale(u32),
    /// A workload's pods are replaced.
    Restart,
    /// A workload gets the template back that it had before.
    Rollback,
}

impl Default for Deed {
    fn default() -> Self {
        Self::Apply { value: "1".to_owned(), replicas: 0 }
    }
}

impl Deed {
    /// The word that the hub has for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Delete => "delete",
            Self::Scale(_) => "scale",
            Self::Restart => "restart",
            Self::Rollback => "rollback",
        }
    }

    /// The one call by which it is done.
    fn call(&self) -> Call {
        match self {
            Self::Apply { .. } | Self::Restart | Self::Rollback => Call::Patch,
            Self::Scale(_) => Call::Scale,
            Self::Delete => Call::Delete,
        }
    }

    /// The state after it. What is not there can be made, and nothing else done with it.
    fn after(&self, operation: &str, before: &[Option<State>]) -> Option<State> {
        let now = before.last().cloned().flatten();
        match self {
            Self::Apply { value, replicas } => {
                Some(State { value: value.clone(), replicas: *replicas, ..now.unwrap_or_default() })
            }
            Self::Delete => None,
            Self::Scale(replicas) => now.map(|now| State { replicas: *replicas, ..now }),
            Self::Restart => now.map(|now| State { restarted: operation.to_owned(), ..now }),
            Self::Rollback => now.map(|now| {
                let mut lived = before.iter().rev().map_while(Option::as_ref);
                let earlier = lived.find(|state| state.template() != now.template());
                let (value, restarted) = earlier.unwrap_or(&now).template();
                State { value: value.to_owned(), restarted: restarted.to_owned(), replicas: now.replicas }
            }),
        }
    }
}

/// A kind of call that changes an object, as the API server's audit log tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// Of the object itself: apply, restart, rollback.
    Patch,
    /// Of its scale.
    Scale,
    /// Its removal.
    Delete,
}

impl Call {
    pub(super) const ALL: [Self; 3] = [Self::Patch, Self::Scale, Self::Delete];

    /// Which one a call is; none: no change is made so.
    pub(super) fn of(verb: &str, below: &str) -> Option<Self> {
        match (verb, below) {
            ("patch", "") => Some(Self::Patch),
            ("patch", "scale") => Some(Self::Scale),
            ("delete", "") => Some(Self::Delete),
            _ => None,
        }
    }
}

/// An object, as far as changes set it: what controllers write beside that is theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Of a ConfigMap its value, of a workload the tag of its image.
    pub value: String,
    /// Of a workload.
    pub replicas: u32,
    /// The operation that restarted it last.
    pub restarted: String,
}

impl State {
    /// As the API server has it; none when it is on its way out.
    pub fn of(object: &DynamicObject) -> Option<Self> {
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let text = |pointer: &str| object.data.pointer(pointer).and_then(serde_json::Value::as_str);
        let tag = || Some(text("/spec/template/spec/containers/0/image")?.rsplit_once(':')?.1);
        let replicas = object.data.pointer("/spec/replicas").and_then(serde_json::Value::as_u64);
        Some(Self {
            value: text("/data/value").or_else(tag).unwrap_or_default().to_owned(),
            replicas: replicas.and_then(|number| number.try_into().ok()).unwrap_or_default(),
            restarted: text(RESTARTED).unwrap_or_default().to_owned(),
        })
    }

    /// What a rollback brings back.
    fn template(&self) -> (&str, &str) {
        (&self.value, &self.restarted)
    }
}

/// What an object goes through.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Its states in turn; none: it is not there.
    pub(super) states: Vec<Option<State>>,
    /// Calls that this takes.
    pub(super) calls: BTreeMap<Call, usize>,
    /// How often it comes to be.
    pub(super) made: usize,
    /// The operations that say of it what did not happen so.
    pub(super) misread: Vec<String>,
}

impl History {
    /// By the changes of one object, in the order in which they were accepted: those whose record tells that they did it, or
    /// with `all` the others as well.
    pub(super) fn of(name: &str, changes: &[&Wanted], all: bool) -> Self {
        let mut history = Self::default();
        for one in changes.iter().filter(|one| all || one.has_done(name)) {
            let operation = one.operation.as_deref().unwrap_or_default();
            let now = history.states.last().cloned().flatten();
            let next = one.deed.after(operation, &history.states);
            *history.calls.entry(one.deed.call()).or_default() += 1;
            let outcome = match (&now, &next) {
                (None, Some(_)) => "created",
                (Some(_), None) => "deleted",
                (None, None) => "absent",
                (now, next) if now == next => "unchanged",
                _ => "configured",
            };
            if let Some(told) = one.told.get(name).filter(|told| *told != outcome) {
                history.misread.push(format!("{operation} tells {name} as {told}, it was {outcome}"));
            }
            history.made += usize::from(outcome == "created");
            if now != next {
                history.states.push(next);
            }
        }
        history
    }
}
