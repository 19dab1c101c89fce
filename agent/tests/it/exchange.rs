//! Exchanges with the API server: one stream, one HTTP/1.1 request, as a person.

use roadstead_contracts::agent::{StreamHead, StreamTarget};
use roadstead_tunnel::Class;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::api::Manner;
use crate::hub::send;
use crate::session::Rig;

/// Sends raw HTTP on a stream; answers status and body.
async fn exchange(rig: &Rig, assertion: Option<String>, request: &str) -> (u16, Value) {
    let head = StreamHead {
        target: StreamTarget::Kubernetes {},
        request_id: "r-1".to_owned(),
        deadline_milliseconds: 10_000,
        traceparent: None,
        assertion,
    };
    let mut stream = rig.hub.open(serde_json::to_vec(&head).unwrap().into(), Class::Bulk).unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: hub\r\n{more}\r\n")
}

#[tokio::test]
async fn a_request_goes_on_as_the_person_and_nobody_else() {
    let rig = Rig::start(Manner::default()).await;
    send(&rig.hub, &rig.keys.welcome());
    let assertion = rig.keys.assertion(|claims| claims.roles = vec!["operator".to_owned()]);
    let more = "Authorization: Bearer hubs\r\nCookie: a=b\r\nAccept: x/y\r\nAudit-ID: r-1\r\n";
    let (status, body) = exchange(&rig, Some(assertion.clone()), &get("/api/v1/namespaces?limit=500", more)).await;
    assert_eq!((status, &body["kind"]), (200, &Value::from("NamespaceList")));
    let seen = rig.api.seen("/api/v1/namespaces?limit=500").pop().unwrap();
    assert_eq!(seen.header("impersonate-user"), ["roadstead:alice"]);
    assert_eq!(seen.header("impersonate-group"), ["roadstead:operator"]);
    assert_eq!((seen.header("accept"), seen.header("audit-id")), (vec!["x/y"], vec!["r-1"]));
    assert!(seen.header("authorization").is_empty() && seen.header("cookie").is_empty());
    assert_eq!(seen.header("host"), [rig.api.address.to_string()]);
    // A body goes on as it comes.
    let post = "POST /apis/x/v1/things HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let (status, _) = exchange(&rig, Some(assertion), post).await;
    assert_eq!(status, 404);
    assert_eq!(rig.api.seen("/apis/x/v1/things").pop().unwrap().body.as_ref(), b"abcde");
}

#[tokio::test]
async fn without_a_good_identity_nothing_reaches_the_cluster() {
    let rig = Rig::start(Manner::default()).await;
    send(&rig.hub, &rig.keys.welcome());
    let others = rig.keys.assertion(|claims| claims.aud = "00000000-0000-7000-8000-000000000000".to_owned());
    let system = rig.keys.assertion(|claims| claims.sub = "system:admin".to_owned());
    for assertion in [None, Some("x.y.z".to_owned()), Some(others), Some(system)] {
        let (status, body) = exchange(&rig, assertion, &get("/api/v1/secrets", "")).await;
        assert_eq!((status, &body["details"]["causes"][0]["reason"]), (403, &Value::from("identity_refused")));
    }
    for header in ["Impersonate-User: root", "impersonate-group: system:masters", "X-Remote-User: root"] {
        let assertion = rig.keys.assertion(|_| {});
        let (status, _) = exchange(&rig, Some(assertion), &get("/api/v1/secrets", &format!("{header}\r\n"))).await;
        assert_eq!(status, 403, "{header}");
    }
    assert!(rig.api.seen("/api/v1/secrets").is_empty());
}

#[tokio::test]
async fn an_api_server_that_is_away_is_a_status() {
    let rig = Rig::start(Manner::default()).await;
    send(&rig.hub, &rig.keys.welcome());
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = kube::Config::new(format!("http://{}", nowhere.local_addr().unwrap()).parse().unwrap());
    drop(nowhere);
    let core = roadstead_agent::Core::new(roadstead_agent::kubernetes::Cluster::with_config(config, false).unwrap());
    let rig = rig.with_core(core);
    send(&rig.hub, &rig.keys.welcome());
    let (status, body) = exchange(&rig, Some(rig.keys.assertion(|_| {})), &get("/api", "")).await;
    assert_eq!((status, &body["details"]["causes"][0]["reason"]), (502, &Value::from("agent_error")));
}
