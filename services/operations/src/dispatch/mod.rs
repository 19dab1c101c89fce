//! Gives operations to agents and stores what comes back.
//!
//! Work is state in the database, not a message: a dispatcher leases what can go on ([`mod@find`]), carries each operation in a
//! task of its own ([`carry`]) and renews its leases while it lives ([`lease`]). When it dies, another takes the lease over and
//! re-opens the same attempt; the agent's ledger knows how far it came. Events are stored before anything is done because of
//! them ([`record`]), and an ending is told to the agent only once it is stored ([`mod@settle`]).

mod agent;
mod carry;
mod faults;
mod find;
mod follow;
mod lease;
mod record;
mod running;
mod settle;

pub(crate) use find::{find, listen};
pub(crate) use lease::renew;
pub(crate) use running::Running;
pub(crate) use settle::settle;

/// For tests: points at which a dispatcher can be let die.
pub use faults::{Faults, POINTS};
