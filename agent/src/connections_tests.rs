use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

/// What waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server that says what the test wants, whatever it is asked; behind a `$` it hangs up.
struct Server {
    reads: Reads,
    connections: Arc<AtomicUsize>,
    asked: mpsc::UnboundedReceiver<String>,
    answers: mpsc::UnboundedSender<&'static str>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server: Uri = format!("http://{}/base/", listener.local_addr().unwrap()).parse().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (answers, script) = mpsc::unbounded_channel();
        let (heads, asked) = mpsc::unbounded_channel();
        let (script, count) = (Arc::new(tokio::sync::Mutex::new(script)), Arc::clone(&connections));
        let tasks = roadstead_runtime::Tasks::new();
        tasks.clone().spawn("server", async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tasks.spawn("connection", say(socket, Arc::clone(&script), heads.clone()));
            }
        });
        let reads = Reads::new(&server, HttpConnector::new(), 2, Duration::from_secs(60));
        Self { reads, connections, asked, answers }
    }

    async fn ask(&mut self, answer: &'static str) -> Result<Response<Read>, BoxError> {
        self.answers.send(answer).unwrap();
        let request = Request::get("/api?watch=1").header("accept", "a/b").body(Empty::new()).unwrap();
        timeout(PATIENCE, self.reads.clone().oneshot(request)).await.unwrap()
    }

    /// The text of an answer, and how many connections were made until then.
    async fn text(&mut self, answer: &'static str) -> (String, usize) {
        let answer = self.ask(answer).await.unwrap();
        let body = timeout(PATIENCE, answer.into_body().collect()).await.unwrap().unwrap().to_bytes();
        (String::from_utf8(body.to_vec()).unwrap(), self.connections.load(Ordering::SeqCst))
    }
}

type Script = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<&'static str>>>;

async fn say(mut socket: TcpStream, script: Script, heads: mpsc::UnboundedSender<String>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = socket.read_u8().await else { return };
            head.push(byte);
        }
        let _ = heads.send(String::from_utf8(head).unwrap());
        let Some(answer) = script.lock().await.recv().await else { return };
        let (now, ends) = answer.strip_suffix('$').map_or((answer, false), |answer| (answer, true));
        socket.write_all(now.as_bytes()).await.unwrap();
        if ends {
            return;
        }
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let mut server = Server::start().await;
    assert_eq!(server.text(ANSWER).await, ("hello".to_owned(), 1));
    let head = server.asked.recv().await.unwrap();
    assert!(head.starts_with("GET /base/api?watch=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: 127.0.0.1:") && head.contains("\r\naccept: a/b\r\n"), "{head}");
    let chunks =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(server.text(chunks).await, ("abc".to_owned(), 1));
    let nothing = "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n";
    assert_eq!(server.text(nothing).await, (String::new(), 1));
    assert_eq!(server.text(ANSWER).await, ("hello".to_owned(), 1));
}

#[tokio::test]
async fn what_cannot_be_used_again_is_not() {
    for once in [
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\n\r\nhello$",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello$",
    ] {
        let mut server = Server::start().await;
        assert_eq!(server.text(once).await, ("hello".to_owned(), 1), "{once}");
        // The last one's end may come before or after the next request.
        assert_eq!(server.text(ANSWER).await, ("hello".to_owned(), 2), "{once}");
    }
}

#[tokio::test]
async fn a_body_that_is_let_go_of_ends_its_connection() {
    let mut server = Server::start().await;
    drop(server.ask("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await.unwrap());
    assert_eq!(server.text(ANSWER).await, ("hello".to_owned(), 2));
}

#[tokio::test]
async fn what_was_begun_is_not_asked_again() {
    let mut server = Server::start().await;
    assert_eq!(server.text(ANSWER).await.1, 1);
    for broken in
        ["HTTP/1.1 200 OK\r\nContent-$", "garbage\r\n\r\n$", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n$"]
    {
        let before = server.connections.load(Ordering::SeqCst);
        assert!(server.ask(broken).await.is_err(), "{broken}");
        assert!(server.connections.load(Ordering::SeqCst) <= before + 1, "{broken}");
    }
    let answer = server.ask("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello$").await.unwrap();
    assert!(answer.into_body().collect().await.is_err(), "a body that ends early is no body");
}

#[tokio::test]
async fn connections_that_rest_are_few_and_end() {
    let resting = Arc::new(Resting { most: 2, longest: Duration::from_secs(60), state: Mutex::default() });
    let mut others = Vec::new();
    for _ in 0..3 {
        let (one, other) = tokio::io::duplex(64);
        Arc::clone(&resting).keep(Box::new(one));
        others.push(other);
    }
    assert_eq!(resting.lock().idle.len(), 2);
    assert!(resting.sweep());
    others.clear();
    assert!(!resting.sweep());
    assert!(resting.take().is_none());
}
