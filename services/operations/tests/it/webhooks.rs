//! Webhooks of ended operations.

use roadstead_contracts::operation::OperationState;
use roadstead_operations::Faults;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::rig::{Rig, cluster};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Takes one request and answers with a status; gives the request's text.
async fn take(listener: &TcpListener, status: &str) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut text = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let read = socket.read(&mut chunk).await.unwrap();
        text.extend_from_slice(&chunk[..read]);
        let whole = String::from_utf8_lossy(&text);
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if length.is_some_and(|length| body.len() >= length.parse::<usize>().unwrap()) {
                break;
            }
        }
        assert!(read > 0, "cut");
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    socket.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix)).unwrap();
    &line[prefix.len()..]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ending_is_told_signed_and_again_until_it_is_taken() {
    let rig = Rig::new(1, Faults::default(), &[("ROADSTEAD_OPERATIONS_WEBHOOK_SECRET", KEY)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?token=canary-url", listener.local_addr().unwrap());
    // As the front door brings it: past the queues.
    let staged = rig.stage(&url).await;
    let made = rig.create(|create| create.webhook_sha256 = Some(staged), 1).await.unwrap();
    assert_eq!(rig.ended(made.id).await.state, OperationState::Succeeded);
    let first = take(&listener, "500 no").await;
    // The pauses are long.
    let hurry = async {
        loop {
            rig.clock.advance(10);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let second = tokio::select! {
        second = take(&listener, "204 yes") => second,
        () = hurry => unreachable!(),
    };
    assert_eq!(header(&first, "roadstead-webhook-id"), header(&second, "roadstead-webhook-id"));
    let (_, body) = second.split_once("\r\n\r\n").unwrap();
    let told: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["event"], "operation.finished");
    assert_eq!(told["operation"]["id"], made.id.to_string());
    assert_eq!(told["operation"]["status"], "success");
    let timestamp = header(&second, "roadstead-webhook-timestamp");
    assert_eq!(header(&second, "roadstead-webhook-signature"), format!("v1={}", sign(timestamp, body)));
    let files = std::fs::read(rig.folder.path().join("operations.db")).unwrap();
    assert!(!files.windows(10).any(|window| window == b"canary-url"), "the address is sealed");
    rig.stop().await;
}

fn sign(timestamp: &str, body: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_not_allowed_are_refused() {
    let rig = Rig::new(1, Faults::default(), &[("ROADSTEAD_OPERATIONS_WEBHOOK_SECRET", KEY)]).await;
    for url in ["http://169.254.169.254/latest", "file:///etc/passwd", "http://[fd00:ec2::254]/", "nonsense"] {
        let refused = rig.create(|create| create.webhook_url = Some(url.to_owned()), 1).await;
        assert!(refused.is_err(), "{url}");
    }
    assert!(rig.agent.begun().iter().all(|(at, _)| *at != cluster(1)));
    rig.stop().await;
}
