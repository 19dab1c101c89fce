use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::door::{Answer, Door, Options, read_all};

#[tokio::test]
async fn every_answer_is_named_and_guarded() {
    let door = Door::open(Options::default());
    for line in ["GET /api/v1/open", "GET /nowhere", "GET /boom"] {
        let answer = door.send(line, &[("x-request-id", "abc-1"), ("origin", "null")]).await;
        assert_eq!(answer.header("x-request-id"), Some("abc-1"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("server"), None);
    }
    let made = door.send("GET /api/v1/open", &[("x-request-id", "a b\"c")]).await;
    assert_eq!(made.header("x-request-id").unwrap().len(), 36);
    assert_eq!(door.send("GET /nowhere", &[]).await.code(), "not_found");
    assert_eq!(door.send("GET /boom", &[]).await.code(), "internal");
}

#[tokio::test]
async fn odd_methods_are_405_with_allow() {
    let door = Door::open(Options::default());
    for method in ["TRACE", "PROPFIND", "get", "PUT", "QUERY"] {
        let answer = door.send(&format!("{method} /api/v1/mine"), &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"), "{method}");
        assert_eq!(answer.header("allow"), Some("GET, DELETE, HEAD, OPTIONS"));
    }
    let connect = door.raw("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n").await;
    let connect = Answer::parse(&connect);
    assert_eq!(connect.status, 405);
    assert!(connect.header("allow").is_some());
    let over = [("x-http-method-override", "DELETE"), ("x-api-key", "admin"), ("x-http-method", "DELETE")];
    assert_eq!(door.send("GET /api/v1/mine", &over).await.body, "admin");
    let options = door.send("OPTIONS /api/v1/mine", &[("access-control-request-method", "DELETE")]).await;
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, DELETE, HEAD, OPTIONS")));
    assert_eq!(options.header("access-control-allow-methods"), None);
    let head = door.send("HEAD /api/v1/open", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn one_spelling_of_a_path() {
    let door = Door::open(Options::default());
    for path in ["//api/v1//open", "/api/v1/open/", "///api///v1/open//?a=b"] {
        assert_eq!(door.send(&format!("GET {path}"), &[]).await.status, 200, "{path}");
    }
    for path in
        ["/api/v1/../v1/open", "/api/%2e%2e/v1/open", "/api%2fv1/open", "/api/v1%5copen", "/api/v1/ope%6e", "/%ff"]
    {
        let answer = door.send(&format!("GET {path}"), &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{path}");
    }
    assert_eq!(door.send("GET /api/v1/open?a=%ff", &[]).await.code(), "bad_request");
    assert_eq!(door.send("GET http://169.254.169.254/api/v1/open", &[]).await.status, 200);
    assert_eq!(door.send("GET http://169.254.169.254/", &[]).await.code(), "not_found");
}

#[tokio::test]
async fn broken_framing_is_one_400_and_the_end() {
    let door = Door::open(Options::default());
    let head = "POST /things HTTP/1.1\r\nhost: hub\r\n";
    for broken in [
        format!("{head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("{head}x: a\r\n folded\r\n\r\n"),
        format!("{head}x : a\r\n\r\n"),
        "GET /api/v1/open HTTP/1.1\r\n\r\n".to_owned(),
        "GET /api/v1/open HTTP/9.1\r\nhost: a\r\n\r\n".to_owned(),
        "\u{1}\u{2}\r\n\r\n".to_owned(),
    ] {
        let text = door.raw(&broken).await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{broken:?} -> {text:?}");
        assert_eq!(
            (Answer::parse(&text).status, Answer::parse(&text).code().as_str()),
            (400, "bad_request"),
            "{broken:?}"
        );
    }
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut() {
    let door = Door::open(Options::default());
    for start in [
        "GET /api/v1/open HTTP/1.1\r\nho",
        "POST /things HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let began = Instant::now();
        let text = read_all(&mut stream).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{start:?} {:?}", began.elapsed());
        let last = &text[text.rfind("HTTP/1.1 ").unwrap()..];
        assert_eq!(
            (Answer::parse(last).status, Answer::parse(last).code().as_str()),
            (408, "request_timeout"),
            "{text}"
        );
    }
}

/// Browsers and clients with a pool connect ahead: what comes unasked they take for the answer to what they ask next.
#[tokio::test]
async fn regression_a_connection_on_which_nothing_was_asked_ends_without_a_word() {
    let door = Door::open(Options { head_time: Duration::from_secs(1), ..Options::default() });
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let began = Instant::now();
    assert_eq!(read_all(&mut stream).await, "");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// Row R21: slow clients by the thousand do not keep a good one waiting, and all of them are cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slow_clients_do_not_keep_a_good_one_waiting() {
    let door = Door::open(Options { head_time: Duration::from_secs(3), ..Options::default() });
    let mut slow = Vec::new();
    for _ in 0..2_000 {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(b"GET /api/v1/open HTTP/1.1\r\nho").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(door.send("GET /api/v1/open", &[]).await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    for mut stream in slow {
        assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 408 "));
    }
}

#[tokio::test]
async fn a_slow_second_head_is_cut() {
    let door = Door::open(Options::default());
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream.write_all(b"GET /api/v1/open HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(b"GET /api/v1/open HTTP/1.1\r\nho").await.unwrap();
    let began = Instant::now();
    let text = read_all(&mut stream).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
}

#[tokio::test]
async fn a_request_in_flight_ends_before_the_server() {
    let door = Door::open(Options::default());
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let finish = door.tasks.finish(Duration::from_secs(5));
    let (text, ()) = tokio::join!(read_all(&mut stream), finish);
    assert!(text.contains("200 OK") && text.ends_with("done"), "{text}");
    assert!(TcpStream::connect(door.address).await.is_err());
}

/// Whoever asks for a WebSocket and is refused reads the refusal: it was announced in chunks and sent without.
#[tokio::test]
async fn regression_a_refused_upgrade_is_answered_whole() {
    let door = Door::open(Options::default());
    let head = "GET /stream HTTP/1.1\r\nhost: hub\r\n";
    for upgrade in ["connection: Upgrade\r\nupgrade: websocket\r\n", "connection: upgrade\r\nupgrade: h2c\r\n"] {
        let answer = Answer::parse(&door.raw(format!("{head}{upgrade}\r\n")).await);
        assert_eq!((answer.status, answer.body.as_str()), (503, "one two"), "{answer:?}");
        assert_eq!((answer.header("transfer-encoding"), answer.header("connection")), (None, Some("close")));
    }
    let plain = Answer::parse(&door.raw(format!("{head}connection: close\r\n\r\n")).await);
    assert_eq!(plain.header("transfer-encoding"), Some("chunked"), "{plain:?}");
}
