//! Agents' sessions on this replica: who is here ([`Registry`]), what carries them ([`Link`]), and the one task that each
//! of them has ([`mod@attach`]).

mod asked;
mod attach;
mod drift;
mod keys;
mod presence;
mod registry;
mod replica;
mod seed;

pub(crate) use asked::Asked;
pub(crate) use attach::{Arrival, attach};
pub(crate) use keys::{Keys, keep_keys};
pub(crate) use presence::{Presence, PresenceQueue, write_presence};
pub(crate) use registry::{Held, Link, Registry};
pub(crate) use replica::{keep_replica, refresh};
pub(crate) use seed::{SeedLink, SeedSocket};
