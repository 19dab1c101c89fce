//! TCP connections that nobody says anything on: a peer that is gone without a word is noticed by the kernel's own probes, and
//! boxes on the way (balancers, NAT) that forget quiet connections do not forget these.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Quiet before the first probe: below the shortest time after which common NAT forgets a connection (60 s).
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Between two probes.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// Probes without an answer that end the connection: a minute of quiet in all.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Has the kernel probe a connection. On a listener it counts for each connection that comes in (`tcp(7)`: accepted sockets
/// begin with the listener's options).
pub fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let probes =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(KEEPALIVE_PROBES);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn probes(socket: &impl AsFd) -> (bool, Duration, Duration, u32) {
        let socket = SockRef::from(socket);
        let time = socket.tcp_keepalive_time().unwrap();
        let (every, probes) = (socket.tcp_keepalive_interval().unwrap(), socket.tcp_keepalive_retries().unwrap());
        (socket.keepalive().unwrap(), time, every, probes)
    }

    #[tokio::test]
    async fn both_ends_are_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        keep_alive(&listener).unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!probes(&dialled).0);
        keep_alive(&dialled).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        for socket in [&dialled, &accepted] {
            assert_eq!(probes(socket), (true, KEEPALIVE_AFTER, KEEPALIVE_EVERY, KEEPALIVE_PROBES));
        }
    }
}
