//! One address before several replicas, as an ingress is: each new connection goes to the next replica that takes it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running balancer; ends when dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    // Aborted when dropped.
    _task: JoinSet<()>,
}

impl Balancer {
    /// Listens on a free port before these.
    pub async fn start(backends: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to bind the balancer")?;
        let address = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(serve(listener, backends.into()));
        Ok(Self { address, _task: task })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(listener: TcpListener, backends: Arc<[SocketAddr]>) {
    let next = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    while let Ok((mut outside, _)) = listener.accept().await {
        let backends = Arc::clone(&backends);
        let first = next.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            for turn in 0..backends.len() {
                let backend = backends[(first + turn) % backends.len()];
                if let Ok(mut inside) = TcpStream::connect(backend).await {
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
