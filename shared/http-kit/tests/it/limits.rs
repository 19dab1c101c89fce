use std::io::Write as _;

use actix_web::http::header::HeaderMap;
use roadstead_http_kit::forward;
use roadstead_runtime::{Clock as _, SystemClock};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::door::{Answer, Door, Options, mesh_key, read_all};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn long_targets_and_heads_are_refused() {
    let door = Door::open(Options::default());
    for length in [9 * 1024, 64 * 1024, 100 * 1024] {
        let answer = door.send(&format!("GET /{}", "a".repeat(length)), &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (414, "uri_too_long"), "{length}");
    }
    let big = "a".repeat(1024 * 1024);
    let answer = door.send("GET /api/v1/open", &[("x-big", &big)]).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "headers_too_large"));
    let names: Vec<String> = (0..500).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let answer = door.send("GET /api/v1/open", &many).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "headers_too_large"));
}

#[tokio::test]
async fn bodies_are_typed_and_bounded() {
    let door = Door::open(Options::default());
    let good = "{\"name\":\"prod\"}";
    assert_eq!(door.send_body("POST /things", &[JSON], good).await.status, 201);
    assert_eq!(
        door.send_body("POST /things", &[("content-type", "application/json; charset=utf-8")], good).await.status,
        201
    );
    for headers in [&[][..], &[("content-type", "text/plain")]] {
        let answer = door.send_body("POST /things", headers, good).await;
        assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"));
    }
    for (body, code) in [("{\"name\":", "bad_json"), ("{}{}", "validation_failed"), ("{\"name\":\"a\"}{}", "bad_json")]
    {
        assert_eq!(door.send_body("POST /things", &[JSON], body).await.code(), code, "{body}");
    }
    for body in ["null", "[]", "7", "\"x\"", "{\"name\":7}", "{\"name\":null}"] {
        let (v1, other) = (
            door.send_body("POST /api/v1/things", &[JSON], body).await,
            door.send_body("POST /things", &[JSON], body).await,
        );
        assert_eq!((v1.status, v1.code().as_str()), (400, "validation_failed"), "{body}");
        assert_eq!((other.status, other.code().as_str()), (422, "validation_failed"), "{body}");
        assert!(v1.body.contains("\"loc\":[\"body\""), "{}", v1.body);
    }
}

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_read() {
    let door = Door::open(Options::default());
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let head =
        "POST /things HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: 10485760\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = Answer::parse(&read_all(&mut stream).await);
    assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"));

    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let head =
        "POST /things HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("400\r\n{}\r\n", "a".repeat(1024));
    for _ in 0..5 {
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let answer = Answer::parse(&read_all(&mut stream).await);
    assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"));
}

#[tokio::test]
async fn a_bomb_ends_at_the_limit() {
    let door = Door::open(Options::default());
    // A stored-block gzip stream would not be a bomb: take a run of zeros from the system's gzip format by hand.
    let mut packed = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::best());
    encoder.write_all(&vec![b' '; 4 * 1024 * 1024]).unwrap();
    encoder.finish().unwrap();
    assert!(packed.len() < 4096 * 2);
    packed.truncate(4096);
    let head = format!(
        "POST /things HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let answer = Answer::parse(&door.raw([head.as_bytes(), &packed].concat()).await);
    assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"));
}

#[tokio::test]
async fn only_trusted_peers_name_the_client() {
    let forged = [("x-forwarded-for", "9.9.9.9")];
    let door = Door::open(Options::default());
    assert_eq!(door.send("GET /api/v1/open", &forged).await.body, "127.0.0.1");
    let door = Door::open(Options { trusted: vec!["127.0.0.0/8".parse().unwrap()], ..Options::default() });
    assert_eq!(door.send("GET /api/v1/open", &forged).await.body, "9.9.9.9");
    let door = Door::open(Options { key: Some(mesh_key()), ..Options::default() });
    assert_eq!(door.send("GET /api/v1/open", &forged).await.body, "127.0.0.1");
    let now = SystemClock.now().timestamp();
    let signed = forward::sign(&mesh_key(), "GET", "/api/v1/open", "9.9.9.9".parse().unwrap(), now);
    assert_eq!(door.send("GET /api/v1/open", &[(forward::FORWARDED_HEADER, &signed)]).await.body, "9.9.9.9");
    assert_eq!(door.send("GET /api/v1/open?x", &[(forward::FORWARDED_HEADER, &signed)]).await.body, "127.0.0.1");
    assert!(HeaderMap::new().is_empty());
}
