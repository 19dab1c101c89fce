//! The audit trail reaches receivers outside: in order, at least once, from where it stopped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use roadstead_contracts::audit::AuditStart;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::rig::{Rig, rig_with, start};

/// Waits for a condition; receivers are tried again after seconds, not milliseconds.
async fn patiently<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..600 {
        if check().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

/// Runs beside the test until it is aborted.
#[expect(clippy::disallowed_methods, reason = "a receiver is no part of the service and outlives it")]
fn beside(work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(work)
}

type Lines = Arc<Mutex<Vec<String>>>;

/// Messages of a stream with counted octets; what is cut off is none.
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let Some(message) = bytes.get(space + 1..space + 1 + length) else { break };
        frames.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = &bytes[space + 1 + length..];
    }
    frames
}

/// Reads a connection to its end and keeps its messages.
async fn take_all(mut stream: impl AsyncRead + AsyncWrite + Unpin, kept: &Lines) {
    let mut bytes = Vec::new();
    if stream.read_to_end(&mut bytes).await.is_ok() {
        kept.lock().unwrap().extend(frames(&bytes));
        let _ = stream.shutdown().await;
    }
}

/// The number in the row of a syslog line.
fn seq(line: &str) -> i64 {
    let row: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    row["seq"].as_i64().unwrap()
}

async fn owner_key(rig: &Rig) -> String {
    rig.owner().await.api_key.expose().to_owned()
}

/// The last row of the chain.
async fn head(rig: &Rig, key: &str) -> i64 {
    let rows = rig.as_key(key, "GET", "/api/v1/audit?limit=1", None).await.body;
    rows[0]["seq"].as_i64().unwrap_or(0)
}

async fn metrics(rig: &Rig) -> String {
    rig.send(rig.request("GET", "/metrics")).await.body.as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_syslog_that_was_away_gets_everything_once_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("tcp://{address}");
    let rig = rig_with(&[("ROADSTEAD_AUDIT_SYSLOG_URL", &url)]).await;
    let key = owner_key(&rig).await;
    rig.account("ada").await;
    patiently("it is counted", || async {
        metrics(&rig).await.contains("roadstead_audit_export_failures_total{sink=\"syslog\"}")
    })
    .await;
    assert!(metrics(&rig).await.contains("roadstead_audit_export_behind{sink=\"syslog\"}"));

    // First one that reads a little and breaks off: nothing of that counts.
    let listener = TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut some = [0; 100];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    let kept = Lines::default();
    let (lines, serving) = (Arc::clone(&kept), Arc::new(listener));
    let listener = Arc::clone(&serving);
    let receiver = beside(async move {
        while let Ok((stream, _)) = listener.accept().await {
            take_all(stream, &lines).await;
        }
    });
    let last = head(&rig, &key).await;
    assert!(last > 2);
    patiently("everything is there", || async { kept.lock().unwrap().iter().any(|line| seq(line) >= last) }).await;
    let lines = kept.lock().unwrap().clone();
    let numbers: BTreeSet<i64> = lines.iter().map(|line| seq(line)).collect();
    assert_eq!(numbers.into_iter().take_while(|number| *number <= last).count(), usize::try_from(last).unwrap());
    assert!(lines.iter().all(|line| line.starts_with('<') && line.contains("Z - roadstead - audit - {")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("\"action\":\"user.create\"")));
    assert!(!lines.iter().any(|line| line.contains("password123") || line.contains(&key)), "a secret leaves");
    // What a receiver keeps is a chain that can be verified.
    let mut verifier = roadstead_auth::audit::Verifier::new(
        &AuditStart { seq: 0, hash: roadstead_auth::audit::GENESIS.to_owned() },
        None,
    );
    let mut rows: Vec<_> = lines.iter().map(|line| (seq(line), &line[line.find('{').unwrap()..])).collect();
    rows.sort_unstable();
    rows.dedup_by_key(|(seq, _)| *seq);
    for (_, row) in rows {
        verifier.row(&serde_json::from_str(row).unwrap());
    }
    let report = verifier.finish();
    assert!(report.fault.is_none(), "{:?}", report.fault);

    // After a restart it goes on where it was: what was confirmed does not come again.
    patiently("it is confirmed", || async { metrics(&rig).await.contains("audit_export_behind{sink=\"syslog\"} 0") })
        .await;
    let last = head(&rig, &key).await;
    let folder = rig.stop().await;
    kept.lock().unwrap().clear();
    let rig = start(folder, &[("ROADSTEAD_AUDIT_SYSLOG_URL", &url)]).await;
    rig.register("grace").await;
    patiently("the new one arrives", || async { !kept.lock().unwrap().is_empty() }).await;
    assert!(kept.lock().unwrap().iter().all(|line| seq(line) > last), "{last}: {:?}", kept.lock().unwrap());
    receiver.abort();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_by_tls_goes_to_the_named_receiver_only() {
    let pki = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let now = chrono::DateTime::from(std::time::SystemTime::now());
        let authority = roadstead_auth::authority::Authority::generate(now).unwrap();
        let leaf = authority.issue(&["127.0.0.1".to_owned()], now).unwrap();
        let path = pki.path().join(name);
        std::fs::write(&path, &authority.certificate).unwrap();
        (path.display().to_string(), leaf)
    };
    let ((ca, leaf), (other, _)) = (authority("ca.pem"), authority("other.pem"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tls://{}", listener.local_addr().unwrap());
    let acceptor = tls_server(&leaf);
    let kept = Lines::default();
    let lines = Arc::clone(&kept);
    let receiver = beside(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                take_all(stream, &lines).await;
            }
        }
    });
    let env =
        |ca: &str| [("ROADSTEAD_AUDIT_SYSLOG_URL", url.clone()), ("ROADSTEAD_AUDIT_SYSLOG_CA_FILE", ca.to_owned())];
    let stranger = env(&other);
    let rig = rig_with(&stranger.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    rig.register("ada").await;
    patiently("it is counted", || async {
        metrics(&rig).await.contains("roadstead_audit_export_failures_total{sink=\"syslog\"}")
    })
    .await;
    assert!(kept.lock().unwrap().is_empty(), "a stranger got the trail");
    let folder = rig.stop().await;
    let own = env(&ca);
    let rig = start(folder, &own.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    patiently("the receiver has it", || async {
        kept.lock().unwrap().iter().any(|line| line.contains("\"action\":\"user.create\""))
    })
    .await;
    receiver.abort();
    rig.stop().await;
}

fn tls_server(leaf: &roadstead_auth::authority::Leaf) -> tokio_rustls::TlsAcceptor {
    use rustls_pki_types::pem::PemObject as _;
    roadstead_runtime::install_crypto();
    let chain = rustls_pki_types::CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).map(Result::unwrap).collect();
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(leaf.key.expose().as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// One request of a collector's client: the body, answered with a status.
async fn collect(listener: &TcpListener, status: &str) -> Option<(String, Value)> {
    let (mut stream, _) = listener.accept().await.ok()?;
    let mut bytes = Vec::new();
    let (head, body_at) = loop {
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&more[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase(), end + 4);
        }
    };
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    while bytes.len() < body_at + length {
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&more[..read]);
    }
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    Some((head, serde_json::from_slice(&bytes[body_at..]).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_trail_as_logs_and_again_what_it_did_not_take() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let env = [
        ("ROADSTEAD_AUDIT_OTLP_ENDPOINT", endpoint.as_str()),
        ("ROADSTEAD_AUDIT_OTLP_TOKEN", "c4nary-collector-token"),
        ("ROADSTEAD_AUDIT_RETENTION", "1h"),
        ("ROADSTEAD_AUDIT_CHECKPOINT_EVERY", "1s"),
    ];
    let rig = rig_with(&env).await;
    let key = owner_key(&rig).await;
    rig.account("ada").await;
    let (head_lines, refused) = collect(&listener, "503 Service Unavailable").await.unwrap();
    assert!(head_lines.starts_with("post /v1/logs http/1.1"), "{head_lines}");
    assert!(head_lines.contains("authorization: bearer c4nary-collector-token"));
    let records = |body: &Value| body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().clone();
    let first = records(&refused)[0]["attributes"][0].clone();
    assert_eq!(first, json!({"key": "audit.seq", "value": {"intValue": "1"}}));
    // Nothing that a receiver lacks is removed, however old.
    let last = head(&rig, &key).await;
    rig.clock.advance(chrono::TimeDelta::hours(2));
    patiently("a checkpoint is signed", || async {
        let signed = rig.as_key(&key, "GET", "/api/v1/audit/checkpoints", None).await.body;
        signed["checkpoints"].as_array().is_some_and(|signed| !signed.is_empty())
    })
    .await;
    assert_eq!(rig.service.prune_audit().await.unwrap(), 0);

    let mut seen = BTreeSet::new();
    while !seen.contains(&last) {
        let Some((_, body)) = collect(&listener, "200 OK").await else { continue };
        for record in records(&body) {
            assert!(record["body"]["stringValue"].as_str().unwrap().starts_with("{\"seq\":"), "{record}");
            seen.insert(record["attributes"][0]["value"]["intValue"].as_str().unwrap().parse::<i64>().unwrap());
        }
    }
    assert_eq!(seen.iter().copied().take_while(|seq| *seq <= last).count(), usize::try_from(last).unwrap());
    let page = metrics(&rig).await;
    assert!(!page.contains("c4nary"), "{page}");
    patiently("then it is removed", || async { rig.service.prune_audit().await.unwrap() > 0 }).await;
    rig.stop().await;
}
