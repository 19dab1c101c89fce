//! Which agent was asked what: the questions to agents of the seeds that wait for an answer. An agent that answers another
//! one's question is told from one that answers late (reliability row W09).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use roadstead_contracts::ids::AgentId;

/// Open questions by their id; bounded by how many an agent may have at once.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<HashMap<String, AgentId>>);

impl Asked {
    /// Notes a question until the guard goes.
    pub(crate) fn note(self: &Arc<Self>, request: &str, agent: AgentId) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request.to_owned(), agent);
        Noted { asked: Arc::clone(self), request: request.to_owned() }
    }

    /// Whether another agent than this one was asked that.
    pub(crate) fn of_another(&self, request: &str, agent: AgentId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(request).is_some_and(|asked| *asked != agent)
    }
}

/// An open question.
#[derive(Debug)]
pub(crate) struct Noted {
    asked: Arc<Asked>,
    request: String,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.asked.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.request);
    }
}
