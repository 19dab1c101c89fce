//! A connected pair of sessions over each transport.

use bytes::Bytes;
use roadstead_runtime::Tasks;
use roadstead_tunnel::transport::{Framed, Transport, pipe};
use roadstead_tunnel::ws::WebSocket;
use roadstead_tunnel::{Incoming, Options, Role, Session, start};

/// Which transport a test runs over.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Pipe,
    Framed,
    WebSocket,
    Tcp,
}

/// Both ends of a session.
pub struct Ends {
    pub hub: Session,
    pub hub_incoming: Incoming,
    pub agent: Session,
    pub agent_incoming: Incoming,
    pub tasks: Tasks,
}

pub async fn connect(kind: Kind, options: Options) -> Ends {
    match kind {
        Kind::Pipe => {
            let (hub, agent) = pipe();
            begin(hub, agent, options)
        }
        Kind::Framed => {
            let (hub, agent) = tokio::io::duplex(10_000);
            begin(Framed::new(hub), Framed::new(agent), options)
        }
        Kind::WebSocket => {
            let (hub, agent) = tokio::io::duplex(10_000);
            begin(WebSocket::server(hub, Bytes::new()), WebSocket::dialled(agent, Bytes::new()), options)
        }
        Kind::Tcp => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (agent, accepted) =
                tokio::join!(tokio::net::TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let (hub, agent) = (accepted.unwrap().0, agent.unwrap());
            begin(WebSocket::server(hub, Bytes::new()), WebSocket::dialled(agent, Bytes::new()), options)
        }
    }
}

fn begin(hub: impl Transport, agent: impl Transport, options: Options) -> Ends {
    let tasks = Tasks::new();
    let (hub, hub_incoming) = start(hub, Role::Hub, options, &tasks);
    let (agent, agent_incoming) = start(agent, Role::Agent, options, &tasks);
    Ends { hub, hub_incoming, agent, agent_incoming, tasks }
}
