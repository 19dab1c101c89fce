//! What the front door puts into the audit trail: intents before outcomes, refusals, and nothing when it cannot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roadstead_bus::{Bus, Router, ServeOptions};
use roadstead_contracts::Code;
use roadstead_contracts::audit::{AuditRecord, Ended, Phase};
use roadstead_contracts::message::{AuditRecorded, RecordAudit};
use roadstead_contracts::queue;
use serde_json::json;

use crate::rig::Rig;

/// Stands in for the chain, which may be away.
pub async fn serve_trail(bus: &Bus, trail: Arc<Mutex<Vec<AuditRecord>>>, away: Arc<AtomicBool>) {
    let router = Router::new(queue::AUDIT_RECORD).on(move |request: RecordAudit, _| {
        let (trail, away) = (Arc::clone(&trail), Arc::clone(&away));
        async move {
            if away.load(Ordering::SeqCst) {
                return Err(Code::Unavailable.into());
            }
            trail.lock().unwrap().extend(request.records);
            Ok(AuditRecorded { fresh: 1 })
        }
    });
    bus.serve(router, ServeOptions::default()).await.unwrap();
}

/// Records of an action once there are so many.
pub async fn records(rig: &Rig, action: &str, count: usize) -> Vec<AuditRecord> {
    for _ in 0..500 {
        let found: Vec<AuditRecord> =
            rig.trail.lock().unwrap().iter().filter(|record| record.action.as_str() == action).cloned().collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{action}: only {:#?}", rig.trail.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_announced_before_and_its_outcome_follows() {
    let rig = Rig::new().await;
    let made = rig.send("POST", "/api/v1/clusters", Some(&rig.operator.key), Some(json!({"name": "fresh"}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let found = records(&rig, "cluster.create", 2).await;
    let [intent, outcome] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((intent.phase, outcome.phase), (Phase::Intent, Phase::Outcome));
    assert_eq!(outcome.intent_id, Some(intent.id));
    assert_eq!(outcome.outcome.unwrap().result, Ended::Succeeded);
    assert_eq!(intent.actor.name.as_ref().unwrap().as_str(), rig.operator.principal.username);
    assert_eq!(intent.actor.credential.as_ref().unwrap().kind, "api_key");
    assert_eq!(intent.origin.source.unwrap().to_string(), "127.0.0.1");
    let id = made.headers["x-request-id"].to_str().unwrap();
    assert_eq!(outcome.origin.request_id.as_str(), id);
    assert!(rig.get("/api/v1/clusters", Some(&rig.operator.key)).await.status == 200);
    assert_eq!(records(&rig, "cluster.create", 2).await.len(), 2);
    assert!(rig.trail.lock().unwrap().iter().all(|record| !record.action.as_str().contains("ls")), "reads are no rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_recorded_with_the_reason() {
    let rig = Rig::new().await;
    assert_eq!(rig.send("DELETE", "/api/v1/clusters/alpha", Some(&rig.viewer.key), None).await.status, 403);
    assert_eq!(rig.send("DELETE", "/api/v1/clusters/alpha", Some("rsk_nonsense"), None).await.status, 401);
    let found = records(&rig, "cluster.delete", 2).await;
    let told: Vec<(Option<&str>, &str)> = found
        .iter()
        .map(|record| {
            let outcome = record.outcome.unwrap();
            assert_eq!((record.phase, outcome.result), (Phase::Outcome, Ended::Refused));
            assert_eq!(record.resource.name.as_ref().unwrap().as_str(), "alpha");
            (record.actor.name.as_ref().map(roadstead_contracts::audit::Text::as_str), outcome.code.unwrap().as_str())
        })
        .collect();
    let viewer = rig.viewer.principal.username.as_str();
    assert_eq!(told, [(Some(viewer), "forbidden"), (None, "invalid_credential")]);
    assert!(!format!("{found:?}").contains("rsk_nonsense"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_not_done() {
    let rig = Rig::env(&[("ROADSTEAD_AUDIT_SPOOL_DIR", "/proc/no-such-folder")]).await;
    let before = rig.get("/api/v1/clusters", Some(&rig.operator.key)).await.text;
    let refused = rig.send("POST", "/api/v1/clusters", Some(&rig.operator.key), Some(json!({"name": "fresh"}))).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text.contains("audit_unavailable"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(rig.get("/api/v1/clusters", Some(&rig.operator.key)).await.text, before, "nothing was done");
}

/// Row F15: a full spool refuses what changes something, at once and with a time to come back; reads go on, and it heals.
#[tokio::test(flavor = "multi_thread")]
async fn f15_a_full_spool_refuses_changes_until_there_is_room() {
    let rig = Rig::env(&[("ROADSTEAD_AUDIT_SPOOL_LIMIT", "8KiB")]).await;
    rig.trail_away.store(true, Ordering::SeqCst);
    let make = async |number: u32| {
        let body = json!({ "name": format!("spooled-{number}") });
        rig.send("POST", "/api/v1/clusters", Some(&rig.operator.key), Some(body)).await
    };
    let mut made = 0;
    let refused = loop {
        let answer = make(made).await;
        if answer.status != 201 {
            break answer;
        }
        made += 1;
        assert!(made < 100, "the spool is never full");
    };
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.text.contains("audit_unavailable"), "{}", refused.text);
    assert!(made > 0 && refused.headers.contains_key("retry-after"));
    let list = rig.get("/api/v1/clusters?limit=100", Some(&rig.operator.key)).await;
    assert_eq!(list.status, 200, "reads go on");
    assert_eq!(list.text.matches("\"spooled-").count(), made as usize, "nothing was done: {}", list.text);
    // Every outcome of what was announced has found its room; nothing of it was lost.
    rig.trail_away.store(false, Ordering::SeqCst);
    assert_eq!(records(&rig, "cluster.create", made as usize * 2).await.len(), made as usize * 2);
    assert_eq!(make(made).await.status, 201, "it heals");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_is_missing_and_can_asks_beforehand() {
    let rig = Rig::new().await;
    let refused = rig.send("DELETE", "/api/v1/clusters/alpha", Some(&rig.viewer.key), None).await;
    assert_eq!(refused.status, 403);
    let body: serde_json::Value = serde_json::from_str(&refused.text).unwrap();
    assert_eq!(body["error"], "Insufficient permissions", "the seed's words stay");
    assert_eq!(body["errors"][0]["loc"], json!(["permission", "clusters:delete"]));
    assert!(body["errors"][0]["msg"].as_str().unwrap().ends_with("ask an admin of this hub"), "{body}");

    let can = async |key: &str, query: &str| {
        let answer = rig.get(&format!("/api/v1/auth/can?{query}"), Some(key)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        serde_json::from_str::<serde_json::Value>(&answer.text).unwrap()
    };
    let no = can(&rig.viewer.key, "permission=clusters:delete").await;
    assert_eq!((&no["allowed"], &no["ask"]), (&json!(false), &json!("an admin of this hub")));
    let yes = can(&rig.operator.key, "permission=clusters:delete").await;
    assert_eq!((&yes["allowed"], &yes["reason"]), (&json!(true), &json!("the role operator grants clusters:delete")));
    let hidden = can(&rig.operator.key, "permission=clusters:read&cluster=no-such-cluster").await;
    assert_eq!(hidden["allowed"], false);
    assert_eq!(rig.get("/api/v1/auth/can?permission=odd", Some(&rig.viewer.key)).await.status, 400);
    assert_eq!(rig.get("/api/v1/auth/can?permission=clusters:read", None).await.status, 401);
}
