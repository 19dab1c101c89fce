//! The way to one server: open, long, one on which nothing arrives and nothing breaks, or one to a server that is another now.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::listening::Listening;

/// Bytes that are carried at once.
const CHUNK: usize = 16 * 1024;

/// How things pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// At once.
    Open,
    /// What is said arrives so much later, each way.
    Slow(Duration),
    /// Nothing arrives. It is kept, as the kernel keeps what nobody has acknowledged, and comes once the way is open again.
    Shut,
}

/// A way; ends when dropped.
#[derive(Debug)]
pub struct Strait {
    listening: Listening,
    passage: watch::Sender<Passage>,
    lost: watch::Sender<u32>,
}

impl Strait {
    /// An open way to a port of this machine.
    pub async fn start(port: u16) -> Result<Self> {
        let (passage, now) = watch::channel(Passage::Open);
        let (lost, losing) = watch::channel(0);
        let listening = Listening::start(move |outside| {
            let mut losing = losing.clone();
            losing.mark_unchanged();
            carry(outside, port, now.clone(), losing)
        });
        Ok(Self { listening: listening.await.context("the strait")?, passage, lost })
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.listening.address().port()
    }

    /// Opens or shuts it, for the connections that there are as well.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }

    /// Nothing passes any more on the connections that there are, and neither side is told: their server is another machine
    /// now. New ones pass.
    pub fn lose(&self) {
        self.lost.send_modify(|times| *times += 1);
    }
}

async fn carry(outside: TcpStream, port: u16, now: watch::Receiver<Passage>, mut losing: watch::Receiver<u32>) {
    let Ok(inside) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    for socket in [&outside, &inside] {
        let _ = socket.set_nodelay(true);
    }
    let (from_outside, to_outside) = outside.into_split();
    let (from_inside, to_inside) = inside.into_split();
    let (mut there, mut back) = ((from_outside, to_inside), (from_inside, to_outside));
    tokio::select! {
        // The sockets stay as they are.
        _ = losing.changed() => std::future::pending().await,
        () = pump(&mut there, now.clone()) => {}
        () = pump(&mut back, now) => {}
    }
}

/// Carries one direction until a side ends.
async fn pump((from, to): &mut (OwnedReadHalf, OwnedWriteHalf), mut now: watch::Receiver<Passage>) {
    let mut bytes = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let Ok(passage) = now.wait_for(|now| *now != Passage::Shut).await.map(|now| *now) else { return };
        if let Passage::Slow(late) = passage {
            tokio::time::sleep(late).await;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
