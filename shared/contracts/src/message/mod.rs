//! Messages that ride the queues. A message names its queue, its kind (with a version) and its reply.

mod audit;
mod auth;
mod drift;
mod grants;
mod handover;
mod join_tokens;
mod namespaces;
mod operations;
mod registry;
mod rollouts;
mod seed_agent;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use audit::*;
pub use auth::*;
pub use drift::*;
pub use grants::*;
pub use handover::*;
pub use join_tokens::*;
pub use namespaces::*;
pub use operations::*;
pub use registry::*;
pub use rollouts::*;
pub use seed_agent::*;

use crate::queue::Queue;

/// A request that rides a queue, and the reply that comes back. Several kinds may share a queue.
pub trait Request: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The queue it is put on.
    const QUEUE: Queue;
    /// Its kind with its version: `list_clusters.v1`.
    const KIND: &'static str;
    /// What comes back when it succeeds; failures come back as [`crate::Error`].
    type Reply: Serialize + DeserializeOwned + Send + Sync + 'static;
}

macro_rules! requests {
    ($($queue:path: { $($message:ident = $kind:literal -> $reply:ty;)* })*) => {$($(
        impl crate::message::Request for $message {
            const QUEUE: crate::queue::Queue = $queue;
            const KIND: &'static str = $kind;
            type Reply = $reply;
        }
    )*)*};
}
pub(crate) use requests;
