//! The agents' door: plain answers and upgrades on one listener.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use roadstead_runtime::{Ids, SystemClock, Tasks};
use roadstead_tunnel::door::{self, Reply};
use roadstead_tunnel::ws::{self, DialError};
use roadstead_tunnel::{Class, Event, Options, Role, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PROTOCOL: &str = "roadstead.tunnel.v1";

fn answer(request: &Request<Bytes>, tasks: Tasks) -> Reply<TcpStream> {
    let plain = |status: StatusCode, body: &'static str| {
        let mut response = Response::new(Bytes::from_static(body.as_bytes()));
        *response.status_mut() = status;
        Reply::Answer(response)
    };
    if request.uri().path() == "/echo" {
        return Reply::Answer(Response::new(request.body().clone()));
    }
    if request.headers().get("authorization").is_none() {
        return plain(StatusCode::UNAUTHORIZED, "who are you?");
    }
    match ws::accept(request, &[PROTOCOL]) {
        Err(refusal) => plain(refusal.status(), "refused"),
        Ok(accepted) if accepted.protocol.is_none() => Reply::Upgrade(
            accepted,
            Box::new(move |socket| {
                let mut socket = socket.into_text(1 << 20);
                tasks.clone().spawn("simple", async move {
                    while let Some(Ok(text)) = socket.receive().await {
                        socket.send(format!("you said {text}")).await.unwrap();
                    }
                });
            }),
        ),
        Ok(accepted) => Reply::Upgrade(
            accepted,
            Box::new(move |socket| {
                let (session, mut incoming) = start(socket, Role::Hub, Options::default(), &tasks);
                tasks.clone().spawn("hub", async move {
                    while let Some(Event::Stream { mut stream, head }) = incoming.next().await {
                        stream.write_all(&head).await.unwrap();
                        stream.shutdown().await.unwrap();
                    }
                    drop(session);
                });
            }),
        ),
    }
}

async fn open_door() -> (std::net::SocketAddr, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    let own = tasks.clone();
    tasks.spawn("door", async move {
        let inner = own.clone();
        door::serve(listener, &own, door::plain, move |request, _peer| {
            std::future::ready(answer(&request, inner.clone()))
        })
        .await;
    });
    (address, tasks)
}

fn with_credential() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer x"));
    headers
}

#[tokio::test]
async fn an_agent_dials_in() {
    let (address, tasks) = open_door().await;
    let ids = Ids::system(SystemClock::shared());
    let uri = format!("http://{address}/agent/v1/connect").parse().unwrap();
    let io = TcpStream::connect(address).await.unwrap();
    let dialled = ws::client(io, &uri, PROTOCOL, with_credential(), &ids).await.unwrap();
    assert_eq!(dialled.protocol.as_deref(), Some(PROTOCOL));
    assert!(dialled.headers.contains_key("date"));
    let (session, _incoming) = start(dialled.socket, Role::Agent, Options::default(), &tasks);
    let mut stream = session.open(Bytes::from_static(b"hello"), Class::Interactive).unwrap();
    let mut read = String::new();
    stream.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "hello");
    tasks.cut();
}

#[tokio::test]
async fn a_refusal_comes_with_its_body() {
    let (address, tasks) = open_door().await;
    let ids = Ids::system(SystemClock::shared());
    let uri = format!("http://{address}/agent/v1/connect").parse().unwrap();
    let io = TcpStream::connect(address).await.unwrap();
    let refused = ws::client(io, &uri, PROTOCOL, HeaderMap::new(), &ids).await.unwrap_err();
    let DialError::Refused(response) = refused else { panic!("{refused:?}") };
    assert_eq!((response.status(), response.body().as_ref()), (StatusCode::UNAUTHORIZED, b"who are you?".as_slice()));
    tasks.cut();
}

#[tokio::test]
async fn origins_and_long_bodies_are_refused() {
    let (address, tasks) = open_door().await;
    let mut headers = with_credential();
    headers.insert("origin", HeaderValue::from_static("https://evil.example"));
    let ids = Ids::system(SystemClock::shared());
    let uri = format!("http://{address}/agent/v1/connect").parse().unwrap();
    let io = TcpStream::connect(address).await.unwrap();
    let refused = ws::client(io, &uri, PROTOCOL, headers, &ids).await.unwrap_err();
    let DialError::Refused(response) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), StatusCode::FORBIDDEN);

    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
    io.write_all(&[b'x'; 70_000]).await.unwrap();
    let mut answer = vec![0; 30];
    io.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    tasks.cut();
}

#[tokio::test]
async fn a_simple_agent_talks_text() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

    let (address, tasks) = open_door().await;
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("authorization", HeaderValue::from_static("x"));
    let io = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, io).await.unwrap();
    let long = "x".repeat(300_000);
    for text in ["hello", &long, "again"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(format!("you said {text}")));
    }
    tasks.cut();
}

/// Row R19: a line ends with CR and LF, in the head and nowhere else.
#[tokio::test]
async fn regression_r19_bare_line_feeds_end_no_line() {
    let (address, tasks) = open_door().await;
    let raw = async |bytes: &str| {
        let mut io = TcpStream::connect(address).await.unwrap();
        io.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        answer
    };
    for broken in [
        "GET /echo HTTP/1.1\nhost: x\n\n",
        "GET /echo HTTP/1.1\r\nhost: x\nx: a\r\n\r\n",
        "GET /echo HTTP/1.1\r\nhost: x\r\n\n",
        "GET /echo HTTP/1.1\nhost: x\r\n\r\n",
        "\n\nGET /echo HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let answer = raw(broken).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{broken:?} -> {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{broken:?} -> {answer:?}");
    }
    // One request of a connection: what follows it is nobody's.
    let two = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na\nbGET /echo HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = raw(two).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\na\nb"), "{answer:?}");
    tasks.cut();
}
