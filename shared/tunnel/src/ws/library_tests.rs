use std::future::poll_fn;

use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;

fn server(io: DuplexStream) -> Library<DuplexStream> {
    Library::new(io, &[], Side::Server, MESSAGE_MAX)
}

fn pair() -> (Library<DuplexStream>, Library<DuplexStream>) {
    let (one, two) = tokio::io::duplex(1 << 20);
    (server(one), Library::new(two, &[], Side::Client, MESSAGE_MAX))
}

async fn send(socket: &mut Library<DuplexStream>, length: usize) {
    socket.send_message(Message::Binary(vec![3; length].into())).unwrap();
    poll_fn(|context| socket.poll_flushed(context)).await.unwrap();
}

async fn receive(socket: &mut Library<DuplexStream>) -> usize {
    poll_fn(|context| socket.poll_message(context)).await.unwrap().unwrap().len()
}

#[tokio::test]
async fn buffers_are_given_back_between_messages() {
    let (mut hub, mut agent) = pair();
    for length in [1, 125, 126, 40_000, 65_535, 65_536, 7] {
        send(&mut agent, length).await;
        assert_eq!(receive(&mut hub).await, length);
        assert_eq!(hub.grown, length > READ_BUFFER / 2);
        hub.shrink();
        agent.shrink();
        assert!(!hub.grown && !agent.grown);
        send(&mut hub, length).await;
        assert_eq!(receive(&mut agent).await, length);
        hub.shrink();
        agent.shrink();
        assert!(!hub.grown && !agent.grown);
    }
}

#[tokio::test]
async fn nothing_is_given_back_inside_a_message() {
    let (hub, mut raw) = tokio::io::duplex(1 << 20);
    let mut hub = server(hub);
    // A long message, then the first half of another.
    let mut long = vec![0x82, 0xfe, 0x27, 0x10, 0, 0, 0, 0];
    long.extend([7; 10_000]);
    raw.write_all(&long).await.unwrap();
    raw.write_all(&long[..5_000]).await.unwrap();
    assert_eq!(receive(&mut hub).await, 10_000);
    assert!(poll_fn(|context| Poll::Ready(hub.poll_message(context))).await.is_pending());
    hub.shrink();
    assert!(hub.grown);
    raw.write_all(&long[5_000..]).await.unwrap();
    assert_eq!(receive(&mut hub).await, 10_000);
    hub.shrink();
    assert!(!hub.grown);
}
