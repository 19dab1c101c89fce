//! One address before several replicas, as an ingress is: each new connection goes to the next replica that takes it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::listening::Listening;

/// A running balancer; ends when dropped.
#[derive(Debug)]
pub struct Balancer {
    listening: Listening,
}

impl Balancer {
    /// Listens on a free port before these.
    pub async fn start(backends: Vec<SocketAddr>) -> Result<Self> {
        let (backends, mut next): (Arc<[SocketAddr]>, usize) = (backends.into(), 0);
        let listening = Listening::start(move |outside| {
            let first = next;
            next = next.wrapping_add(1);
            carry(outside, Arc::clone(&backends), first)
        });
        Ok(Self { listening: listening.await.context("the balancer")? })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.address())
    }
}

async fn carry(mut outside: TcpStream, backends: Arc<[SocketAddr]>, first: usize) {
    for turn in 0..backends.len() {
        let backend = backends[(first % backends.len() + turn) % backends.len()];
        if let Ok(mut inside) = TcpStream::connect(backend).await {
            let _ = copy_bidirectional(&mut outside, &mut inside).await;
            return;
        }
    }
}
