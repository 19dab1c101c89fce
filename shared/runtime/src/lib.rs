//! What every process of Roadstead needs and no process decides by itself: time, ids and randomness ([`Clock`],
//! [`Ids`]), secrets ([`Secret`]), the life of tasks ([`Tasks`]), readiness, retry delays, outgoing-address policy and
//! settings.
//!
//! Not for anything that knows a protocol. Read [`tasks`] first: it says what happens on a stop signal.

pub mod client_tls;
mod clock;
pub mod config;
pub mod crash;
mod crypto;
mod descriptors;
mod ids;
pub mod kill;
pub mod outgoing;
mod readiness;
pub mod retry;
mod secret;
pub mod sockets;
pub mod tasks;

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use crypto::install_crypto;
pub use descriptors::{LEAST_FOR_A_HUB, LEAST_FOR_AN_AGENT, raise_descriptor_limit};
pub use ids::Ids;
pub use readiness::{PartState, Readiness, ReadyPart};
pub use secret::Secret;
pub use tasks::{OnFailure, Tasks, wait_for_signal};
