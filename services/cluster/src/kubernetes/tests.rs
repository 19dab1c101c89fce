//! Rows P of the reliability page: a client that speaks raw HTTP, the door, a tunnel in memory, and a cluster that says
//! whatever the test wants.

use std::sync::Mutex;

use roadstead_contracts::identity::{self, CredentialKind, Reach};
use roadstead_contracts::ids::{TypedId as _, UserId};
use roadstead_contracts::message::SessionFacts;
use roadstead_runtime::{SystemClock, Tasks};
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Event, Options, Role, Session, Stream, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// What waits longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who is known.
pub(super) fn ada() -> Arc<Principal> {
    Arc::new(Principal {
        user_id: UserId::from_uuid(uuid::Uuid::from_u128(8)),
        user_seq: 1,
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        roles: [identity::Role::Operator].into(),
        reach: Reach::All,
        credential: CredentialKind::QueuePeer("ada".to_owned()),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    })
}

struct Everybody(CancellationToken);

#[async_trait]
impl Gate for Everybody {
    async fn admit(&self, asked: Asked<'_>) -> std::result::Result<Admitted, Refusal> {
        credential::read(asked.headers)?;
        let number = if asked.cluster == "other" { 8 } else { 7 };
        Ok(Admitted {
            cluster_id: ClusterId::from_uuid(uuid::Uuid::from_u128(number)),
            assertion: "signed".to_owned(),
            cluster_name: "prod".to_owned(),
            principal: ada(),
            source: asked.source,
            user_agent: None,
            acts_as: asked.acts_as,
            right: Right::new(self.0.clone()),
        })
    }
}

struct Tunnel(Session);

#[async_trait]
impl AgentStreams for Tunnel {
    async fn open(&self, _: ClusterId, head: StreamHead, class: Class) -> Result<Stream> {
        let head = serde_json::to_vec(&head).unwrap();
        self.0.open(head.into(), class).map_err(|_| Code::AgentOffline.into())
    }

    async fn open_session(&self, session: SessionFacts, head: StreamHead, class: Class) -> Result<Stream> {
        self.open(session.cluster_id, head, class).await
    }
}

pub(super) struct Rig {
    pub(super) door: Arc<Door>,
    right: CancellationToken,
    pub(super) tasks: Tasks,
    /// Streams as the agent gets them.
    agent: Mutex<mpsc::Receiver<Stream>>,
    _agent_session: Session,
}

impl Rig {
    fn new() -> Self {
        Self::with(Tasks::new(), None)
    }

    pub(super) fn with(tasks: Tasks, audit: Option<Arc<Audit>>) -> Self {
        let (hub, agent) = pipe();
        let (session, _) = start(hub, Role::Hub, Options::default(), &tasks);
        let (agent_session, mut incoming) = start(agent, Role::Agent, Options::default(), &tasks);
        let (sender, streams) = mpsc::channel(16);
        tasks.spawn("agent", async move {
            while let Some(event) = incoming.next().await {
                if let Event::Stream { stream, .. } = event {
                    let _ = sender.send(stream).await;
                }
            }
        });
        let right = CancellationToken::new();
        let door = Arc::new(Door {
            gate: Arc::new(Everybody(right.clone())),
            streams: Arc::new(Tunnel(session)),
            breakers: Breakers::default(),
            audit,
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
            ids: Ids::system(SystemClock::shared()),
            tasks: tasks.clone(),
        });
        Self { door, right, tasks, agent: Mutex::new(streams), _agent_session: agent_session }
    }

    /// A connection of a client, with a request sent.
    pub(super) async fn client(&self, request: &str) -> DuplexStream {
        let (mut client, server) = duplex(64 * 1024);
        let door = Arc::clone(&self.door);
        self.tasks.spawn("connection", door.http(TokioIo::new(server), SocketAddr::from(([127, 0, 0, 1], 1))));
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// The stream of the next exchange, with the head of its request.
    pub(super) async fn exchange(&self) -> (Stream, String) {
        let mut stream =
            timeout(PATIENCE, std::future::poll_fn(|context| self.agent.lock().unwrap().poll_recv(context)))
                .await
                .unwrap()
                .unwrap();
        let head = read_head(&mut stream).await;
        (stream, head)
    }

    pub(super) fn nothing_went_up(&self) {
        assert!(self.agent.lock().unwrap().try_recv().is_err());
    }
}

pub(super) async fn read_head(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8(head).unwrap().to_lowercase()
}

pub(super) async fn rest(client: &mut DuplexStream) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let ended = timeout(PATIENCE, client.read_to_end(&mut all)).await.expect("the connection stays open");
    (all, ended.is_ok())
}

pub(super) fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer secret\r\n{more}\r\n")
}

pub(super) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";

#[tokio::test]
async fn p01_p02_the_cluster_sees_nothing_of_the_client() {
    let rig = Rig::new();
    let _client = rig
        .client(&get(
            "/k/c/api/v1/pods?limit=1",
            "Cookie: a=b\r\nX-Remote-User: root\r\nAudit-ID: mine\r\nAccept: a/b\r\n",
        ))
        .await;
    let (_stream, head) = rig.exchange().await;
    assert!(head.starts_with("get /api/v1/pods?limit=1 http/1.1\r\n"), "{head}");
    for secret in ["secret", "cookie", "x-remote", "audit-id: mine", "hub"] {
        assert!(!head.contains(secret), "{head}");
    }
    assert!(head.contains("accept: a/b") && head.contains("audit-id: "), "{head}");
    for name in ["Impersonate-User", "impersonate-group", "IMPERSONATE-EXTRA-x"] {
        let mut client = rig.client(&get("/k/c/api", &format!("{name}: system:admin\r\nConnection: close\r\n"))).await;
        let (answer, _) = rest(&mut client).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("impersonation_denied"), "{answer}");
    }
    rig.nothing_went_up();
}

#[tokio::test]
async fn p03_p04_p07_strange_requests_end_here() {
    let rig = Rig::new();
    for path in [
        "/k/c/../x",
        "/k/c/a%2e%2e%2fb",
        "/k/c/a..;/b",
        "/k/c/%252e",
        "/k/c//a",
        "/k/c/%00",
        "/k/c@evil/api",
        "http://evil/k/c/api",
    ] {
        let mut client = rig.client(&get(path, "Connection: close\r\n")).await;
        let (answer, _) = rest(&mut client).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{path}: {}", String::from_utf8_lossy(&answer));
    }
    for upgrade in [
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: foo\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: SPDY/3.1\r\n",
    ] {
        let mut client = rig.client(&get("/k/c/api", upgrade)).await;
        assert!(read_head(&mut client).await.starts_with("http/1.1 400"), "{upgrade}");
    }
    for method in ["CONNECT hub:1", "TRACE /k/c/api"] {
        let mut client =
            rig.client(&format!("{method} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer s\r\n\r\n")).await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with("http/1.1 40"), "{head}");
    }
    let mut client = rig.client("GET /k/c/api HTTP/1.1\r\nHost: hub\r\n\r\n").await;
    assert!(read_head(&mut client).await.starts_with("http/1.1 401"));
    rig.nothing_went_up();
}

#[tokio::test]
async fn p06_a_refused_upgrade_is_answered_once_and_nothing_raw_stays_open() {
    for refusal in ["200 OK", "302 Found", "403 Forbidden", "500 Internal Server Error"] {
        let rig = Rig::new();
        let mut client = rig.client(&get("/k/c/api/v1/namespaces/a/pods/b/exec", UPGRADE)).await;
        let (mut stream, head) = rig.exchange().await;
        assert!(head.contains("upgrade: spdy/3.1"), "{head}");
        stream.write_all(format!("HTTP/1.1 {refusal}\r\nContent-Length: 2\r\n\r\nno").as_bytes()).await.unwrap();
        // Whoever hopes for a raw pipe to the API server with the agent's rights writes a second request.
        client.write_all(b"GET /api/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (answer, _) = rest(&mut client).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {}", &refusal[..3])), "{answer}");
        assert!(
            answer.to_lowercase().contains("connection: close") && answer.matches("HTTP/1.1").count() == 1,
            "{answer}"
        );
        let mut smuggled = Vec::new();
        let _ = timeout(Duration::from_millis(300), stream.read_to_end(&mut smuggled)).await;
        assert!(!String::from_utf8_lossy(&smuggled).contains("secrets"));
        rig.nothing_went_up();
    }
}

#[tokio::test]
async fn an_upgrade_is_spliced_after_101_and_cut_with_its_right() {
    let rig = Rig::new();
    let mut client = rig.client(&get("/k/c/api/v1/namespaces/a/pods/b/exec", UPGRADE)).await;
    let (mut stream, _) = rig.exchange().await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, close\r\nUpgrade: SPDY/3.1\r\n\r\n";
    stream.write_all(switch.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    // Go takes an answer whose `Connection` says `close` for no upgrade.
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: spdy/3.1"), "{head}");
    client.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    stream.write_all(b"pong").await.unwrap();
    timeout(PATIENCE, client.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(&bytes, b"pong");
    rig.right.cancel();
    assert!(rest(&mut client).await.0.is_empty());
    assert!(timeout(PATIENCE, stream.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn p08_a_redirect_elsewhere_is_not_given_on() {
    let rig = Rig::new();
    for (location, expected) in [("https://evil.example/", "HTTP/1.1 502"), ("/api/v1/x/", "HTTP/1.1 301")] {
        let mut client = rig.client(&get("/k/c/api/v1/x", "Connection: close\r\n")).await;
        let (mut stream, _) = rig.exchange().await;
        let answer = format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (answer, _) = rest(&mut client).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(expected) && !answer.contains("evil"), "{answer}");
    }
}

#[tokio::test]
async fn p09_a_reader_that_stops_costs_its_window_only() {
    let rig = Rig::new();
    let mut client = rig.client(&get("/k/c/api/v1/namespaces/a/pods/b/log?follow=true", "")).await;
    let (mut stream, _) = rig.exchange().await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let (mut taken, chunk) = (0_usize, vec![b'x'; 32 * 1024]);
    while let Ok(written) = timeout(Duration::from_millis(300), stream.write(&chunk)).await {
        taken += written.unwrap();
        assert!(taken < 2 << 20, "{taken} bytes were taken for a reader that does not read");
    }
    // More of them than the session has room for; a small exchange of the same agent goes on all the same.
    let mut stalled = Vec::new();
    for _ in 0..12 {
        let reader = rig.client(&get("/k/c/api/v1/pods", "")).await;
        let (mut writer, _) = rig.exchange().await;
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await.unwrap();
        while timeout(Duration::from_millis(30), writer.write(&chunk)).await.is_ok() {}
        stalled.push((reader, writer));
    }
    let began = tokio::time::Instant::now();
    let mut other = rig.client(&get("/k/c/version", "Connection: close\r\n")).await;
    let (mut second, _) = rig.exchange().await;
    second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    assert!(rest(&mut other).await.0.ends_with(b"ok"));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    drop(client);
    assert!(timeout(PATIENCE, async { while stream.write(&chunk).await.is_ok() {} }).await.is_ok());
}

#[tokio::test]
async fn a_watch_ends_cleanly_and_a_list_does_not_pretend() {
    for (path, clean) in [("/k/c/api/v1/pods?watch=true", true), ("/k/c/api/v1/pods", false)] {
        let rig = Rig::new();
        let mut client = rig.client(&get(path, "Connection: close\r\n")).await;
        let (mut stream, _) = rig.exchange().await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabc\n\r\n").await.unwrap();
        read_head(&mut client).await;
        let mut first = [0; 9];
        timeout(PATIENCE, client.read_exact(&mut first)).await.unwrap().unwrap();
        stream.reset(roadstead_tunnel::Code::CANCELLED);
        let (rest, _) = rest(&mut client).await;
        assert_eq!(rest == b"0\r\n\r\n", clean, "{path}: {rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_exchange_below_a_silent_watch() {
    let rig = Rig::new();
    let mut client = rig.client(&get("/k/c/api/v1/pods?watch=true", "")).await;
    let (mut stream, _) = rig.exchange().await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    read_head(&mut client).await;
    drop(client);
    assert!(timeout(PATIENCE, stream.read_u8()).await.unwrap().is_err());
}

impl Rig {
    /// A connection of a client that speaks HTTP/2.
    pub(super) async fn client2(&self) -> hyper::client::conn::http2::SendRequest<http_body_util::Empty<bytes::Bytes>> {
        let (client, server) = duplex(64 * 1024);
        let door = Arc::clone(&self.door);
        self.tasks.spawn("connection", door.http2(TokioIo::new(server), SocketAddr::from(([127, 0, 0, 1], 1))));
        let executor = hyper_util::rt::TokioExecutor::new();
        let shaken = hyper::client::conn::http2::handshake(executor, TokioIo::new(client)).await;
        let (sender, connection) = shaken.unwrap();
        self.tasks.spawn("client", async move { drop(connection.await) });
        sender
    }
}

pub(super) fn get2(path: &str) -> Request<http_body_util::Empty<bytes::Bytes>> {
    let request = Request::get(format!("https://hub{path}")).header("authorization", "Bearer secret");
    request.body(http_body_util::Empty::new()).unwrap()
}

#[tokio::test]
async fn http2_is_the_same_door() {
    let rig = Rig::new();
    let mut client = rig.client2().await;
    let mut refused = get2("/k/c/api");
    refused.headers_mut().insert("impersonate-user", HeaderValue::from_static("system:admin"));
    for (request, status) in [
        (refused, 403),
        (get2("/k/c/a%2e%2e%2fb"), 400),
        (Request::get("https://hub/k/c/api").body(http_body_util::Empty::new()).unwrap(), 401),
        (
            Request::builder().method("TRACE").uri("https://hub/k/c/api").body(http_body_util::Empty::new()).unwrap(),
            405,
        ),
    ] {
        assert_eq!(timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap().status(), status);
    }
    rig.nothing_went_up();
    // Two at once on the one connection; what goes on is as from HTTP/1.1.
    let (slow, quick) =
        (client.send_request(get2("/k/c/api/v1/pods?watch=true")), client.send_request(get2("/k/c/api")));
    let (mut watch, head) = rig.exchange().await;
    assert!(head.starts_with("get /api/v1/pods?watch=true http/1.1\r\n"), "{head}");
    assert!(head.contains("host: kubernetes\r\n"), "{head}");
    assert!(!head.contains("secret") && !head.contains("authority") && !head.contains("//hub"), "{head}");
    let (mut stream, _) = rig.exchange().await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    let answer = timeout(PATIENCE, quick).await.unwrap().unwrap();
    assert!(!answer.headers().contains_key("connection") && answer.headers().contains_key("x-request-id"));
    assert_eq!(timeout(PATIENCE, answer.into_body().collect()).await.unwrap().unwrap().to_bytes().as_ref(), b"ok");
    watch.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}\n").await.unwrap();
    let mut events = timeout(PATIENCE, slow).await.unwrap().unwrap().into_body();
    let first = timeout(PATIENCE, events.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.into_data().unwrap().as_ref(), b"{}\n");
    // The right ends below a silent watch: the cluster's side is cut, the client sees its watch end.
    rig.right.cancel();
    assert!(timeout(PATIENCE, watch.read_u8()).await.unwrap().is_err());
    let rest = timeout(PATIENCE, events.collect()).await.unwrap().unwrap();
    assert!(rest.to_bytes().is_empty());
}

#[tokio::test]
async fn p11_requests_that_are_taken_back_as_fast_as_they_come_end_the_connection() {
    let rig = Rig::new();
    let mut client = rig.client2().await;
    let flood = async {
        for number in 0..10_000 {
            if client.ready().await.is_err() {
                return number;
            }
            let mut asked = Box::pin(client.send_request(get2("/k/c/api/v1/pods")));
            let _ = futures_util::poll!(asked.as_mut());
            // The head has gone out; a reset goes behind it.
            tokio::task::yield_now().await;
            drop(asked);
        }
        10_000
    };
    // The cluster takes them all and says nothing.
    let mut held = Vec::new();
    let silent = async {
        while let Some(stream) = std::future::poll_fn(|context| rig.agent.lock().unwrap().poll_recv(context)).await {
            held.push(stream);
        }
    };
    let taken = async {
        tokio::select! {
            taken = flood => taken,
            () = silent => 10_000,
        }
    };
    let taken = timeout(PATIENCE * 3, taken).await.unwrap();
    assert!(taken < 10_000, "all of them were taken");
    // The door itself is none the worse.
    let mut other = rig.client("GET /healthz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").await;
    assert!(rest(&mut other).await.0.ends_with(b"ok"));
}
