//! Whether a process can do its work now: what `/readyz` says.

use std::sync::{Arc, Mutex, PoisonError};

/// The parts a process depends on. Ready = every part is.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<Vec<PartState>>>,
}

/// One part: a broker, a database, a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartState {
    /// Its name.
    pub name: &'static str,
    /// Whether it works.
    pub ready: bool,
    /// One sentence about why not; no secrets.
    pub detail: String,
}

/// The handle with which a part says how it is.
#[derive(Debug, Clone)]
pub struct ReadyPart {
    parts: Arc<Mutex<Vec<PartState>>>,
    index: usize,
}

impl Readiness {
    /// Nothing registered: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, not ready until it says so.
    pub fn register(&self, name: &'static str) -> ReadyPart {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push(PartState { name, ready: false, detail: "starting".to_owned() });
        ReadyPart { parts: Arc::clone(&self.parts), index: parts.len() - 1 }
    }

    /// The state of every part.
    pub fn snapshot(&self) -> Vec<PartState> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|part| part.ready)
    }
}

impl ReadyPart {
    /// Says how the part is. The detail is shown to anyone who asks `/readyz`: no secrets, no addresses.
    pub fn set(&self, ready: bool, detail: impl Into<String>) {
        if let Some(part) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).get_mut(self.index) {
            part.ready = ready;
            part.detail = detail.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let (one, two) = (readiness.register("one"), readiness.register("two"));
        one.set(true, "ok");
        assert!(!readiness.is_ready());
        two.set(true, "ok");
        assert!(readiness.is_ready());
        assert_eq!(readiness.snapshot()[1].name, "two");
    }
}
