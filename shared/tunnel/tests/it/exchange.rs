//! HTTP on a stream: asking, answering, both with each other and with what older versions say.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use roadstead_runtime::Tasks;
use roadstead_tunnel::exchange::{Answer, AnswerBody, ask, serve};
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Class, Code, Event, Incoming, Options, Role, Session, Stream, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// What waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

type Body = BoxBody<Bytes, Infallible>;

struct Rig {
    tasks: Tasks,
    hub: Session,
    _agent: Session,
    incoming: Incoming,
}

impl Rig {
    fn new() -> Self {
        let tasks = Tasks::new();
        let (one, two) = pipe();
        let (hub, _) = start(one, Role::Hub, Options::default(), &tasks);
        let (agent, incoming) = start(two, Role::Agent, Options::default(), &tasks);
        Self { tasks, hub, _agent: agent, incoming }
    }

    fn open(&self) -> Stream {
        self.hub.open(Bytes::from_static(b"head"), Class::Interactive).unwrap()
    }

    async fn accept(&mut self) -> Stream {
        match timeout(PATIENCE, self.incoming.next()).await.unwrap() {
            Some(Event::Stream { stream, .. }) => stream,
            other => panic!("{other:?}"),
        }
    }

    /// Asks, and lets a peer that speaks by itself answer.
    async fn against<F>(&mut self, request: Request<Body>, peer: impl FnOnce(Stream) -> F) -> std::io::Result<Answer>
    where
        F: Future<Output = ()>,
    {
        let (stream, tasks) = (self.open(), self.tasks.clone());
        let peer = async {
            let stream = self.accept().await;
            peer(stream).await;
        };
        tokio::join!(timeout(PATIENCE, ask(stream, request, &tasks)), timeout(PATIENCE, peer)).0.unwrap()
    }
}

fn empty() -> Body {
    Empty::new().boxed()
}

fn get(path: &str) -> Request<Body> {
    Request::builder().uri(path).header("accept", "a/b").body(empty()).unwrap()
}

/// A body whose length nobody knows, in so many pieces.
fn pieces(number: usize, length: usize) -> Body {
    let piece = Bytes::from(vec![b'x'; length]);
    StreamBody::new(stream::iter((0..number).map(move |_| Ok(Frame::data(piece.clone()))))).boxed()
}

async fn read_head(stream: &mut Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn plain(answer: Answer) -> Response<AnswerBody> {
    match answer {
        Answer::Plain(response) => response,
        Answer::Switched(..) => panic!("switched"),
    }
}

async fn whole(answer: Answer) -> Bytes {
    timeout(PATIENCE, plain(answer).into_body().collect()).await.unwrap().unwrap().to_bytes()
}

#[tokio::test]
async fn a_small_exchange_is_one_message_each_way() {
    let mut rig = Rig::new();
    let answer = rig
        .against(get("/api?x=1"), async |stream| {
            let (request, mut answering) = serve::receive(stream).await.unwrap();
            assert_eq!((request.uri().path(), request.uri().query()), ("/api", Some("x=1")));
            assert_eq!(request.headers()["accept"], "a/b");
            let response = answering.during(async { Response::new(Full::new(Bytes::from_static(b"done"))) }).await;
            answering.answer(response.unwrap()).await.unwrap();
        })
        .await
        .unwrap();
    let mut response = plain(answer);
    assert_eq!(response.status(), 200);
    // All of it came with the head, so nothing of the stream is left.
    assert_eq!(response.body_mut().whole().as_deref(), Some(&b"done"[..]));
    assert!(response.body().writer().is_none());
}

#[tokio::test]
async fn bodies_of_every_kind_arrive_whole() {
    for (number, length) in [(1, 10), (3, 5_000), (40, 100_000), (1_000, 3)] {
        for known in [false, true] {
            let mut rig = Rig::new();
            let mut request = Request::post("/things").body(pieces(number, length)).unwrap();
            if known {
                request.headers_mut().insert("content-length", (number * length).into());
            }
            let answer = rig
                .against(request, async |stream| {
                    let (request, mut answering) = serve::receive(stream).await.unwrap();
                    let body = answering.during(request.into_body().collect()).await.unwrap().unwrap().to_bytes();
                    assert_eq!(body.len(), number * length);
                    // The answer is read by nobody before this returns: it goes by itself.
                    let mut response = Response::new(pieces(number, length));
                    if known {
                        response.headers_mut().insert("content-length", (number * length).into());
                    }
                    tokio::spawn(answering.answer(response));
                })
                .await
                .unwrap();
            assert_eq!(whole(answer).await.len(), number * length, "{number} × {length}");
        }
    }
}

#[tokio::test]
async fn what_older_versions_answer_is_understood() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody", Some(&b"body"[..])),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", Some(b"body")),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Some(b"")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody", None),
    ] {
        for step in [1, 7, 1_000] {
            let mut rig = Rig::new();
            let answer = rig.against(get("/"), async |mut stream| {
                read_head(&mut stream).await;
                for part in text.as_bytes().chunks(step) {
                    stream.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
                stream.finish();
                // Kept until the other side is done.
                tokio::spawn(async move { stream.read_u8().await });
            });
            let body = plain(answer.await.unwrap()).into_body().collect().await;
            assert_eq!(body.ok().map(http_body_util::Collected::to_bytes).as_deref(), expected, "{text:?} by {step}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA",
    ] {
        let mut rig = Rig::new();
        let answer = rig.against(get("/"), async |mut stream| {
            read_head(&mut stream).await;
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.finish();
        });
        assert!(answer.await.is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn a_body_is_never_longer_than_its_length() {
    let mut rig = Rig::new();
    let mut request = Request::post("/").body(pieces(3, 10)).unwrap();
    request.headers_mut().insert("content-length", 20.into());
    let answer = rig.against(request, async |mut stream| {
        let mut all = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
        assert!(ended.is_err(), "{}", String::from_utf8_lossy(&all));
        assert!(String::from_utf8_lossy(&all).matches('x').count() <= 20);
    });
    assert!(answer.await.is_err());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one() {
    let mut rig = Rig::new();
    let answer = rig
        .against(get("/"), async |mut stream| {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.reset(Code::CANCELLED);
        })
        .await
        .unwrap();
    let fault = plain(answer).into_body().collect().await.unwrap_err();
    assert_eq!(Stream::reset_code(&fault), Some(Code::CANCELLED));
}

#[tokio::test]
async fn an_asker_that_leaves_ends_the_work() {
    let mut rig = Rig::new();
    let (stream, tasks) = (rig.open(), rig.tasks.clone());
    let asking = tokio::spawn(async move { ask(stream, get("/watch"), &tasks).await });
    let (_request, mut answering) = serve::receive(rig.accept().await).await.unwrap();
    asking.abort();
    assert_eq!(timeout(PATIENCE, answering.during(std::future::pending::<()>())).await.unwrap(), None);
    // The same below an answer that says nothing more.
    let (stream, tasks) = (rig.open(), rig.tasks.clone());
    let asking = tokio::spawn(async move { ask(stream, get("/watch"), &tasks).await });
    let (_request, answering) = serve::receive(rig.accept().await).await.unwrap();
    let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let sending = tokio::spawn(answering.answer(Response::new(silent)));
    let body = plain(timeout(PATIENCE, asking).await.unwrap().unwrap().unwrap()).into_body();
    drop(body);
    assert!(timeout(PATIENCE, sending).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_switch_makes_a_connection_of_the_stream() {
    let mut rig = Rig::new();
    let request = Request::builder().uri("/exec").header("upgrade", "x").header("connection", "upgrade");
    let answer = rig
        .against(request.body(empty()).unwrap(), async |stream| {
            let (_, answering) = serve::receive(stream).await.unwrap();
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let mut joined = answering.switch(response).await.unwrap();
            tokio::spawn(async move {
                let mut word = [0; 4];
                joined.read_exact(&mut word).await.unwrap();
                joined.write_all(&word).await.unwrap();
                joined.shutdown().await.unwrap();
            });
        })
        .await
        .unwrap();
    let Answer::Switched(response, mut joined) = answer else { panic!("not switched") };
    assert_eq!(response.status(), 101);
    joined.write_all(b"ping").await.unwrap();
    let mut all = Vec::new();
    timeout(PATIENCE, joined.read_to_end(&mut all)).await.unwrap().unwrap();
    assert_eq!(all, b"ping");
}
