//! Manifests, operations and rollouts at the front door: seed 000's shapes, and ours.

use std::time::Duration;

use roadstead_contracts::message::StepKind;
use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, OperationState, Work};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::rig::{Answer, Rig};

pub const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shop\ndata:\n  a: \"1\"\n";
/// Nothing here takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn send(rig: &Rig, query: &str, kind: &str, body: impl Into<String>) -> Answer {
    send_with(rig, query, &[("content-type", kind)], body).await
}

async fn send_with(rig: &Rig, query: &str, headers: &[(&str, &str)], body: impl Into<String>) -> Answer {
    let mut request = rig.http.post(rig.url(&format!("/api/v1/clusters/prod/manifests{query}")));
    request = request.header("x-api-key", &rig.operator.key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.body(body.into()).send().await.unwrap()).await
}

fn form(files: &[(&str, &str)]) -> String {
    let part = |(name, text): &(&str, &str)| {
        format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"manifests\"; filename=\"{name}\"\r\n\r\n{text}\r\n"
        )
    };
    files.iter().map(part).collect::<String>() + "--b0undary--\r\n"
}

pub fn object(name: &str, outcome: ObjectOutcome, diff: Option<&str>) -> StepKind {
    StepKind::Object {
        position: 0,
        source: "manifests#1".to_owned(),
        key: ObjectKey {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("default".to_owned()),
            name: name.to_owned(),
        },
        outcome,
        error: None,
        diff: diff.map(str::to_owned),
    }
}

pub fn state(state: OperationState) -> StepKind {
    StepKind::State { state, reason: String::new() }
}

#[tokio::test]
async fn manifests_in_every_way_of_the_seeds() {
    let rig = Rig::new().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let json_text = json!({ "manifests": [MANIFEST], "namespace": "web" }).to_string();
    let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"shop"}}"#;
    for (kind, body) in [
        ("multipart/form-data; boundary=b0undary", form(&[("../../a.yaml", MANIFEST)])),
        // Seed 000's Python client.
        ("application/json", form(&[("manifests", MANIFEST)])),
        ("application/yaml", MANIFEST.to_owned()),
        ("text/yaml", MANIFEST.to_owned()),
        ("application/json", json_text),
        ("application/json", json!({ "manifests": MANIFEST }).to_string()),
        ("application/json", object.to_owned()),
    ] {
        let answer = send(&rig, "", kind, body).await;
        assert_eq!(answer.status, 202, "{kind}: {answer:?}");
        let made = rig.operations.last();
        assert_eq!(answer.header("location"), format!("/api/v1/operations/{}", made.id));
        let body = answer.json();
        // The golden members of the seed come first.
        assert!(
            answer.text.starts_with(&format!(
                "{{\"operation_id\":\"{}\",\"status\":\"queued\",\"message\":\"Manifests queued for application\"",
                made.id
            )),
            "{}",
            answer.text
        );
        assert_eq!((&body["documents"], &body["cluster_name"]), (&json!(1), &json!("prod")));
    }
    let asked = rig.operations.asked.lock().unwrap();
    assert!(asked.iter().all(|asked| asked.cluster_id == cluster.id && asked.source == "http_api"));
    assert!(matches!(&asked[4].work, Work::Apply { namespace: Some(name), .. } if name == "web"));
    // The texts went past the bus.
    let bodies = rig.operations.bodies.lock().unwrap();
    let first = String::from_utf8(bodies[0].to_vec()).unwrap();
    assert!(first.contains("a.yaml") && first.contains(MANIFEST) && !first.contains(".."), "{first}");
    assert!(!rig.world.bodies.lock().unwrap().contains("ConfigMap"));
}

#[tokio::test]
async fn what_is_wrong_with_manifests_is_told_at_the_door() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let never = form(&[("a", MANIFEST)]).replace("--b0undary--", "");
    let many = form(&[("a", MANIFEST); 300]);
    let kind = "multipart/form-data; boundary=b0undary";
    for (body, detail) in [
        (never.as_str(), "Failed to parse multipart form"),
        (many.as_str(), "Failed to parse multipart form"),
        (&form(&[]), "No manifests file provided"),
        (&form(&[("a", "")]), "No manifests file provided"),
    ] {
        let answer = send(&rig, "", kind, body).await;
        assert_eq!((answer.status, answer.detail().as_str()), (400, detail));
    }
    let two = form(&[("a.yaml", MANIFEST), ("b.yaml", "apiVersion: v1\nkind: Secret\n---\nkind: [")]);
    let answer = send(&rig, "", kind, two).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "validation_failed"), "{answer:?}");
    let place = answer.json()["errors"][0]["loc"].to_string();
    assert!(place.contains("b.yaml") && place.contains("document 2"), "{answer:?}");
    for (query, field) in [
        ("?dry_run=client", "dry_run"),
        ("?namespace=A", "namespace"),
        ("?prune=true", "inventory"),
        ("?deadline_seconds=0", "deadline_seconds"),
        ("?priority=10", "priority"),
        ("?wait=maybe", "wait"),
    ] {
        let answer = send(&rig, query, "application/yaml", MANIFEST).await;
        assert_eq!((answer.status, &answer.json()["errors"][0]["loc"][1]), (400, &json!(field)), "{query}");
    }
    for (kind, body, status) in [
        ("text/plain", MANIFEST, 415),
        ("application/yaml", "", 400),
        ("application/yaml", "# nothing\n", 400),
        ("application/json", "{", 400),
        ("application/json", "{}", 400),
        ("application/json", "[]", 400),
    ] {
        assert_eq!(send(&rig, "", kind, body).await.status, status, "{kind} {body}");
    }
    // Row Y04: the limit of this route is another than that of all others.
    let long = format!("{MANIFEST}  b: \"{}\"\n", "x".repeat(2 * 1024 * 1024));
    assert_eq!(send(&rig, "", "application/yaml", long).await.status, 202);
    let longer = format!("{MANIFEST}  b: \"{}\"\n", "x".repeat(8 * 1024 * 1024 + 1));
    assert_eq!(send(&rig, "", "application/yaml", longer).await.status, 413);
    assert_eq!(rig.operations.rows.lock().unwrap().len(), 1);
    let missing = rig.send(
        "POST",
        "/api/v1/clusters/none/operations",
        Some(&rig.operator.key),
        Some(json!({
            "kind": "delete", "manifests": MANIFEST
        })),
    );
    let missing = missing.await;
    assert_eq!((missing.status, missing.detail().as_str()), (404, "Cluster not found"));
}

/// Rows Y01, Y02: a file's name is a word for its errors and nothing else; parts without end are refused at once.
#[tokio::test]
async fn y01_y02_names_of_files_lead_nowhere_and_parts_are_bounded() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let kind = "multipart/form-data; boundary=b0undary";
    for (name, status) in [("../../etc/passwd", 202), ("..\\..\\boot.ini", 202), ("a\0b.yaml", 202), ("/dev/full", 202)]
    {
        let good = send(&rig, "", kind, form(&[(name, MANIFEST)])).await;
        assert_eq!(good.status, status, "{name:?}: {good:?}");
        // Told back as it was given, and short.
        let bad = send(&rig, "", kind, form(&[(name, "kind: [")])).await;
        assert_eq!((bad.status, bad.code().as_str()), (400, "validation_failed"), "{name:?}: {bad:?}");
    }
    let long = send(&rig, "", kind, form(&[("n".repeat(4096).as_str(), "kind: [")])).await;
    assert_eq!(long.status, 400, "{long:?}");
    assert!(long.text.len() < 2_048, "a name of 4 KiB is repeated: {}", long.text.len());
    let began = std::time::Instant::now();
    let parts = send(&rig, "", kind, form(&vec![("a", "kind: A"); 10_000])).await;
    assert_eq!((parts.status, parts.detail().as_str()), (400, "Failed to parse multipart form"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(rig.operations.rows.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn one_key_is_one_operation() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let headers = [("content-type", "application/yaml"), ("idempotency-key", "deploy-7")];
    let first = send_with(&rig, "", &headers, MANIFEST).await.json();
    assert_eq!(send_with(&rig, "", &headers, MANIFEST).await.json()["operation_id"], first["operation_id"]);
    let other = send_with(&rig, "?namespace=web", &headers, MANIFEST).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_mismatch"));
    let long = "k".repeat(129);
    let bad = send_with(&rig, "", &[("content-type", "application/yaml"), ("idempotency-key", &long)], MANIFEST).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn operations_in_the_seeds_shape() {
    let rig = Rig::new().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let key = Some(rig.operator.key.as_str());
    let id = send(&rig, "", "application/yaml", MANIFEST).await.json()["operation_id"].as_str().unwrap().to_owned();
    let one = rig.get(&format!("/api/v1/operations/{id}"), key).await;
    let body = one.json();
    let golden = json!({
        "id": id, "cluster_id": cluster.id.to_string(), "type": "apply", "status": "queued",
        "payload": {
            "namespace": null, "dry_run": false, "prune": null, "inventory": null, "force_conflicts": false, "wait": false,
            "source": "http_api",
        },
        "started_at": null, "finished_at": null, "created_at": "2024-01-01T12:00:00Z", "updated_at": "2024-01-01T12:00:00Z",
    });
    let golden = golden.to_string();
    assert!(one.text.starts_with(golden.trim_end_matches('}')), "{}\n{golden}", one.text);
    assert_eq!(
        (&body["state"], &body["cluster_name"], &body["created_by"]),
        (&json!("queued"), &json!("prod"), &json!("olga"))
    );

    let all = rig.get("/api/v1/operations?status=queued,running&kind=apply&cluster=prod&limit=1", key).await;
    assert_eq!((all.json().as_array().unwrap().len(), all.header("x-total-count")), (1, "1"));
    assert_eq!(rig.get("/api/v1/operations?state=succeeded", key).await.json(), json!([]));
    assert_eq!(rig.get("/api/v1/operations?status=success", key).await.json(), json!([]));
    for bad in ["status=odd", "state=queueed", "kind=chart", "rollout=7", "limit=0", "limit=1001", "cursor=1&offset=1"]
    {
        assert_eq!(rig.get(&format!("/api/v1/operations?{bad}"), key).await.status, 400, "{bad}");
    }
    assert_eq!(rig.get("/api/v1/operations?cluster=none", key).await.status, 404);
    for reference in ["prod", "123", &cluster.id.to_string()] {
        let list = rig.get(&format!("/api/v1/operations/cluster/{reference}?status=queued&limit=5"), key).await;
        let list = list.json();
        assert_eq!(
            (&list["total_count"], &list["cluster_id"], &list["limit"], &list["offset"]),
            (&json!(1), &json!(cluster.id.to_string()), &json!(5), &json!(0))
        );
        assert_eq!(list["operations"][0]["id"], json!(id));
    }
    // A next page keeps what was asked for.
    send(&rig, "", "application/yaml", MANIFEST).await;
    let page = rig.get("/api/v1/operations?status=queued&limit=1", key).await;
    assert!(page.header("link").contains("status=queued") && page.header("link").contains("limit=1&cursor="));

    for odd in ["1", "x", "0198c5b0-0000-7000-8000-00000000ffff", "%7B%7D"] {
        let answer = rig.get(&format!("/api/v1/operations/{odd}"), key).await;
        assert_eq!((answer.status, answer.detail().as_str()), (404, "Operation not found"), "{odd}");
    }
}

/// What has drifted, by any name of the cluster; nobody else's.
#[tokio::test]
async fn drift_is_shown() {
    let rig = Rig::new().await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let key = Some(rig.operator.key.as_str());
    send(&rig, "", "application/yaml", MANIFEST).await;
    for reference in ["prod", "123", &cluster.id.to_string()] {
        let drift = rig.get(&format!("/api/v1/clusters/{reference}/drift"), key).await;
        assert_eq!(drift.status, 200, "{drift:?}");
        let drift = drift.json();
        assert_eq!(
            (&drift["cluster_name"], &drift["drifted"], &drift["remembered"]),
            (&json!("prod"), &json!(1), &json!(3))
        );
        let object = &drift["objects"][0];
        assert_eq!((&object["key"]["name"], &object["state"]), (&json!("shop"), &json!("changed")));
        assert_eq!(object["fields"], json!([{ "path": ".data.a", "manager": "kubectl-edit" }]));
    }
    assert_eq!(rig.get("/api/v1/clusters/none/drift", key).await.status, 404);
    let id = rig.operations.last().id;
    let synced = rig.send("POST", &format!("/api/v1/operations/{id}/retry"), key, Some(json!({ "sync": true }))).await;
    assert_eq!(synced.status, 202, "{synced:?}");
}

/// Row R13, and the seed's answer to a cancellation without a body.
#[tokio::test]
async fn cancels_are_honest() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let key = Some(rig.operator.key.as_str());
    let id = send(&rig, "", "application/yaml", MANIFEST).await.json()["operation_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/operations/{id}/cancel");
    let cancelled = rig.send("POST", &path, key, None).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert!(cancelled.text.starts_with(&format!(
        "{{\"id\":\"{id}\",\"status\":\"cancelled\",\"message\":\"Operation cancelled successfully\""
    )));
    let again = rig.send("POST", &path, key, Some(json!({ "reason": "twice" }))).await;
    assert_eq!((again.status, again.code().as_str()), (409, "operation_terminal"));
    assert_eq!(again.detail(), "operation cannot be cancelled, current status: cancelled");

    send(&rig, "", "application/yaml", MANIFEST).await;
    let running = rig.operations.last().id;
    rig.operations.step(running, state(OperationState::Running)).await;
    let path = format!("/api/v1/operations/{running}/cancel");
    for bad in [json!({ "reason": "x".repeat(501) }), json!({ "reason": 7 }), json!({ "why": "x" })] {
        assert_eq!(rig.send("POST", &path, key, Some(bad)).await.status, 400);
    }
    let asked = rig.send("POST", &path, key, Some(json!({ "reason": "wrong image" }))).await;
    assert_eq!(
        (asked.status, &asked.json()["status"], &asked.json()["state"]),
        (202, &json!("cancelling"), &json!("cancelling"))
    );
    assert_eq!(rig.operations.last().reason, "wrong image");

    for (tail, status) in [("retry", 202), ("undo", 202)] {
        let made = rig.send("POST", &format!("/api/v1/operations/{id}/{tail}"), key, None).await;
        assert_eq!(made.status, status, "{tail}");
        assert_ne!(made.json()["operation_id"], json!(id));
    }
    assert_eq!(rig.send("DELETE", &format!("/api/v1/operations/{running}"), key, None).await.status, 409);
    assert_eq!(rig.send("DELETE", &format!("/api/v1/operations/{id}"), key, None).await.status, 204);
    assert_eq!(rig.get(&format!("/api/v1/operations/{id}"), key).await.status, 404);
}

#[tokio::test]
async fn a_dry_run_is_waited_for() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let agent = async {
        let id = timeout(PATIENCE, async {
            loop {
                let made = rig.operations.rows.lock().unwrap().last().map(|(operation, _)| operation.id);
                match made {
                    Some(id) => break id,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        let id = id.await.unwrap();
        rig.operations.step(id, state(OperationState::Running)).await;
        rig.operations.step(id, object("shop", ObjectOutcome::Configured, Some("-a\n+b\n"))).await;
        rig.operations.step(id, state(OperationState::Succeeded)).await;
    };
    let (answer, ()) = tokio::join!(send(&rig, "?dry_run=server", "application/yaml", MANIFEST), agent);
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["state"], &body["dry_run"]),
        (200, &json!("succeeded"), &json!(true)),
        "{answer:?}"
    );
    assert_eq!(body["objects"][0]["diff"], "-a\n+b\n");
    assert_eq!(body["objects"][0]["key"]["name"], "shop");
    let headers = [("content-type", "application/yaml"), ("prefer", "respond-async")];
    assert_eq!(send_with(&rig, "?dry_run=true", &headers, MANIFEST).await.status, 202);
}

#[tokio::test]
async fn rollouts_are_made_of_what_the_caller_sees() {
    let rig = Rig::new().await;
    for name in ["b", "a", "c"] {
        rig.world.add_cluster(name, rig.operator.principal.user_id);
    }
    rig.world.add_cluster("hidden", rig.other.principal.user_id);
    for (cluster, _) in rig.world.clusters.lock().unwrap().iter_mut() {
        cluster.labels.0.insert("env".to_owned(), "prod".to_owned());
    }
    let key = Some(rig.operator.key.as_str());
    let post = async |body: Value| rig.send("POST", "/api/v1/rollouts", key, Some(body)).await;
    let mut body = json!({
        "name": "shop", "selector": "env=prod", "kind": "apply", "manifests": MANIFEST,
        "plan": { "waves": [10, 90], "failure_budget": 1, "bake_seconds": 5 },
    });
    let asked = post(body.clone()).await;
    let answer = asked.json();
    assert_eq!((asked.status, &answer["confirmed"], &answer["clusters"]), (200, &json!(false), &json!(3)), "{asked:?}");
    assert_eq!(answer["cluster_names"], json!(["a", "b", "c"]));
    body["confirmed"] = json!(true);
    let made = post(body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/api/v1/rollouts/{id}"));
    assert_eq!(
        made.json()["clusters"],
        json!({ "total": 3, "succeeded": 0, "failed": 0, "running": 0, "untouched": 3 })
    );
    assert_eq!(made.json()["plan"]["waves"], json!([10, 90]));
    assert_eq!(rig.get("/api/v1/rollouts", key).await.json()[0]["id"], json!(id));
    for (command, state) in [
        ("approve", "running"),
        ("halt", "halted"),
        ("resume", "running"),
        ("retry", "running"),
        ("cancel", "cancelled"),
    ] {
        let answer = rig.send("POST", &format!("/api/v1/rollouts/{id}/{command}"), key, None).await;
        assert_eq!((answer.status, &answer.json()["state"]), (200, &json!(state)), "{command}");
    }
    body["selector"] = Value::Null;
    body["clusters"] = json!(["c", "a", "c"]);
    let named = post(body.clone()).await;
    assert_eq!(named.json()["waves"][0]["clusters"][0]["cluster_name"], "c");
    assert_eq!(named.json()["clusters"]["total"], 2);
    let secret = json!({
        "cluster": "a", "object": { "api_version": "v1", "kind": "Secret", "name": "s" }, "patch": { "data": {} },
    });
    for (field, value, status) in [
        ("clusters", json!(["hidden"]), 404),
        ("clusters", json!(["none"]), 404),
        ("clusters", json!([]), 400),
        ("selector", json!("env"), 400),
        ("plan", json!({ "wave": [1] }), 400),
        ("plan", json!({ "overrides": [secret] }), 400),
        ("kind", json!("helm"), 400),
        ("name", json!("a\nb"), 400),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value.clone();
        assert_eq!(post(wrong).await.status, status, "{field} {value}");
    }
    assert_eq!(rig.get("/api/v1/rollouts/x", key).await.status, 404);
    assert_eq!(rig.get(&format!("/api/v1/rollouts/{id}"), Some(&rig.other.key)).await.status, 404);
}
