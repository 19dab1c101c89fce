//! The audit trail: what the service does is in it, secrets are not, and no change of it goes unseen (row L03).

use roadstead_auth::audit::{CheckpointKey, Fault, GENESIS, Report, Verifier};
use roadstead_auth::ed25519::{PrivateKey, PublicKey};
use roadstead_contracts::audit::{
    Actor, AuditCheckpoint, AuditRecord, AuditStart, ExportHead, ExportLine, Origin, Resource,
};
use roadstead_contracts::ids::{AuditId, TypedId};
use roadstead_contracts::message::RecordAudit;
use roadstead_user::domain::audit::AuditFilter;
use roadstead_user::store::Store;
use serde_json::{Value, json};

use crate::rig::{Rig, context, eventually, rig, rig_with};

fn record(number: u128, action: &str) -> AuditRecord {
    let id = AuditId::from_uuid(uuid::Uuid::from_u128(number));
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    let origin = Origin::request("r-1").from_address("192.0.2.7".parse().unwrap());
    AuditRecord::intent(id, at, origin, Actor::system("test"), action, Resource::named("thing", "t"))
}

/// The rows that the owner finds, newest first, once there are so many.
async fn rows(rig: &Rig, key: &str, query: &str, count: usize) -> Vec<Value> {
    let path = format!("/api/v1/audit?{query}");
    let enough =
        || async { rig.as_key(key, "GET", &path, None).await.body.as_array().is_some_and(|rows| rows.len() >= count) };
    eventually("the rows are chained", enough).await;
    rig.as_key(key, "GET", &path, None).await.body.as_array().unwrap().clone()
}

/// The whole trail, checked as `roadstead audit verify` does.
async fn verify(rig: &Rig, key: &str) -> Report {
    verify_with(rig, key, &[]).await
}

/// The same with checkpoints that somebody kept elsewhere.
async fn verify_with(rig: &Rig, key: &str, kept: &[AuditCheckpoint]) -> Report {
    let export = rig.as_key(key, "GET", "/api/v1/audit/export", None).await;
    assert_eq!(export.status, 200);
    // One line alone is read as JSON by the rig.
    let text = match export.body {
        Value::String(text) => text,
        head => head.to_string(),
    };
    let lines: Vec<ExportLine> = text.lines().map(|line| ExportLine::parse(line).unwrap()).collect();
    let Some(ExportLine::Head(ExportHead { key: public, after, .. })) = lines.first() else { panic!("no head") };
    let mut verifier = Verifier::new(after, Some(PublicKey::parse(public).unwrap()));
    // The checkpoints as they were shipped out: a tail that is cut in the database is in none of its exports.
    let shipped = rig.as_key(key, "GET", "/api/v1/audit/checkpoints", None).await.body;
    for checkpoint in shipped["checkpoints"].as_array().unwrap() {
        verifier.checkpoint(&serde_json::from_value(checkpoint.clone()).unwrap());
    }
    for checkpoint in kept {
        verifier.checkpoint(checkpoint);
    }
    for line in &lines {
        if let ExportLine::Row(row) = line {
            verifier.row(row);
        }
    }
    verifier.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_and_refused_is_in_the_trail_and_secrets_are_not() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    rig.account("ada").await;
    let refused = rig.login("ada", "canary-wrong-password").await;
    assert_eq!(refused.status, 401);
    let token = rig.login("ada", "password123").await.body["access_token"].as_str().unwrap().to_owned();
    let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    let secret = made.body["api_key"].as_str().unwrap().to_owned();
    assert_eq!(rig.as_bearer(&token, "DELETE", "/users/1", None).await.status, 403);
    assert_eq!(rig.as_bearer("nonsense", "POST", "/api-keys", Some(json!({}))).await.status, 401);

    let found = rows(&rig, key, "limit=1000", 12).await;
    let told: Vec<String> = found
        .iter()
        .rev()
        .map(|row| {
            let record = &row["record"];
            let outcome = &record["outcome"];
            format!(
                "{} {} {} {}",
                record["action"].as_str().unwrap(),
                record["phase"].as_str().unwrap(),
                outcome["result"].as_str().unwrap_or("-"),
                outcome["code"].as_str().unwrap_or("-"),
            )
        })
        .collect();
    for expected in [
        "user.create outcome succeeded -",
        "user.login intent - -",
        "user.login outcome refused invalid_login",
        "user.login outcome succeeded -",
        "api_key.create intent - -",
        "api_key.create outcome succeeded -",
        "user.delete outcome refused forbidden",
        "api_key.create outcome refused invalid_credential",
    ] {
        assert!(told.iter().any(|told| told == expected), "{expected} is not in {told:#?}");
    }
    let text = serde_json::to_string(&found).unwrap();
    for canary in ["canary-wrong-password", "password123", secret.as_str(), token.as_str()] {
        assert!(!text.contains(canary));
    }
    // Who, from where, with which credential.
    let made = found.iter().find(|row| row["record"]["action"] == "api_key.create").unwrap();
    let failed = found.iter().find(|row| row["record"]["actor"]["name"] == "ada").unwrap();
    assert_eq!(made["record"]["origin"]["source"], "127.0.0.1");
    assert_eq!(failed["record"]["actor"]["credential"]["kind"], "session");
    let login = |result: &str| {
        let is =
            |row: &&Value| row["record"]["action"] == "user.login" && row["record"]["outcome"]["result"] == *result;
        found.iter().find(is).unwrap()["record"].clone()
    };
    assert_eq!(login("succeeded")["actor"]["name"], "ada");
    assert_eq!(login("refused")["actor"]["kind"], "anonymous");
    assert_eq!(login("refused")["resource"]["name"], "ada");
    assert_eq!(verify(&rig, key).await.fault, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_read_by_who_may_and_searched() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let viewer = rig.account("ada").await;
    let token = viewer.body["access_token"].as_str().unwrap();
    for path in ["/api/v1/audit", "/api/v1/audit/export", "/api/v1/audit/checkpoints"] {
        assert_eq!(rig.get(token, path).await.status, 403, "{path}: *:read does not cover the trail");
    }
    let records =
        (0..7).map(|number| record(number, if number % 2 == 0 { "thing.do" } else { "thing.undo" })).collect();
    rig.bus.call(&RecordAudit { records }, &context()).await.unwrap();
    assert_eq!(rows(&rig, key, "action=thing.do", 4).await.len(), 4);
    assert_eq!(rows(&rig, key, "action=thing.*&source=192.0.2.7&resource=t&phase=intent", 7).await.len(), 7);
    assert_eq!(rows(&rig, key, "action=thing.*&since=2030-01-01T00:00:00Z", 0).await.len(), 0);
    let page = rig.as_key(key, "GET", "/api/v1/audit?action=thing.*&limit=3", None).await;
    let next = page.headers["link"].to_str().unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();
    let second = rig.as_key(key, "GET", &next, None).await;
    assert_eq!((page.body.as_array().unwrap().len(), second.body.as_array().unwrap().len()), (3, 3));
    assert_ne!(page.body[2]["seq"], second.body[0]["seq"]);
    for bad in ["odd=1", "since=yesterday", "cursor=-1", "limit=x"] {
        assert_eq!(rig.as_key(key, "GET", &format!("/api/v1/audit?{bad}"), None).await.status, 400, "{bad}");
    }
    let csv = rig.as_key(key, "GET", "/api/v1/audit/export?format=csv", None).await;
    assert!(csv.body.as_str().unwrap().starts_with("seq,at,"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_twice_is_chained_once() {
    let rig = rig().await;
    let request = RecordAudit { records: vec![record(1, "a.b"), record(2, "a.b"), record(1, "a.b")] };
    assert_eq!(rig.bus.call(&request, &context()).await.unwrap().fresh, 2);
    assert_eq!(rig.bus.call(&request, &context()).await.unwrap().fresh, 0);
}

/// Whether a fault is the one that a change of the database should be found by.
type Expected = fn(&Fault) -> bool;

/// Twelve rows, the last under a signed checkpoint.
async fn chained() -> (Rig, String) {
    let rig = rig_with(&[("ROADSTEAD_AUDIT_CHECKPOINT_ROWS", "4")]).await;
    let key = rig.owner().await.api_key.expose().to_owned();
    let records = (0..12).map(|number| record(number, "a.b")).collect();
    rig.bus.call(&RecordAudit { records }, &context()).await.unwrap();
    let signed = || async {
        let body = rig.as_key(&key, "GET", "/api/v1/audit/checkpoints", None).await.body;
        body["checkpoints"].as_array().is_some_and(|all| all.iter().any(|one| one["seq"].as_i64() >= Some(12)))
    };
    eventually("a checkpoint is signed", signed).await;
    (rig, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn l03_every_change_in_the_database_is_named() {
    let cases: [(&str, Expected); 5] = [
        ("UPDATE audit_chain SET record = replace(record, 'thing', 'thang') WHERE seq = 5", |fault| {
            *fault == Fault::Edited { row: 5 }
        }),
        ("DELETE FROM audit_chain WHERE seq = 6", |fault| *fault == Fault::Removed { row: 6 }),
        (
            "UPDATE audit_chain SET record = (SELECT o.record FROM audit_chain o WHERE o.seq = 15 - audit_chain.seq) \
             WHERE seq IN (7, 8)",
            |fault| *fault == Fault::Edited { row: 7 },
        ),
        ("DELETE FROM audit_chain WHERE seq > 9", |fault| matches!(fault, Fault::Cut { row: 10, .. })),
        ("DELETE FROM audit_chain", |fault| matches!(fault, Fault::Cut { row: 1, .. })),
    ];
    for (sql, expected) in cases {
        let (rig, key) = chained().await;
        assert_eq!(verify(&rig, &key).await.fault, None, "before: {sql}");
        let url = format!("sqlite:{}", rig.folder.path().join("user.db").display());
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        let fault = verify(&rig, &key).await.fault.unwrap_or_else(|| panic!("not seen: {sql}"));
        assert!(expected(&fault), "{sql}: {fault}");
        rig.stop().await;
    }
}

/// The number of the last row, once a checkpoint covers the one of this number.
async fn signed_to(rig: &Rig, key: &str, number: i64) -> i64 {
    let signed = || async {
        let body = rig.as_key(key, "GET", "/api/v1/audit/checkpoints", None).await.body;
        body["checkpoints"].as_array().is_some_and(|all| all.iter().any(|one| one["seq"].as_i64() >= Some(number)))
    };
    eventually("a checkpoint is signed", signed).await;
    verify(rig, key).await.range.unwrap().1
}

/// Row F28: a database that is put back to what it was some time ago. Who kept the checkpoints sees from which row on the trail is
/// another one, be it shorter or longer than the lost one.
#[tokio::test(flavor = "multi_thread")]
async fn f28_a_database_that_was_put_back_shows_its_gap() {
    let outside = tempfile::tempdir().unwrap();
    let (shipped, backup) = (outside.path().join("shipped.jsonl"), outside.path().join("backup.db"));
    let env =
        [("ROADSTEAD_AUDIT_CHECKPOINT_ROWS", "4"), ("ROADSTEAD_AUDIT_CHECKPOINT_FILE", shipped.to_str().unwrap())];
    let rig = rig_with(&env).await;
    let key = rig.owner().await.api_key.expose().to_owned();
    let happens = async |rig: &Rig, numbers: std::ops::Range<u128>| {
        let records = numbers.map(|number| record(number, "a.b")).collect();
        rig.bus.call(&RecordAudit { records }, &context()).await.unwrap();
    };
    happens(&rig, 0..12).await;
    signed_to(&rig, &key, 12).await;
    let file = rig.folder.path().join("user.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::query("VACUUM INTO $1").bind(backup.to_str()).execute(&pool).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT max(seq) FROM audit_chain").fetch_one(&pool).await.unwrap();
    pool.close().await;
    happens(&rig, 100..112).await;
    let lost = signed_to(&rig, &key, kept + 8).await;
    let folder = rig.stop().await;

    // Removed and not written over: a connection that still closes has the file that it had.
    for left in ["user.db", "user.db-wal", "user.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(left));
    }
    std::fs::copy(&backup, &file).unwrap();
    let shipped = std::fs::read_to_string(&shipped).unwrap();
    let shipped: Vec<AuditCheckpoint> = shipped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sealed = shipped.iter().map(|checkpoint| checkpoint.seq).filter(|seq| *seq <= kept).max().unwrap();
    let rig = crate::rig::start(folder, &env).await;
    assert_eq!(verify(&rig, &key).await.fault, None, "by itself it is a trail like any other");
    let fault = verify_with(&rig, &key, &shipped).await.fault.unwrap();
    assert!(matches!(fault, Fault::Cut { row, checkpoint } if row > kept && checkpoint > kept), "{fault}");
    // It goes on, beyond where it had been.
    for first in [200, 212, 224] {
        happens(&rig, first..first + 12).await;
    }
    assert!(signed_to(&rig, &key, lost + 4).await > lost);
    assert_eq!(verify(&rig, &key).await.fault, None);
    let fault = verify_with(&rig, &key, &shipped).await.fault.unwrap();
    assert!(matches!(fault, Fault::Rewritten { row, checkpoint } if row > sealed && checkpoint > kept), "{fault}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_leaves_a_chain_that_verifies() {
    let rig = rig_with(&[("ROADSTEAD_AUDIT_CHECKPOINT_ROWS", "1"), ("ROADSTEAD_AUDIT_RETENTION", "30d")]).await;
    let key = rig.owner().await.api_key.expose().to_owned();
    let old = (0..5).map(|number| record(number, "a.b")).collect();
    rig.bus.call(&RecordAudit { records: old }, &context()).await.unwrap();
    let signed = || async {
        let body = rig.as_key(&key, "GET", "/api/v1/audit/checkpoints", None).await.body;
        body["checkpoints"].as_array().is_some_and(|all| all.iter().any(|one| one["seq"].as_i64() >= Some(5)))
    };
    eventually("a checkpoint is signed", signed).await;
    assert_eq!(verify(&rig, &key).await.fault, None);
    rig.clock.advance(chrono::TimeDelta::days(400));
    let mut young = record(100, "a.c");
    young.at = rig.now();
    rig.bus.call(&RecordAudit { records: vec![young] }, &context()).await.unwrap();
    rig.service.prune_audit().await.unwrap();
    let report = verify(&rig, &key).await;
    assert_eq!(report.fault, None);
    assert!(report.range.is_some_and(|(first, _)| first > 5), "{report:?}");
    let pruned = rows(&rig, &key, "action=audit.prune", 1).await;
    assert_eq!(pruned[0]["record"]["actor"]["name"], "retention");
    let whole = Verifier::new(&AuditStart { seq: 0, hash: GENESIS.to_owned() }, None).finish();
    assert_eq!(whole.fault, None);
}

/// What the store promises, whichever database it is.
pub async fn on_a_store(store: &dyn Store) {
    let mut records: Vec<AuditRecord> = (0..6).map(|number| record(number, "thing.do")).collect();
    records[5].at = "2026-06-01T00:00:00Z".parse().unwrap();
    assert_eq!(store.append_audit(&records[..4]).await.unwrap(), 4);
    assert_eq!(store.append_audit(&records).await.unwrap(), 2, "what is chained is left out");
    let head = store.audit_head().await.unwrap();
    let rows = store.audit_after(0, 100).await.unwrap();
    assert_eq!((head.seq, rows.len(), &head.hash), (6, 6, &rows[5].hash));
    assert!(rows.windows(2).all(|pair| pair[0].hash == pair[1].prev));
    let mut verifier = Verifier::new(&head.start, None);
    for row in rows {
        verifier.row(&row.shown().unwrap());
    }
    assert_eq!(verifier.finish().fault, None);

    let found = |filter: AuditFilter| async move { store.search_audit(&filter, i64::MAX, 100).await.unwrap().len() };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(AuditFilter { action: text("thing.*"), actor: text("test"), ..AuditFilter::default() }).await, 6);
    assert_eq!(found(AuditFilter { action: text("thing"), ..AuditFilter::default() }).await, 0);
    assert_eq!(found(AuditFilter { outcome: text("refused"), ..AuditFilter::default() }).await, 0);
    let june = "2026-05-01T00:00:00Z".parse().ok();
    assert_eq!(found(AuditFilter { since: june, ..AuditFilter::default() }).await, 1);
    assert_eq!(found(AuditFilter { until: june, source: text("192.0.2.7"), ..AuditFilter::default() }).await, 5);

    let key = CheckpointKey::new(PrivateKey::generate().unwrap());
    for seq in [3, 6] {
        let row = store.audit_after(seq - 1, 1).await.unwrap().remove(0);
        let checkpoint = key.sign(seq, &row.hash, "2026-06-02T00:00:00Z".parse().unwrap()).unwrap();
        assert!(store.insert_checkpoint(&checkpoint).await.unwrap());
        assert!(!store.insert_checkpoint(&checkpoint).await.unwrap());
    }
    assert_eq!(store.last_checkpoint().await.unwrap().unwrap().seq, 6);
    let start = store.prune_audit(june.unwrap(), i64::MAX).await.unwrap().unwrap();
    assert_eq!(start.seq, 3);
    assert_eq!(
        store.prune_audit(june.unwrap(), i64::MAX).await.unwrap(),
        None,
        "a young row keeps its checkpoint's rows"
    );
    let rows = store.audit_after(0, 100).await.unwrap();
    assert_eq!((rows[0].seq, &rows[0].prev), (4, &start.hash));
    assert_eq!(store.checkpoints_after(0, 10).await.unwrap().len(), 2);
}

/// Row A07: a token that was turned in twice leaves the refusal, and which session it ended and whose.
#[tokio::test(flavor = "multi_thread")]
async fn a07_a_spent_refresh_token_is_in_the_trail() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let first = rig.account("ada").await;
    let turn_in = |token: String| rig.post("/api/v1/auth/refresh", json!({"refresh_token": token}));
    let second = turn_in(first.text("refresh_token")).await;
    assert_eq!(turn_in(second.text("refresh_token")).await.status, 200);
    assert_eq!(turn_in(first.text("refresh_token")).await.code(), "token_reuse");
    let refused = rows(&rig, key, "action=session.refresh&outcome=refused", 1).await;
    assert_eq!(refused[0]["record"]["outcome"]["code"], "token_reuse", "{refused:?}");
    let ended = rows(&rig, key, "action=session.end", 1).await;
    assert_eq!(ended[0]["record"]["detail"]["reason"], "token_reuse", "{ended:?}");
    assert!(ended[0]["record"]["resource"]["name"].as_str().is_some_and(|id| !id.is_empty()), "{ended:?}");
    let all = rows(&rig, key, "limit=1000", 2).await;
    assert!(!Value::from(all).to_string().contains(&first.text("refresh_token")[37..]));
    rig.stop().await;
}
