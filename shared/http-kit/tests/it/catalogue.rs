//! Rows of the catalogue of bad input that no other file here holds.

use std::time::{Duration, Instant};

use roadstead_testkit::logs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::door::{Answer, Door, Options};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Row R19: a line ends with CR and LF. A proxy before us may see one request where a lenient parser sees two.
#[tokio::test]
async fn regression_r19_bare_line_feeds_end_no_line() {
    let door = Door::open(Options::default());
    for broken in [
        "GET /api/v1/open HTTP/1.1\nhost: hub\n\n",
        "GET /api/v1/open HTTP/1.1\r\nhost: hub\nx: a\r\n\r\n",
        "GET /api/v1/open HTTP/1.1\r\nhost: hub\r\n\n",
        "GET /api/v1/open HTTP/1.1\nhost: hub\r\n\r\n",
        "POST /things HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    ] {
        let text = door.raw(broken).await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{broken:?} -> {text:?}");
        assert_eq!(Answer::parse(&text).status, 400, "{broken:?} -> {text:?}");
    }
    // Byte by byte, so that a line end is split over two reads.
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    for byte in b"GET /api/v1/open HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(crate::door::read_all(&mut stream).await.starts_with("HTTP/1.1 200"));
}

/// Row R23: the name under which a client called us is looked at by nobody; two of them are none.
#[tokio::test]
async fn regression_r23_odd_hosts() {
    let door = Door::open(Options::default());
    for host in ["169.254.169.254", "evil.example:80", "localhost.", "[::1]"] {
        let text = door.raw(format!("GET /api/v1/open HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert!(text.starts_with("HTTP/1.1 200") && !text.contains("location:"), "{host}: {text}");
    }
    for hosts in ["host: hub\r\nhost: evil.example\r\n", "host: a b\r\n", "host: evil/@hub\r\n"] {
        let text = door.raw(format!("GET /api/v1/open HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
        assert_eq!(Answer::parse(&text).status, 400, "{hosts:?} -> {text:?}");
    }
}

/// Row R06: what is not UTF-8, unescaped.
#[tokio::test]
async fn r06_raw_bytes_are_no_text() {
    let door = Door::open(Options::default());
    for head in [
        &b"GET /api/v1/open?a=\xff HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n"[..],
        b"GET /api/v1/\xffopen HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n",
        b"GET /api/v1/open HTTP/1.1\r\nhost: hub\r\nx-text: a\xff\r\nconnection: close\r\n\r\n",
        b"GET /api/v1/mine HTTP/1.1\r\nhost: hub\r\nx-api-key: view\xffer\r\nconnection: close\r\n\r\n",
    ] {
        let text = door.raw(head).await;
        assert_eq!(
            (Answer::parse(&text).status, Answer::parse(&text).code().as_str()),
            (400, "bad_request"),
            "{:?} -> {text:?}",
            String::from_utf8_lossy(head)
        );
    }
    let body = [&b"POST /things HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n"[..], b"{\"name\":\"\xff\""].concat();
    assert_eq!(Answer::parse(&door.raw(body).await).code(), "bad_json");
}

/// Row R04: depth and length cost nothing. A second is far above what either takes and far below a stack overflow.
#[tokio::test]
async fn r04_deep_and_long_bodies_are_cheap() {
    let limits = roadstead_http_kit::Limits::default();
    let door = Door::open(Options { limits, ..Options::default() });
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let deep_map = "{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000);
    let long = format!("[{}0]", "0,".repeat(500_000));
    for (what, value) in [("deep", &deep), ("deep map", &deep_map), ("long", &long)] {
        for body in [value.clone(), format!("{{\"name\":{value}}}"), format!("{{\"other\":{value}}}")] {
            let began = Instant::now();
            let answer = door.send_body("POST /api/v1/things", &[JSON], &body).await;
            assert_eq!(answer.status, 400, "{what} {answer:?}");
            assert!(began.elapsed() < Duration::from_secs(1), "{what}: {:?}", began.elapsed());
            assert!(answer.body.len() < 2_000, "{what}: an answer of {} bytes", answer.body.len());
        }
    }
    let million = format!("[{}0]", "0,".repeat(1_000_000));
    assert_eq!(door.send_body("POST /api/v1/things", &[JSON], &million).await.status, 413);
}

/// The oracle of every row: an answer does not repeat what was sent, however it was sent.
#[tokio::test]
async fn regression_long_field_names_are_not_repeated() {
    let limits = roadstead_http_kit::Limits::default();
    let door = Door::open(Options { limits, ..Options::default() });
    let name = "n".repeat(500_000);
    for body in
        [format!("{{\"{name}\":1}}"), format!("{{\"name\":{{\"{name}\":1}}}}"), format!("{{\"name\":\"{name}\"}}")]
    {
        let answer = door.send_body("POST /api/v1/things", &[JSON], &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "validation_failed"));
        assert!(answer.body.len() < 2_000, "an answer of {} bytes", answer.body.len());
    }
}

/// Row R05: an endless body behind an answer that came without reading it.
#[tokio::test]
async fn regression_r05_an_unread_endless_body_ends_the_connection() {
    let door = Door::open(Options::default());
    for line in ["DELETE /api/v1/mine", "GET /api/v1/mine", "POST /nowhere", "POST /api/v1/mine", "GET /api/v1/open"] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        let head = format!("{line} HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let mut answer = Vec::new();
        // Blank lines in the body, so that it looks like heads to whoever only counts line ends.
        let write = async {
            while writer.write_all(b"8\r\na\r\n\r\nbcd\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let exchange = async {
            let read = async {
                let _ = reader.read_to_end(&mut answer).await;
            };
            tokio::join!(write, read)
        };
        let ended = tokio::time::timeout(Duration::from_secs(8), exchange).await;
        assert!(ended.is_ok(), "{line}: the connection stayed open");
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.matches("HTTP/1.1 ").count() <= 1, "{line}: {text}");
    }
}

/// The same behind a good answer of a route that takes no body, for somebody who is known.
#[tokio::test]
async fn regression_r05_an_endless_body_that_nobody_takes_ends_the_connection() {
    let door = Door::open(Options::default());
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let head = "DELETE /api/v1/mine HTTP/1.1\r\nhost: hub\r\nx-api-key: admin\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        while writer.write_all(b"4\r\nabcd\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let exchange = async { tokio::join!(write, reader.read_to_end(&mut answer)) };
    assert!(tokio::time::timeout(Duration::from_secs(8), exchange).await.is_ok(), "the connection stayed open");
    assert!(answer.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer));
    // One that is taken and ends leaves the connection as it was.
    let body = "POST /things HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
                c\r\n{\"name\":\"a\"}\r\n0\r\n\r\n";
    let next = "GET /api/v1/open HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n";
    let both = door.raw(format!("{body}{next}")).await;
    assert!(both.starts_with("HTTP/1.1 201") && both.contains("HTTP/1.1 200"), "{both}");
}

/// Rows L01 and L02: no text of a client's comes into a log line, so that none has to be escaped.
#[tokio::test]
async fn l02_nothing_that_a_client_sends_is_logged() {
    logs::keep();
    let door = Door::open(Options::default());
    let canary = "canary5f1e";
    let values = [
        format!("{canary}\u{1b}[31m"),
        format!("{canary}\",\"level\":\"ERROR"),
        format!("{canary} %0d%0aforged"),
        canary.to_owned(),
    ];
    for value in &values {
        for name in
            ["user-agent", "x-request-id", "referer", "x-api-key", "authorization", "cookie", "traceparent", "origin"]
        {
            // No header holds an escape character, and a sane request id is what lines are found by.
            let passed_over = value.contains('\u{1b}') || (name == "x-request-id" && value == canary);
            if !passed_over {
                door.send("GET /api/v1/mine", &[(name, value)]).await;
                door.send("GET /api/v1/open", &[(name, value)]).await;
            }
        }
        door.raw(format!("GET /{canary} HTTP/1.1\r\nuser-agent: {value}\r\n\r\n")).await;
        door.send_body("POST /things", &[JSON], &format!("{{\"{canary}\":\"{canary}\"}}")).await;
    }
    for path in ["/canary5f1e", "/canary5f1e%0d%0a", "/api/v1/canary5f1e?canary5f1e=canary5f1e", "//canary5f1e/"] {
        door.send(&format!("GET {path}"), &[]).await;
        door.send(&format!("CANARY5F1E {path}"), &[]).await;
    }
    let lines = logs::lines();
    assert!(lines.contains("route=unmatched") && lines.contains("route=/api/v1/mine"), "nothing was kept: {lines}");
    assert!(!lines.to_lowercase().contains(canary), "{lines}");
}
