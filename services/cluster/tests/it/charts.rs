//! Charts at the front door.

use roadstead_contracts::operation::{HelmAction, Work};
use serde_json::json;

use crate::rig::{Answer, Rig};

/// `buoy/Chart.yaml`, packed.
const CHART: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\x2a\xcd\xaf\xd4\x77\xce\x48\x2c\x2a\xd1\xab\x4c\xcc\
    \xcd\x61\xa0\x05\x30\x00\x02\x33\x13\x13\x30\x0d\x04\xe8\xb4\x81\x81\xa9\x21\x82\x0d\x12\x37\x04\
    \x2b\x57\x30\x60\xa0\x03\x28\x2d\x2e\x49\x2c\x02\x5a\xcf\x30\x32\x41\x62\x41\x66\x58\x6a\x51\x71\
    \x66\x7e\x9e\x95\x42\x99\x11\x57\x5e\x62\x6e\xaa\x95\x42\x12\x30\x51\x70\x95\xc1\x84\x0d\xf5\x0c\
    \xf4\x0c\xb8\x18\x46\xc1\x28\x18\x05\xa3\x60\x14\x0c\x27\x00\x00\x44\xc7\xb1\x0b\x00\x08\x00\x00";
const BOUNDARY: &str = "multipart/form-data; boundary=b0undary";

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, content) in parts {
        let head = format!("--b0undary\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"x\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b0undary--\r\n");
    body
}

async fn send(rig: &Rig, query: &str, kind: &str, body: Vec<u8>) -> Answer {
    let request = rig.http.post(rig.url(&format!("/api/v1/clusters/prod/charts{query}")));
    let request = request.header("x-api-key", &rig.operator.key).header("content-type", kind);
    Answer::of(request.body(body).send().await.unwrap()).await
}

#[tokio::test]
async fn a_chart_becomes_an_operation() {
    let rig = Rig::new().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let values: &[u8] = b"password: hunter22\n";
    let query = "?release=buoy&namespace=web&create_namespace=true&wait=true";
    let answer = send(&rig, query, BOUNDARY, form(&[("chart", CHART), ("values", values)])).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let asked = rig.operations.asked.lock().unwrap().pop().unwrap();
    let expected = Work::Helm {
        action: HelmAction::Install,
        release: "buoy".to_owned(),
        namespace: "web".to_owned(),
        revision: None,
        create_namespace: true,
        dry_run: false,
        wait: true,
    };
    assert_eq!((asked.cluster_id, asked.work), (cluster.id, expected));
    let staged = rig.operations.bodies.lock().unwrap().pop().unwrap();
    let files = roadstead_manifest::files(&staged).unwrap();
    assert_eq!(files, [("chart.tgz", CHART), ("values-1.yaml", values)]);
    assert!(!rig.world.bodies.lock().unwrap().contains("hunter22"), "values ride no queue");
    // The archive alone.
    assert_eq!(send(&rig, "?release=buoy", "application/gzip", CHART.to_vec()).await.status, 202);
}

#[tokio::test]
async fn what_is_no_chart_is_refused_at_the_door() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    for (body, code) in [
        (form(&[("chart", b"nonsense")]), "chart_refused"),
        (form(&[("chart", &CHART[..CHART.len() / 2])]), "chart_refused"),
        (form(&[("values", b"a: 1")]), "validation_failed"),
        (form(&[("chart", CHART), ("chart", CHART)]), "validation_failed"),
        (form(&[("chart", CHART), ("values", b"\xff")]), "validation_failed"),
        (b"--b0undary".to_vec(), "bad_request"),
    ] {
        let answer = send(&rig, "?release=buoy", BOUNDARY, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{answer:?}");
    }
    for query in ["", "?release=--set", "?release=Buoy", "?release=buoy&namespace=A", "?release=buoy&wait=maybe"] {
        assert_eq!(send(&rig, query, BOUNDARY, form(&[("chart", CHART)])).await.status, 400, "{query}");
    }
    // Rows S01 and S02: the hub fetches nothing from where it must not.
    for (address, code) in [
        ("http%3A%2F%2F169.254.169.254%2Fchart.tgz", "address_not_allowed"),
        ("file%3A%2F%2F%2Fetc%2Fpasswd", "validation_failed"),
        ("oci%3A%2F%2Fexample.com%2Fbuoy", "validation_failed"),
    ] {
        let answer = send(&rig, &format!("?release=buoy&chart={address}"), BOUNDARY, form(&[])).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{address}: {answer:?}");
    }
    assert_eq!(send(&rig, "?release=buoy", "text/plain", CHART.to_vec()).await.status, 415);
    let values = vec![b'a'; 2 * 1024 * 1024];
    let large = send(&rig, "?release=buoy", BOUNDARY, form(&[("chart", CHART), ("values", &values)]));
    assert_eq!(large.await.status, 413);
    assert!(rig.operations.asked.lock().unwrap().is_empty());
}

/// The address of a webhook may hold a token: it rides no queue.
#[tokio::test]
async fn regression_a_webhooks_address_rides_no_message() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let work = json!({
        "kind": "exec", "namespace": "web", "pod": "shop-1", "command": ["ls"],
        "webhook_url": "https://example.com/hook?token=canary-url",
    });
    let key = Some(rig.operator.key.as_str());
    assert_eq!(rig.send("POST", "/api/v1/clusters/prod/operations", key, Some(work)).await.status, 202);
    let asked = rig.operations.asked.lock().unwrap().pop().unwrap();
    assert!(asked.webhook_url.is_none() && asked.webhook_sha256.is_some());
    assert!(!rig.world.bodies.lock().unwrap().contains("canary-url"));
    let staged = rig.operations.bodies.lock().unwrap().pop().unwrap();
    assert_eq!(&staged[..], b"https://example.com/hook?token=canary-url");
}

/// The store answers with fewer rows than the door allows to ask for.
#[tokio::test]
async fn regression_a_page_is_as_long_as_it_was_asked_for() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let key = Some(rig.operator.key.as_str());
    let work = json!({ "kind": "exec", "namespace": "web", "pod": "shop-1", "command": ["ls"] });
    for _ in 0..8 {
        rig.send("POST", "/api/v1/clusters/prod/operations", key, Some(work.clone())).await;
    }
    let whole = rig.get("/api/v1/operations?limit=1000", key).await;
    assert_eq!((whole.json().as_array().unwrap().len(), whole.header("x-total-count")), (8, "8"));
    let first = rig.get("/api/v1/operations?limit=5", key).await;
    assert_eq!(first.json().as_array().unwrap().len(), 5);
    let link = first.header("link").to_owned();
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let rest = rig.get(next, key).await;
    assert_eq!(rest.json().as_array().unwrap().len(), 3, "{next}");
    let list = rig.get("/api/v1/operations/cluster/prod?limit=7", key).await.json();
    assert_eq!(list["operations"].as_array().unwrap().len(), 7);
}
