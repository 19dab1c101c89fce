//! Terminals and logs in words that a browser speaks without knowing Kubernetes. docs/browser-sessions.md is the contract.
//!
//! Terminal: the client's binary messages are what is typed, its texts `{"type":"resize","columns":…,"rows":…}`; ours are what
//! is shown, and `{"type":"ready"}`, `{"type":"exit",…}` or `{"type":"error",…}`. Logs: binary messages down, nothing up. The
//! exchange with the cluster is an ordinary one of the door: admitted, audited, recorded and cut like kubectl's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use roadstead_contracts::{Code, Error};
use roadstead_runtime::Tasks;
use roadstead_tunnel::ws::{MessageSocket, Next, SocketMessage as Message, WebSocket};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Join, ReadHalf, WriteHalf, join};
use tokio::time::{Instant, sleep_until, timeout};

use super::Door;
use super::proxy::{Call, Reply, ReplyBody, Socket, refused};
use super::relay::BoxError;
use super::standing::Right;
use crate::audit::Deed;

/// Sub-protocol of terminals.
pub(crate) const TERMINAL: &str = "roadstead.terminal.v1";
/// Sub-protocol of logs.
pub(crate) const LOGS: &str = "roadstead.logs.v1";

/// Longest message of a client: a large paste.
const CLIENT_MESSAGE_MAX: usize = 64 * 1024;
/// Longest message of the cluster: API servers send 32 KiB at most.
const CLUSTER_MESSAGE_MAX: usize = 1024 * 1024;
/// A browser that says nothing is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// No byte from it for this long is death.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest good-bye.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Channels of remote commands (`v5.channel.k8s.io`).
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Close codes of RFC 6455 §7.4.
const NORMAL: u16 = 1000;
const UNSUPPORTED: u16 = 1003;
const POLICY: u16 = 1008;

/// What a browser wants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    Terminal { tty: bool },
    Logs,
}

/// A request for one.
pub(crate) struct Opening<'a> {
    pub(crate) cluster: &'a str,
    /// Path and query for the API server.
    pub(crate) tail: &'a str,
    pub(crate) wanted: Wanted,
    /// As the client sent them; the credential is among them.
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) source: IpAddr,
    pub(crate) request_id: &'a str,
    /// Random, for the handshake with the cluster.
    pub(crate) key: [u8; 16],
}

/// One that has begun at the cluster.
pub(crate) enum Begun {
    Terminal(Join<ReadHalf<Socket>, WriteHalf<Socket>>, Right, bool),
    Logs(BoxStream<'static, std::result::Result<Bytes, BoxError>>, Tasks),
}

impl Door {
    /// Where the door's tasks run.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Opens the exchange; what the cluster or the hub refuses comes back as it is.
    pub(crate) async fn open_for_browser(
        self: &Arc<Self>,
        opening: Opening<'_>,
    ) -> std::result::Result<Begun, Box<Reply>> {
        let key = STANDARD.encode(opening.key);
        let credential = ["authorization", "x-api-key", "user-agent"];
        let mut headers: Vec<(&str, &[u8])> =
            opening.headers.iter().copied().filter(|(name, _)| credential.contains(name)).collect();
        // The credential among the sub-protocols stays, ours gives way to the cluster's.
        let offered: Vec<&str> = opening
            .headers
            .iter()
            .filter(|(name, _)| *name == "sec-websocket-protocol")
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|word| word.starts_with(super::vet::BEARER_PROTOCOL))
            .collect();
        let mut protocols = offered.join(", ");
        if matches!(opening.wanted, Wanted::Terminal { .. }) {
            let separator = if protocols.is_empty() { "" } else { ", " };
            protocols = format!("{protocols}{separator}v5.channel.k8s.io, v4.channel.k8s.io");
            headers.extend([
                ("connection", b"Upgrade".as_slice()),
                ("upgrade", b"websocket"),
                ("sec-websocket-version", b"13"),
                ("sec-websocket-key", key.as_bytes()),
            ]);
        }
        if !protocols.is_empty() {
            headers.push(("sec-websocket-protocol", protocols.as_bytes()));
        }
        let (tail, query) = opening.tail.split_once('?').unwrap_or((opening.tail, ""));
        let prefix = format!("/api/v1/clusters/{}/proxy", opening.cluster);
        let call = Call {
            method: "GET",
            cluster: opening.cluster,
            prefix: &prefix,
            tail,
            query: Some(query),
            headers,
            source: opening.source,
            request_id: opening.request_id,
            body: futures_util::stream::empty::<std::result::Result<Bytes, BoxError>>(),
        };
        // Reading a log is a line of ours like any read; a session of a page is a row, like its terminals.
        let deed = matches!(opening.wanted, Wanted::Logs).then(|| Deed::of_log(tail)).flatten();
        let reply = self.proxy_as(call, deed).await;
        match (opening.wanted, reply) {
            (Wanted::Terminal { tty }, Reply { status: 101, body: ReplyBody::Socket(read, write, right), .. }) => {
                Ok(Begun::Terminal(join(read, write), right, tty))
            }
            (Wanted::Logs, Reply { status: 200, body: ReplyBody::Stream(body), .. }) => {
                Ok(Begun::Logs(body, self.tasks.clone()))
            }
            (_, reply) if reply.status >= 400 => Err(Box::new(reply)),
            _ => {
                let odd = Error::new(Code::AgentError, "the cluster answered something else than was asked for");
                Err(Box::new(refused(&odd, opening.request_id)))
            }
        }
    }
}

impl Begun {
    /// Carries it until either end is done.
    pub(crate) async fn run(self, client: DuplexStream) {
        let client = WebSocket::server(client, []).into_messages(CLIENT_MESSAGE_MAX);
        match self {
            Self::Terminal(cluster, right, tty) => {
                let cluster = WebSocket::dialled(cluster, []).into_messages(CLUSTER_MESSAGE_MAX);
                let mut bridge = Bridge { client, heard: (0, Instant::now()) };
                let done = right.during(bridge.terminal(cluster, tty)).await;
                bridge.end(done.unwrap_or_else(revoked)).await;
            }
            Self::Logs(body, tasks) => {
                let stopping = tasks.stopping();
                let mut bridge = Bridge { client, heard: (0, Instant::now()) };
                let done = stopping.run_until_cancelled(bridge.logs(body)).await;
                bridge.end(done.unwrap_or((json!({ "type": "end" }), NORMAL))).await;
            }
        }
    }
}

/// The last text, and the close code after it.
type Done = (Value, u16);

fn revoked() -> Done {
    (error("permission_revoked", "the right to this session has ended"), POLICY)
}

fn error(code: &str, detail: &str) -> Value {
    json!({ "type": "error", "code": code, "detail": detail })
}

fn lost() -> Done {
    (error("agent_offline", "the cluster went away"), NORMAL)
}

/// What a client says beside what is typed.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Resize { columns: u16, rows: u16 },
}

struct Bridge<IO> {
    client: MessageSocket<IO>,
    /// Bytes heard of it, and when that last changed.
    heard: (u64, Instant),
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Bridge<IO> {
    async fn terminal<C>(&mut self, mut cluster: MessageSocket<C>, tty: bool) -> Done
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if self.client.send(Message::Text(json!({ "type": "ready", "tty": tty }).to_string())).is_err() {
            return (Value::Null, NORMAL);
        }
        let mut ending: Option<Value> = None;
        loop {
            // Each is read only while the other takes what it is given: at most one message of each waits.
            let (client_takes, cluster_takes) = (self.client.is_flushed(), cluster.is_flushed());
            let look = Instant::now() + PING_EVERY;
            tokio::select! {
                next = self.client.next(cluster_takes) => match next {
                    Next::Flushed => {}
                    Next::Message(message) => match typed(message) {
                        Ok(bytes) => if cluster.send(Message::Binary(bytes)).is_err() { return lost() },
                        Err(done) => return done,
                    },
                    // Whoever closes the page closes the shell.
                    Next::Ended => return (Value::Null, NORMAL),
                    Next::Broken(reason) => {
                        tracing::debug!("a terminal's page broke off: {reason}");
                        return (Value::Null, NORMAL);
                    }
                },
                next = cluster.next(client_takes) => match next {
                    Next::Flushed => {}
                    Next::Message(Message::Binary(bytes)) => match shown(bytes) {
                        Shown::Output(bytes) => if self.client.send(Message::Binary(bytes)).is_err() { return (Value::Null, NORMAL) },
                        Shown::End(value) => ending = Some(value),
                        Shown::Nothing => {}
                    },
                    Next::Message(Message::Text(_)) => return lost(),
                    Next::Ended | Next::Broken(_) => return ending.map_or_else(lost, |value| (value, NORMAL)),
                },
                () = sleep_until(look) => if !self.is_there() { return (Value::Null, NORMAL) },
            }
        }
    }

    async fn logs(&mut self, mut body: BoxStream<'static, std::result::Result<Bytes, BoxError>>) -> Done {
        loop {
            let takes = self.client.is_flushed();
            let look = Instant::now() + PING_EVERY;
            tokio::select! {
                next = self.client.next(true) => match next {
                    Next::Flushed => {}
                    Next::Message(_) => return (error("bad_request", "nothing is said to a log"), UNSUPPORTED),
                    Next::Ended | Next::Broken(_) => return (Value::Null, NORMAL),
                },
                chunk = body.next(), if takes => match chunk {
                    Some(Ok(chunk)) => if self.client.send(Message::Binary(chunk)).is_err() { return (Value::Null, NORMAL) },
                    Some(Err(_)) => return lost(),
                    None => return (json!({ "type": "end" }), NORMAL),
                },
                () = sleep_until(look) => if !self.is_there() { return (Value::Null, NORMAL) },
            }
        }
    }

    /// Whether the client was heard lately; asks it.
    fn is_there(&mut self) -> bool {
        let received = self.client.received();
        if self.heard.0 != received {
            self.heard = (received, Instant::now());
        }
        self.heard.1.elapsed() < SILENCE_MAX && self.client.ping().is_ok()
    }

    async fn end(&mut self, (last, code): Done) {
        let good_bye = async {
            if !last.is_null() && self.client.send(Message::Text(last.to_string())).is_ok() {
                while !self.client.is_flushed() && self.client.next(false).await == Next::Flushed {}
            }
            self.client.close(code).await;
        };
        // A page that takes nothing any more is left.
        let _ = timeout(CLOSE_WAIT, good_bye).await;
    }
}

/// A client's message as the cluster's channels have it.
fn typed(message: Message) -> std::result::Result<Bytes, Done> {
    let on = |channel: u8, payload: &[u8]| {
        let mut out = BytesMut::with_capacity(payload.len() + 1);
        out.put_u8(channel);
        out.put_slice(payload);
        out.freeze()
    };
    match message {
        Message::Binary(bytes) => Ok(on(STDIN, &bytes)),
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(Said::Resize { columns, rows }) => {
                Ok(on(RESIZE, json!({ "Width": columns, "Height": rows }).to_string().as_bytes()))
            }
            Err(_) => Err((error("bad_request", "the message was not understood"), UNSUPPORTED)),
        },
    }
}

enum Shown {
    Output(Bytes),
    End(Value),
    Nothing,
}

fn shown(mut bytes: Bytes) -> Shown {
    if bytes.is_empty() {
        return Shown::Nothing;
    }
    match bytes.split_to(1)[0] {
        STDOUT | STDERR if !bytes.is_empty() => Shown::Output(bytes),
        ERROR => Shown::End(ending(&bytes)),
        _ => Shown::Nothing,
    }
}

/// How a command ended.
fn ending(status: &[u8]) -> Value {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    if status["status"] == "Success" {
        return json!({ "type": "exit", "code": 0 });
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code = causes
        .filter(|cause| cause["reason"] == "ExitCode")
        .find_map(|cause| cause["message"].as_str()?.parse::<i32>().ok());
    match code {
        Some(code) => json!({ "type": "exit", "code": code }),
        None => error("agent_error", status["message"].as_str().unwrap_or("the command could not be run")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn statuses_become_endings() {
        assert_eq!(ending(br#"{"status":"Success"}"#), json!({ "type": "exit", "code": 0 }));
        let failed =
            br#"{"status":"Failure","message":"x","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        assert_eq!(ending(failed)["code"], 3);
        assert_eq!(ending(br#"{"status":"Failure","message":"no such container"}"#)["detail"], "no such container");
        assert_eq!(ending(b"nonsense")["type"], "error");
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the test waits for it itself")]
    async fn a_terminal_from_hello_to_exit() {
        let (page, near) = duplex(64 * 1024);
        let (api, far) = duplex(64 * 1024);
        let mut page = WebSocket::dialled(page, []).into_messages(1 << 20);
        let mut api = WebSocket::server(api, []).into_messages(1 << 20);
        let running = tokio::spawn(async move {
            let client = WebSocket::server(near, []).into_messages(CLIENT_MESSAGE_MAX);
            let cluster = WebSocket::dialled(far, []).into_messages(CLUSTER_MESSAGE_MAX);
            let mut bridge = Bridge { client, heard: (0, Instant::now()) };
            let done = bridge.terminal(cluster, true).await;
            bridge.end(done).await;
        });
        let hello = message(&mut page).await;
        assert!(matches!(hello, Message::Text(text) if text.contains("ready")));
        page.send(Message::Text(json!({ "type": "resize", "columns": 120, "rows": 40 }).to_string())).unwrap();
        let _ = page.next(false).await;
        page.send(Message::Binary(Bytes::from_static(b"ls\n"))).unwrap();
        let _ = page.next(false).await;
        let Message::Binary(size) = message(&mut api).await else { panic!("a text") };
        assert_eq!(size, Bytes::from_static(b"\x04{\"Width\":120,\"Height\":40}"));
        assert_eq!(message(&mut api).await, Message::Binary(Bytes::from_static(b"\x00ls\n")));
        for said in [&b"\x01out"[..], b"\x02err", b"\x03{\"status\":\"Success\"}"] {
            api.send(Message::Binary(Bytes::copy_from_slice(said))).unwrap();
            let _ = api.next(false).await;
        }
        assert_eq!(message(&mut page).await, Message::Binary(Bytes::from_static(b"out")));
        assert_eq!(message(&mut page).await, Message::Binary(Bytes::from_static(b"err")));
        api.close(NORMAL).await;
        let last = message(&mut page).await;
        assert!(matches!(last, Message::Text(text) if text.contains("\"exit\"") && text.contains("\"code\":0")));
        running.await.unwrap();
    }

    #[tokio::test]
    async fn nonsense_ends_the_session() {
        let (page, near) = duplex(64 * 1024);
        let (_api, far) = duplex(64 * 1024);
        let mut page = WebSocket::dialled(page, []).into_messages(1 << 20);
        page.send(Message::Text("{\"type\":\"sudo\"}".to_owned())).unwrap();
        let _ = page.next(false).await;
        let client = WebSocket::server(near, []).into_messages(CLIENT_MESSAGE_MAX);
        let cluster = WebSocket::dialled(far, []).into_messages(CLUSTER_MESSAGE_MAX);
        let mut bridge = Bridge { client, heard: (0, Instant::now()) };
        let (last, code) = bridge.terminal(cluster, true).await;
        assert_eq!((last["code"].as_str(), code), (Some("bad_request"), UNSUPPORTED));
    }

    async fn message<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(socket: &mut MessageSocket<IO>) -> Message {
        loop {
            match timeout(Duration::from_secs(5), socket.next(true)).await.unwrap() {
                Next::Message(message) => return message,
                Next::Flushed => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
