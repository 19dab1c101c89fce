//! Those who follow an operation: Server-Sent Events and WebSocket, resumed, bounded, and ended with the right to read.

use roadstead_contracts::operation::{ObjectOutcome, OperationState};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::operations::{MANIFEST, PATIENCE, object, send, state};
use crate::rig::Rig;

/// An event of a Server-Sent stream: its fields.
type Event = Vec<(String, String)>;

struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(rig: &Rig, path: &str, headers: &str) -> (String, Self) {
        let mut socket = TcpStream::connect(rig.service.address()).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: hub.example\r\nx-api-key: {}\r\n{headers}\r\n", rig.operator.key);
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        loop {
            let mut line = String::new();
            timeout(PATIENCE, reader.read_line(&mut line)).await.unwrap().unwrap();
            if line.trim().is_empty() {
                return (head.to_lowercase(), Self(reader));
            }
            head.push_str(&line);
        }
    }

    /// The next event; nothing at the end. Chunks of HTTP/1.1 are lines of hexadecimal digits between.
    async fn next(&mut self) -> Option<Event> {
        let mut event = Event::new();
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
            if read == 0 || line.trim_end() == "0" {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) => event.push((name.to_owned(), value.to_owned())),
                None if line.trim().is_empty() && !event.is_empty() => return Some(event),
                None => {}
            }
        }
    }

    async fn expect(&mut self, name: &str) -> (Option<String>, Value) {
        let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {name}"));
        let get = |wanted: &str| event.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        assert_eq!(get("event").as_deref(), Some(name), "{event:?}");
        let data: Value = serde_json::from_str(&get("data").unwrap()).unwrap();
        assert_eq!(data["event"], json!(name));
        (get("id"), data)
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_go_on_where_they_ended() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    send(&rig, "", "application/yaml", MANIFEST).await;
    let id = rig.operations.last().id;
    let path = format!("/api/v1/operations/{id}/events");
    let (head, mut events) = Events::open(&rig, &path, "").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{head}");
    let (number, first) = events.expect("step").await;
    assert_eq!(
        (number.as_deref(), &first["step"]["state"], &first["step"]["status"]),
        (Some("1"), &json!("queued"), &json!("queued"))
    );
    events.expect("operation").await;
    rig.operations.step(id, state(OperationState::Running)).await;
    let (number, _) = events.expect("step").await;
    assert_eq!(number.as_deref(), Some("2"));
    assert_eq!(events.expect("operation").await.1["operation"]["state"], "running");
    drop(events);

    rig.operations.step(id, object("shop", ObjectOutcome::Created, None)).await;
    let (_, mut events) = Events::open(&rig, &path, "last-event-id: 2\r\n").await;
    let (number, step) = events.expect("step").await;
    assert_eq!((number.as_deref(), &step["step"]["outcome"]), (Some("3"), &json!("created")));
    events.expect("operation").await;
    rig.operations.step(id, state(OperationState::Succeeded)).await;
    events.expect("step").await;
    let (_, end) = events.expect("end").await;
    assert_eq!((&end["operation"]["state"], &end["operation"]["status"]), (&json!("succeeded"), &json!("success")));
    assert!(events.next().await.is_none());

    let steps = rig.get(&format!("/api/v1/operations/{id}/steps?after=1&limit=2"), Some(&rig.operator.key)).await;
    assert_eq!((steps.json().as_array().unwrap().len(), steps.header("x-total-count")), (2, "4"));
    assert!(steps.header("link").contains("after=3&limit=2"));
    for bad in ["limit=0", "limit=1001", "after=-1", "after=x"] {
        let answer = rig.get(&format!("/api/v1/operations/{id}/steps?{bad}"), Some(&rig.operator.key)).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    let (head, _) = Events::open(&rig, &path, "last-event-id: x\r\n").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
}

const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// One text of a server, whose frames are not masked.
async fn text(socket: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut head = [0; 2];
    timeout(PATIENCE, socket.read_exact(&mut head)).await.unwrap().ok()?;
    if head[0] != 0x81 {
        assert_eq!(head[0], 0x88, "a frame of another kind");
        return None;
    }
    let length = match head[1] {
        126 => usize::from(socket.read_u16().await.unwrap()),
        127 => usize::try_from(socket.read_u64().await.unwrap()).unwrap(),
        short => usize::from(short),
    };
    let mut text = vec![0; length];
    socket.read_exact(&mut text).await.unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

#[tokio::test]
async fn the_same_over_a_websocket() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    send(&rig, "", "application/yaml", MANIFEST).await;
    let id = rig.operations.last().id;
    let path = format!("/api/v1/operations/{id}/events");
    for (headers, status) in [
        (format!("{UPGRADE}origin: https://evil.example\r\n"), "403"),
        (UPGRADE.replace("13", "12"), "400"),
        (UPGRADE.replace("dGhl", "x"), "400"),
        (format!("{UPGRADE}sec-websocket-protocol: odd\r\n"), "400"),
    ] {
        let (head, _) = Events::open(&rig, &path, &headers).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{headers} {head}");
    }
    let (head, events) = Events::open(&rig, &path, &format!("{UPGRADE}origin: http://hub.example\r\n")).await;
    assert!(head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    let mut socket = events.0;
    assert_eq!(text(&mut socket).await.unwrap()["step"]["state"], "queued");
    assert_eq!(text(&mut socket).await.unwrap()["event"], "operation");
    rig.operations.step(id, state(OperationState::Failed)).await;
    assert_eq!(text(&mut socket).await.unwrap()["step"]["state"], "failed");
    assert_eq!(text(&mut socket).await.unwrap()["event"], "end");
    assert_eq!(text(&mut socket).await, None);
}

#[tokio::test]
async fn a_right_that_ends_ends_the_reading() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    send(&rig, "", "application/yaml", MANIFEST).await;
    let id = rig.operations.last().id;
    let (_, mut events) = Events::open(&rig, &format!("/api/v1/operations/{id}/events"), "").await;
    events.expect("step").await;
    events.expect("operation").await;
    rig.world.keys.lock().unwrap().clear();
    // Answers about credentials are believed for three seconds of the hub's clock.
    rig.clock.advance(chrono::Duration::seconds(4));
    rig.operations.step(id, state(OperationState::Running)).await;
    assert!(events.next().await.is_none());
}
