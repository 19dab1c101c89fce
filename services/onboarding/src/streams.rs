//! Streams to agents, for the front door in the same process.

use std::fmt;
use std::sync::Arc;

use roadstead_contracts::Result;
use roadstead_contracts::agent::StreamHead;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::SessionFacts;
use roadstead_tunnel::{Class, Stream};

use crate::app::App;
use crate::recording::Recorder;

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

    /// The same for a session in a container, recorded where sessions are.
    pub async fn open_session(&self, session: &SessionFacts, head: &StreamHead, class: Class) -> Result<Stream> {
        let Some(recorder) = Recorder::for_session(&self.0, Some(session), &head.request_id).await? else {
            return self.open(session.cluster_id, head, class).await;
        };
        match self.open(session.cluster_id, head, class).await {
            Ok(agent) => recorder.between(agent, class, &self.0.tasks).await,
            Err(error) => {
                recorder.abandon().await;
                Err(error)
            }
        }
    }

    /// A request that must not ride a queue, as JSON; its answer likewise.
    pub async fn hand_over(&self, verb: &str, body: &[u8]) -> Vec<u8> {
        crate::app::handover(&self.0, verb, body).await
    }
}
