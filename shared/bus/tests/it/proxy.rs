//! A TCP proxy before the broker: cuts connections, and keeps what went through.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    pub url: String,
    open: watch::Sender<bool>,
    captured: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub async fn start(uri: &lapin::uri::AMQPUri) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut through = uri.clone();
        let target = format!("{}:{}", uri.authority.host, uri.authority.port);
        let address: SocketAddr = listener.local_addr().unwrap();
        through.authority.host = address.ip().to_string();
        through.authority.port = address.port();
        let (open, state) = watch::channel(true);
        let captured = Arc::new(Mutex::new(Vec::new()));
        let seen = captured.clone();
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                if *state.borrow() {
                    tokio::spawn(forward(client, target.clone(), state.clone(), seen.clone()));
                }
            }
        });
        Self { url: through.to_string(), open, captured }
    }

    /// Ends every connection and takes no new one.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn restore(&self) {
        self.open.send_replace(true);
    }

    pub fn captured(&self) -> Vec<u8> {
        self.captured.lock().unwrap().clone()
    }
}

async fn forward(client: TcpStream, target: String, mut open: watch::Receiver<bool>, seen: Arc<Mutex<Vec<u8>>>) {
    let Ok(broker) = TcpStream::connect(target).await else { return };
    client.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    let (client_read, client_write) = client.into_split();
    let (broker_read, broker_write) = broker.into_split();
    tokio::select! {
        () = copy(client_read, broker_write, &seen) => {}
        () = copy(broker_read, client_write, &seen) => {}
        _ = open.wait_for(|open| !*open) => {}
    }
}

async fn copy(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, seen: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
