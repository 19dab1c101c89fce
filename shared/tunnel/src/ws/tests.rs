use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

fn pair() -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
    let (one, two) = tokio::io::duplex(1 << 20);
    (WebSocket::server(one, ""), WebSocket::dialled(two, ""))
}

/// Bytes of buffers that it holds.
fn held(socket: &WebSocket<DuplexStream>) -> usize {
    socket.reader.holds() + socket.outgoing.capacity() + socket.ready.capacity() + socket.early.len()
}

async fn send(socket: &mut WebSocket<DuplexStream>, length: usize) {
    socket.start_send(vec![3; length].into()).unwrap();
    poll_fn(|context| socket.poll_flush(context)).await.unwrap();
}

async fn receive(socket: &mut WebSocket<DuplexStream>) -> usize {
    poll_fn(|context| socket.poll_receive(context)).await.unwrap().unwrap().len()
}

#[tokio::test]
async fn buffers_are_given_back_between_messages() {
    let (mut hub, mut agent) = pair();
    for length in [1, 125, 126, 40_000, 65_535, 65_536, 7] {
        send(&mut agent, length).await;
        assert_eq!(receive(&mut hub).await, length);
        hub.rest();
        agent.rest();
        assert_eq!(held(&hub) + held(&agent), 0);
        send(&mut hub, length).await;
        assert_eq!(receive(&mut agent).await, length);
        hub.rest();
        agent.rest();
        assert_eq!(held(&hub) + held(&agent), 0);
    }
}

#[tokio::test]
async fn nothing_is_given_back_inside_a_message() {
    let (hub, mut raw) = tokio::io::duplex(1 << 20);
    let mut hub = WebSocket::server(hub, "");
    // A long message, then the first half of another.
    let mut long = vec![0x82, 0xfe, 0x27, 0x10, 0, 0, 0, 0];
    long.extend([7; 10_000]);
    raw.write_all(&long).await.unwrap();
    raw.write_all(&long[..5_000]).await.unwrap();
    assert_eq!(receive(&mut hub).await, 10_000);
    assert!(poll_fn(|context| Poll::Ready(hub.poll_receive(context))).await.is_pending());
    hub.rest();
    assert!(held(&hub) >= 10_000);
    raw.write_all(&long[5_000..]).await.unwrap();
    assert_eq!(receive(&mut hub).await, 10_000);
    hub.rest();
    assert_eq!(held(&hub), 0);
}

#[tokio::test]
async fn what_came_with_the_handshake_is_not_lost() {
    let (io, mut raw) = tokio::io::duplex(1 << 20);
    let mut agent = WebSocket::dialled(io, [0x82, 3, 1, 2]);
    raw.write_all(&[3]).await.unwrap();
    assert_eq!(receive(&mut agent).await, 3);
    send(&mut agent, 5).await;
    let mut sent = [0; 11];
    raw.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent[..2], [0x82, 0x85], "clients mask");
}

#[tokio::test]
async fn many_messages_of_one_read_come_in_order() {
    let (mut hub, mut agent) = pair();
    for length in 1..=3 * READY_MAX {
        agent.start_send_of(8, &mut |out| out.extend_from_slice(&vec![1; length])).unwrap();
    }
    poll_fn(|context| agent.poll_flush(context)).await.unwrap();
    for length in 1..=3 * READY_MAX {
        assert_eq!(receive(&mut hub).await, length);
    }
    hub.rest();
    assert_eq!(held(&hub), 0);
}
