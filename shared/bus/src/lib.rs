//! The bus: typed requests with replies, and events, between the services of a mesh.
//!
//! [`Bus`] is what services hold: [`Bus::call`], [`Bus::serve`] with a [`Router`], [`Bus::emit`], [`Bus::subscribe`].
//! Underneath stands a [`Transport`] with two back ends, [`rabbit`] and [`memory`]; `tests/it` runs one suite on both.
//! Every message is signed with the mesh key over its destination, kind, deadline, reply queue and body (`seal.rs`);
//! the one exception are peers of the seeds ([`PeerHandler`]). Bytes of streams never ride here: that is the tunnel's
//! work. What the messages are is in `contracts::message`.

mod call;
mod changes;
mod error;
mod events;
mod forged;
mod lookups;
mod member;
pub mod memory;
mod message;
mod meter;
mod peer;
mod pending;
pub mod rabbit;
mod router;
mod seal;
mod serve;
mod telemetry;
mod transport;
#[cfg(debug_assertions)]
mod unruly;

pub use call::{CALL_DEADLINE_MAX, CallContext};
pub use changes::{Changes, Remembers};
pub use error::{Error, Result};
pub use events::Subscriber;
pub use forged::Forged;
pub use lookups::Lookups;
pub use member::{Bus, Member, replica_queue};
pub use message::{BODY_MAX, DELIVERIES_MAX, Message, header, reason};
pub use meter::{Count, Counts, Meter};
pub use peer::{PeerHandler, PeerReply, PeerRequest};
pub use router::{Incoming, Router};
pub use serve::ServeOptions;
pub use transport::{
    Arrival, Deliveries, Delivery, Destination, ReturnedHook, Settle, Settler, Shape, Subscription, Transport,
    dead_letter_queue,
};
