//! Streams to agents that are connected here.

use bytes::Bytes;
use roadstead_contracts::agent::StreamHead;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{AgentLocation, LocateAgent};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::kill;
use roadstead_telemetry::metrics::labels::Outcome;
use roadstead_tunnel::{Class, Stream};
use tokio::time::{Instant, timeout_at};

use super::App;
use crate::limits::{AGENT_STREAMS, COME_BACK_SECONDS, RECONNECT_WAIT};
use crate::session::{Held, Link};

/// Where the session of a cluster's agent is.
pub(crate) async fn locate_agent(app: &App, request: LocateAgent) -> Result<AgentLocation> {
    let found = app.store.locate(request.cluster_id, app.presence.cutoff()).await?.ok_or(Code::AgentOffline)?;
    match (found.replica, found.address.clone()) {
        (Some(replica_id), Some(address)) => {
            Ok(AgentLocation { replica_id, address, agent_id: found.agent, epoch: found.epoch })
        }
        // A replica of the version before, which takes no streams.
        (Some(_), None) => Err(Error::new(Code::Unavailable, "the replica that holds the agent takes no streams yet")),
        _ if found.may_come_back(app.clock.now()) => Err(Error::of(Code::AgentOffline).retry_after(COME_BACK_SECONDS)),
        _ => Err(Code::AgentOffline.into()),
    }
}

impl App {
    /// A stream to the cluster's agent, if it is connected here.
    pub(crate) fn open_stream_now(&self, cluster: ClusterId, head: &StreamHead, class: Class) -> Result<Stream> {
        let opened = match self.sessions.of_cluster(cluster) {
            Some(held) => open_on(&held, head, class),
            None => Err(Code::AgentOffline.into()),
        };
        if opened.is_ok() {
            kill::point("onboarding.stream_opened");
        }
        let outcome = if opened.is_ok() { "ok" } else { "failed" };
        self.metrics.tunnel_streams.get_or_create(&Outcome { outcome }).inc();
        opened
    }

    /// The same, waiting a little for an agent that was here a moment ago. For one process, in which an agent is here or
    /// nowhere.
    pub(crate) async fn open_stream(&self, cluster: ClusterId, head: &StreamHead, class: Class) -> Result<Stream> {
        let deadline = Instant::now() + RECONNECT_WAIT;
        let mut asked = false;
        loop {
            let arrival = self.sessions.arrival();
            let mut arrival = std::pin::pin!(arrival);
            arrival.as_mut().enable();
            match self.open_stream_now(cluster, head, class) {
                Err(error) if error.code == Code::AgentOffline => {}
                other => return other,
            }
            if !asked {
                asked = true;
                let found = self.store.locate(cluster, self.presence.cutoff()).await?;
                if !found.is_some_and(|found| found.may_come_back(self.clock.now())) {
                    return Err(Code::AgentOffline.into());
                }
            }
            if timeout_at(deadline, arrival).await.is_err() {
                return Err(Error::of(Code::AgentOffline).retry_after(COME_BACK_SECONDS));
            }
        }
    }
}

fn open_on(held: &Held, head: &StreamHead, class: Class) -> Result<Stream> {
    let Link::Tunnel(session) = &held.link else {
        return Err(Error::new(
            Code::AgentError,
            "this agent takes commands only, it does not carry the Kubernetes API",
        ));
    };
    let busy = || Error::of(Code::AgentBusy).retry_after(1);
    if session.open_streams() >= AGENT_STREAMS {
        return Err(busy());
    }
    let head = serde_json::to_vec(head).map_err(|_| Error::of(Code::Internal))?;
    // Whatever it is for begins with a request.
    session.open_to_use(Bytes::from(head), class).map_err(|fault| match fault {
        roadstead_tunnel::Error::Closed(_) | roadstead_tunnel::Error::Exhausted => Error::of(Code::AgentOffline),
        roadstead_tunnel::Error::TooManyStreams => busy(),
        _ => Error::of(Code::Internal),
    })
}
