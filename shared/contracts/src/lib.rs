//! What crosses a process boundary in Roadstead: ids, names, the error table, queue messages, the agent's
//! verbs and the frozen shapes of the predecessors ([`seed`]).
//!
//! Plain serde types and their checks; no I/O, no clock, no randomness. Read [`queue`] for the list of queues,
//! [`error`] for the table of codes, [`identity`] for who is asking.

pub mod agent;
pub mod audit;
pub mod drift;
pub mod error;
pub mod event;
pub mod identity;
pub mod ids;
pub mod message;
pub mod names;
pub mod operation;
pub mod percent;
pub mod policy;
pub mod queue;
pub mod scope;
pub mod seed;

pub use error::{Code, Error, FieldError, Result};
