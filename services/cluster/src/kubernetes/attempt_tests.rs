//! What an exchange tells that was not answered, or not waited for: to the breaker of its cluster, and to the audit trail.

use std::net::Ipv4Addr;

use roadstead_contracts::audit::{AuditRecord, Ended, Phase};
use roadstead_runtime::{SystemClock, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, advance, sleep, timeout};

use super::tests::{PATIENCE, Rig, UPGRADE, get, get2, read_head, rest};
use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Longer than any answer of a cluster is waited for, and shorter than a circuit is left open after that.
const NO_ANSWER: Duration = Duration::from_secs(76);

/// The head of what the client is answered.
async fn answered(client: &mut DuplexStream) -> String {
    timeout(Duration::from_secs(7_200), read_head(client)).await.unwrap()
}

/// A request to a cluster that gets it and says nothing.
async fn unanswered(rig: &Rig, request: &str) -> String {
    let mut client = rig.client(request).await;
    let (_stream, _) = rig.exchange().await;
    // The test's own patience is shorter than the door's.
    sleep(NO_ANSWER).await;
    answered(&mut client).await
}

/// Whether a request goes through to the cluster and back.
async fn goes(rig: &Rig, path: &str) -> bool {
    let mut client = rig.client(&get(path, "Connection: close\r\n")).await;
    let answering = async {
        let (mut stream, _) = rig.exchange().await;
        stream.write_all(OK).await.unwrap();
        std::future::pending::<()>().await;
    };
    let answer = async { rest(&mut client).await.0 };
    let answer = tokio::select! {
        answer = answer => answer,
        () = answering => unreachable!(),
    };
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.1 503"), "{text}");
    assert_eq!(text.contains("the cluster does not answer"), text.starts_with("HTTP/1.1 503"), "{text}");
    text.starts_with("HTTP/1.1 200")
}

#[tokio::test(start_paused = true)]
async fn regression_a_silent_cluster_is_left_alone_and_no_other_one() {
    let rig = Rig::with(Tasks::new(), None);
    for _ in 0..3 {
        let head = unanswered(&rig, &get("/k/c/api/v1/pods?limit=1", "")).await;
        assert!(head.starts_with("http/1.1 504"), "{head}");
    }
    // The next is told at once, and when to come back; the cluster hears nothing of it.
    let began = Instant::now();
    let mut client = rig.client(&get("/k/c/version", "Connection: close\r\n")).await;
    let head = answered(&mut client).await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: "), "{head}");
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    rig.nothing_went_up();
    assert!(goes(&rig, "/k/other/version").await, "another cluster is another matter");
    assert!(!goes(&rig, "/k/c/version").await);
    // After a while one tries; when that is answered, all go through.
    advance(Duration::from_secs(5)).await;
    assert!(goes(&rig, "/k/c/version").await);
    assert!(goes(&rig, "/k/c/version").await && goes(&rig, "/k/c/api/v1/pods?limit=1").await);
}

/// Clients that give up before the door does teach it the same.
#[tokio::test(start_paused = true)]
async fn regression_clients_that_leave_a_silent_cluster_tell_of_it() {
    for (stay, goes_on) in [(Duration::from_secs(6), false), (Duration::from_secs(1), true)] {
        let rig = Rig::with(Tasks::new(), None);
        for _ in 0..3 {
            let client = rig.client(&get("/k/c/api/v1/pods?limit=1", "")).await;
            let (mut stream, _) = rig.exchange().await;
            sleep(stay).await;
            drop(client);
            assert!(
                timeout(PATIENCE, stream.read_u8()).await.unwrap().is_err(),
                "the exchange goes on without a client"
            );
        }
        assert_eq!(goes(&rig, "/k/c/version").await, goes_on, "after {stay:?}");
    }
    // In HTTP/2 the request is taken back.
    let rig = Rig::with(Tasks::new(), None);
    let mut client = rig.client2().await;
    for _ in 0..3 {
        let asked = client.send_request(get2("/k/c/api/v1/pods?limit=1"));
        let answer = async {
            let (stream, _) = rig.exchange().await;
            sleep(Duration::from_secs(6)).await;
            stream
        };
        let mut stream = tokio::select! {
            stream = answer => stream,
            _ = asked => unreachable!(),
        };
        assert!(timeout(PATIENCE, stream.read_u8()).await.unwrap().is_err());
    }
    assert!(!goes(&rig, "/k/c/version").await);
}

#[tokio::test(start_paused = true)]
async fn regression_a_slow_upload_and_a_quiet_proxy_are_no_outage() {
    let rig = Rig::with(Tasks::new(), None);
    for _ in 0..4 {
        // A body that does not come.
        let head = unanswered(
            &rig,
            "POST /k/c/api/v1/namespaces/a/pods HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer s\r\nContent-Length: 9\r\n\r\n{",
        )
        .await;
        assert!(head.starts_with("http/1.1 504"), "{head}");
        // Whoever leaves something that may be silent.
        for (path, more) in [
            ("/k/c/api/v1/namespaces/a/pods/b/log?follow=true", ""),
            ("/k/c/api/v1/namespaces/a/services/b/proxy/slow", ""),
            ("/k/c/api/v1/namespaces/a/pods/b/exec?command=sh", UPGRADE),
        ] {
            let client = rig.client(&get(path, more)).await;
            let (_stream, _) = rig.exchange().await;
            sleep(Duration::from_secs(60)).await;
            drop(client);
            tokio::task::yield_now().await;
        }
    }
    assert!(goes(&rig, "/k/c/version").await);
    // A body that is all there is another matter.
    for _ in 0..3 {
        let more = "Content-Length: 2\r\n\r\n{}";
        let whole =
            format!("POST /k/c/api/v1/namespaces/a/pods HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer s\r\n{more}");
        unanswered(&rig, &whole).await;
    }
    assert!(!goes(&rig, "/k/c/version").await);
}

#[tokio::test(start_paused = true)]
async fn regression_a_followed_log_waits_for_its_first_line() {
    let rig = Rig::with(Tasks::new(), None);
    let mut client = rig.client(&get("/k/c/api/v1/namespaces/a/pods/b/log?follow=true", "")).await;
    let (mut stream, _) = rig.exchange().await;
    sleep(Duration::from_secs(5_400)).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhi\n\r\n").await.unwrap();
    assert!(answered(&mut client).await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn regression_a_proxys_word_about_the_client_counts_at_this_door() {
    struct Heard(std::sync::Mutex<Vec<IpAddr>>);

    #[async_trait]
    impl Gate for Heard {
        async fn admit(&self, asked: Asked<'_>) -> std::result::Result<Admitted, Refusal> {
            self.0.lock().unwrap().push(asked.source);
            Err(Error::of(Code::Unauthenticated).into())
        }
    }

    let rig = Rig::with(Tasks::new(), None);
    let heard = Arc::new(Heard(std::sync::Mutex::default()));
    let door = |trusted: &[&str]| {
        Arc::new(Door {
            gate: Arc::clone(&heard) as Arc<dyn Gate>,
            streams: Arc::clone(&rig.door.streams),
            breakers: Breakers::default(),
            audit: None,
            trusted_proxies: trusted.iter().map(|range| range.parse().unwrap()).collect(),
            ids: rig.door.ids.clone(),
            tasks: rig.tasks.clone(),
        })
    };
    let peer = SocketAddr::from(([10, 1, 2, 3], 4));
    for (trusted, expected) in [(&["10.0.0.0/8"][..], [203, 0, 113, 9]), (&[], [10, 1, 2, 3])] {
        let expected = IpAddr::V4(Ipv4Addr::from(expected));
        // HTTP/1.1.
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        rig.tasks.spawn("connection", door(trusted).http(TokioIo::new(server), peer));
        let more = "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nConnection: close\r\n";
        client.write_all(get("/k/c/api", more).as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("http/1.1 401"));
        assert_eq!(heard.0.lock().unwrap().pop(), Some(expected));
        // HTTP/2.
        let (client, server) = tokio::io::duplex(64 * 1024);
        rig.tasks.spawn("connection", door(trusted).http2(TokioIo::new(server), peer));
        let executor = hyper_util::rt::TokioExecutor::new();
        let shaken = hyper::client::conn::http2::handshake(executor, TokioIo::new(client)).await;
        let (mut sender, connection) = shaken.unwrap();
        rig.tasks.spawn("client", async move { drop(connection.await) });
        let mut request = get2("/k/c/api");
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 203.0.113.9"));
        assert_eq!(timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap().status(), 401);
        assert_eq!(heard.0.lock().unwrap().pop(), Some(expected));
    }
}

/// A rig whose records can be read.
fn recorded() -> (Rig, Arc<Audit>, tempfile::TempDir) {
    let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
    let (clock, path) = (SystemClock::shared(), folder.path().to_owned());
    let audit = Audit::open(path, 1 << 20, Ids::system(SystemClock::shared()), clock, &tasks);
    let audit = Arc::new(audit);
    (Rig::with(tasks, Some(Arc::clone(&audit))), audit, folder)
}

/// The records, once there are so many.
async fn records(audit: &Audit, count: usize) -> Vec<AuditRecord> {
    let waiting = async {
        while audit.waiting().len() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{:#?}", audit.waiting());
    audit.waiting()
}

#[tokio::test]
async fn regression_a_client_that_leaves_leaves_no_intent_without_an_outcome() {
    let (rig, audit, _folder) = recorded();
    let client = rig.client(&get("/k/c/api/v1/namespaces/a/secrets/b", "")).await;
    let (_stream, _) = rig.exchange().await;
    assert_eq!(records(&audit, 1).await[0].phase, Phase::Intent);
    drop(client);
    let found = records(&audit, 2).await;
    assert_eq!(found[1].intent_id, Some(found[0].id));
    assert_eq!(found[1].outcome.unwrap().result, Ended::Cancelled);
    assert_eq!((found[1].detail["client"].as_str(), found[1].detail["done"].as_str()), ("left", "unknown"));
}

#[tokio::test]
async fn regression_the_end_of_a_session_is_a_row_with_how_long_it_took() {
    let (rig, audit, _folder) = recorded();
    let mut client = rig.client(&get("/k/c/api/v1/namespaces/a/pods/b/exec", UPGRADE)).await;
    let (mut stream, _) = rig.exchange().await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    stream.write_all(switch.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("http/1.1 101"));
    assert_eq!(records(&audit, 2).await[1].outcome.unwrap().result, Ended::Succeeded);
    drop(client);
    drop(stream);
    let found = records(&audit, 3).await;
    assert_eq!(found[2].action.as_str(), "kubernetes.session_end");
    assert_eq!(found[2].intent_id, Some(found[0].id));
    assert!(found[2].detail["seconds"].as_str().parse::<u64>().is_ok());
}
