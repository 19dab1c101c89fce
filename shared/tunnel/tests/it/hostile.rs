//! Peers that break the rules (reliability rows W03 to W06).

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use roadstead_runtime::Tasks;
use roadstead_tunnel::frame::Frame;
use roadstead_tunnel::ws::WebSocket;
use roadstead_tunnel::{CloseReason, Options, Role, Session, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

struct Victim {
    hub: Session,
    peer: DuplexStream,
    tasks: Tasks,
}

fn victim() -> Victim {
    let (ours, peer) = tokio::io::duplex(1 << 20);
    let tasks = Tasks::new();
    let (hub, _incoming) = start(WebSocket::server(ours, Bytes::new()), Role::Hub, Options::default(), &tasks);
    Victim { hub, peer, tasks }
}

/// A masked frame with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.put_u16(length as u16);
        }
        length => {
            out.push(0x80 | 127);
            out.put_u64(length as u64);
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
    out
}

impl Victim {
    /// Sends bytes and says with which WebSocket code the hub hung up.
    async fn after(mut self, bytes: Vec<u8>) -> (CloseReason, Option<u16>) {
        let (mut reader, mut writer) = tokio::io::split(&mut self.peer);
        let write = async {
            // The hub may hang up before it has read all of it.
            let _ = writer.write_all(&bytes).await;
        };
        let mut answer = Vec::new();
        let read = async {
            let _ = reader.read_to_end(&mut answer).await;
        };
        let reason = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::join!(write, read);
            self.hub.closed().await
        });
        let reason = reason.await.expect("the hub did not hang up");
        self.tasks.cut();
        let code = answer.windows(4).rev().find(|part| part[0] == 0x88 && part[1] >= 2);
        (reason, code.map(|part| u16::from_be_bytes([part[2], part[3]])))
    }
}

async fn code_after(bytes: Vec<u8>) -> Option<u16> {
    let (reason, code) = victim().after(bytes).await;
    assert!(matches!(reason, CloseReason::Violation(_)), "{reason:?}");
    code
}

#[tokio::test]
async fn websocket_rules_are_kept() {
    let unmasked = vec![0x82, 0x01, 0x00];
    let reserved_bit = frame(0x82 | 0x40, b"x");
    let reserved_opcode = frame(0x83, b"x");
    let split_ping = frame(0x09, b"x");
    let long_ping = frame(0x89, &[0; 126]);
    let stray_continuation = frame(0x80, b"x");
    for bytes in [unmasked, reserved_bit, reserved_opcode, split_ping, long_ping, stray_continuation] {
        assert_eq!(code_after(bytes.clone()).await, Some(1002), "{bytes:02x?}");
    }
    assert_eq!(code_after(frame(0x81, &[0xff, 0xfe])).await, Some(1007));
    assert_eq!(code_after(frame(0x81, b"text")).await, Some(1003));
}

#[tokio::test]
async fn lengths_are_limited() {
    let mut endless = vec![0x82, 0xff];
    endless.put_u64(1 << 63);
    endless.extend([0; 4]);
    assert_eq!(code_after(endless).await, Some(1009));
    assert_eq!(code_after(frame(0x82, &vec![0; 64 * 1024 + 1])).await, Some(1009));
    // A million empty fragments, and a message that never ends.
    let mut fragments = frame(0x02, b"");
    for _ in 0..1_000_000 {
        fragments.extend(frame(0x00, b""));
    }
    assert_eq!(code_after(fragments).await, Some(1009));
    let mut never = frame(0x02, &[0; 1_000]);
    for _ in 0..100 {
        never.extend(frame(0x00, &[0; 1_000]));
    }
    assert_eq!(code_after(never).await, Some(1009));
}

#[tokio::test]
async fn floods_are_cut() {
    let pings: Vec<u8> = (0..10_000).flat_map(|_| frame(0x89, b"x")).collect();
    assert_eq!(code_after(pings).await, Some(1008));
    let mut message = BytesMut::new();
    (0..100).for_each(|value| Frame::Ping { value }.encode(&mut message));
    assert_eq!(code_after(frame(0x82, &message)).await, Some(1008));
}

#[tokio::test]
async fn frames_are_checked() {
    assert_eq!(code_after(frame(0x82, b"nonsense")).await, Some(1008));
    assert_eq!(code_after(frame(0x82, &[0; 8])).await, Some(1008));
    let mut unknown = BytesMut::new();
    (0..20).for_each(|_| Frame::End { id: 77 }.encode(&mut unknown));
    assert_eq!(code_after(frame(0x82, &unknown)).await, Some(1008));
}

#[tokio::test]
async fn a_bad_close_code_is_answered() {
    // 1005 must not be sent (RFC 6455 §7.4.1).
    let (_, code) = victim().after(frame(0x88, &1005u16.to_be_bytes())).await;
    assert_eq!(code, Some(1002));
    let (reason, code) = victim().after(frame(0x88, &1000u16.to_be_bytes())).await;
    assert_eq!((reason, code), (CloseReason::Remote("1000".to_owned()), Some(1000)));
}

#[tokio::test]
async fn one_byte_at_a_time_is_fine() {
    let mut victim = victim();
    let mut message = BytesMut::new();
    Frame::Ping { value: 7 }.encode(&mut message);
    for byte in frame(0x82, &message) {
        victim.peer.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 18];
    victim.peer.read_exact(&mut answer).await.unwrap();
    let mut expected = BytesMut::new();
    Frame::Pong { value: 7 }.encode(&mut expected);
    assert_eq!(answer[2..], expected[..]);
    victim.tasks.cut();
}
