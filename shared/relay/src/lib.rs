//! What members of a mesh carry to each other past the broker: streams to agents ([`AgentStreams`]), bodies of operations
//! ([`BodyStage`]) and requests with something secret in them ([`Handovers`]). Mutual TLS from the mesh secret, the tunnel's frames inside.
//!
//! In one process both are calls; [`MeshStreams`] and [`MeshStage`] are the same over the mesh. [`serve`] is the listener of
//! the side that is dialled. Who may ask is decided by the asker; who is a member, by the certificate.

mod address;
pub mod cache;
mod handover;
mod listen;
mod places;
mod sessions;
mod stage;
mod streams;

use async_trait::async_trait;
use roadstead_contracts::Result;
use roadstead_contracts::agent::StreamHead;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::SessionFacts;
use roadstead_tunnel::{Class, Stream};

pub use address::advertised;
pub use cache::{Answer, Cache};
pub use handover::{Handovers, MeshHandovers, hand_over};
pub use listen::serve;
pub use sessions::Sessions;
pub use stage::{BodyStage, Intake, MeshStage, StageHead, digest};
pub use streams::MeshStreams;

/// Opens streams to agents, wherever their sessions are.
#[async_trait]
pub trait AgentStreams: Send + Sync {
    /// A stream to the active agent of a cluster, with its head sent.
    async fn open(&self, cluster: ClusterId, head: StreamHead, class: Class) -> Result<Stream>;

    /// The same for a session in a container, which onboarding may have to record: when it must and cannot, there is none.
    async fn open_session(&self, session: SessionFacts, head: StreamHead, class: Class) -> Result<Stream>;
}
