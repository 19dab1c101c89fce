//! Streams to agents, for the front door in the same process.

use std::fmt;
use std::sync::Arc;

use roadstead_contracts::Result;
use roadstead_contracts::agent::StreamHead;
use roadstead_contracts::ids::ClusterId;
use roadstead_tunnel::{Class, Stream};

use crate::app::App;

/// Opens streams to the agents of this process. Clones are the same.
#[derive(Clone)]
pub struct Streams(pub(crate) Arc<App>);

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streams")
    }
}

impl Streams {
    /// A stream to the agent of a cluster, its head sent. Waits up to five seconds for an agent that was here a moment ago;
    /// any other one that is not here is `agent_offline` at once.
    pub async fn open(&self, cluster: ClusterId, head: &StreamHead, class: Class) -> Result<Stream> {
        self.0.open_stream(cluster, head, class).await
    }
}
