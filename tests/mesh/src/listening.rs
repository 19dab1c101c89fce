//! A listener of the tests' own: each connection is served by itself, all of them end when it is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Until the next try after a connection that could not be taken: descriptors may have run out.
const RETRY: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Listening {
    address: SocketAddr,
    // Aborted when dropped.
    _task: JoinSet<()>,
}

impl Listening {
    /// On a free port of this machine.
    pub(crate) async fn start<F>(serve: impl FnMut(TcpStream) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to listen")?;
        let address = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(accept(listener, serve));
        Ok(Self { address, _task: task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept<F>(listener: TcpListener, mut serve: impl FnMut(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((outside, _)) => {
                connections.spawn(serve(outside));
            }
            Err(fault) => {
                eprintln!("a connection to {:?} could not be taken: {fault}", listener.local_addr());
                tokio::time::sleep(RETRY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}
