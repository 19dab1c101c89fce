//! Messages about operations, and what hub and agent say while one runs: pinned.

use std::collections::BTreeMap;

use roadstead_contracts::identity::{Principal, Reach, Role};
use roadstead_contracts::message::*;
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::operation::*;
use roadstead_contracts::seed::changes;
use roadstead_contracts::{Code, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::given::{at, id};

fn principal() -> Principal {
    crate::given::principal(&[Role::Operator], Reach::All)
}

fn work() -> Work {
    Work::Apply {
        namespace: Some("shop".to_owned()),
        dry_run: false,
        prune: None,
        inventory: Some("shop".to_owned()),
        force_conflicts: false,
        wait: true,
    }
}

fn key() -> ObjectKey {
    ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some("shop".to_owned()),
        name: "web".to_owned(),
    }
}

fn name() -> ClusterName {
    ClusterName::parse("alpha").unwrap()
}

fn operation() -> Operation {
    Operation {
        id: id(20),
        seq: 4,
        cluster_id: id(2),
        cluster_name: name(),
        kind: OperationKind::Apply,
        state: OperationState::Running,
        reason: String::new(),
        work: work(),
        source: "cli".to_owned(),
        description: "first".to_owned(),
        created_by: id(1),
        created_by_name: "ada".to_owned(),
        epoch: 1,
        priority: 5,
        objects: 3,
        counts: Counts { created: 1, ..Counts::default() },
        error: None,
        exit_code: None,
        rollout_id: None,
        origin_id: None,
        undoable: true,
        last_step: 4,
        deadline: at("2026-01-01T01:00:00Z"),
        started_at: Some(at("2026-01-01T00:00:01Z")),
        finished_at: None,
        created_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-01-01T00:00:02Z"),
    }
}

fn rollout() -> Rollout {
    let patch = RolloutOverride {
        labels: Labels(BTreeMap::from([("env".to_owned(), "prod".to_owned())])),
        cluster: None,
        object: key(),
        patch: json!({"spec": {"replicas": 3}}),
    };
    Rollout {
        id: id(21),
        name: "fleet".to_owned(),
        state: RolloutState::Running,
        reason: "wave 1 of 2".to_owned(),
        work: work(),
        plan: RolloutPlan {
            waves: vec![10, 90],
            failure_budget: 1,
            bake_seconds: 60,
            at_once: 5,
            needs_approval: true,
            overrides: vec![patch],
            window: Some(MaintenanceWindow {
                days: vec!["sat".to_owned()],
                from: "22:00".to_owned(),
                to: "02:00".to_owned(),
            }),
            cluster_deadline_seconds: Some(600),
        },
        created_by: id(1),
        created_by_name: "ada".to_owned(),
        approved_by: Some(id(9)),
        waves: vec![RolloutWave {
            number: 1,
            clusters: vec![RolloutCluster {
                cluster_id: id(2),
                cluster_name: name(),
                operation_id: Some(id(20)),
                state: Some(OperationState::Queued),
            }],
            bakes_until: None,
        }],
        created_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-01-01T00:00:02Z"),
        finished_at: None,
    }
}

fn row<R: Request>(request: &R, reply: &R::Reply) -> (String, Value) {
    let value = serde_json::to_value(request).unwrap();
    let decoded: R = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&decoded).unwrap(), value);
    let body = json!({ "queue": R::QUEUE.requests, "request": value, "reply": serde_json::to_value(reply).unwrap() });
    (R::KIND.to_owned(), body)
}

#[test]
fn every_message_is_pinned() {
    let who = principal();
    let page = PageRequest { limit: 100, offset: 0, cursor: None };
    let steps = [
        StepKind::State { state: OperationState::Running, reason: String::new() },
        StepKind::Object {
            position: 0,
            source: "a.yaml#1".to_owned(),
            key: key(),
            outcome: ObjectOutcome::Created,
            error: None,
            diff: None,
        },
        StepKind::Waiting { left: 2, on: "web: 1 of 2 ready".to_owned() },
        StepKind::Output { text: "hello".to_owned(), stderr: true },
        StepKind::Parked { epoch: 1, what: "ended as succeeded".to_owned() },
    ];
    let steps =
        (1..).zip(steps).map(|(number, what)| OperationStep { number, at: at("2026-01-01T00:00:00Z"), what }).collect();
    let rows: BTreeMap<String, Value> = [
        row(
            &CreateOperation {
                principal: who.clone(),
                cluster_id: id(2),
                cluster_name: name(),
                work: work(),
                body_sha256: Some("ab".repeat(32)),
                source: "cli".to_owned(),
                description: "first".to_owned(),
                idempotency_key: Some("k".to_owned()),
                deadline_seconds: Some(60),
                priority: Some(9),
                webhook_url: None,
                webhook_sha256: Some("ef".repeat(32)),
            },
            &operation(),
        ),
        row(
            &CancelOperation { principal: who.clone(), id: id(20), reason: "no".to_owned() },
            &(Cancellation::Cancelling, operation()),
        ),
        row(&GetOperation { principal: who.clone(), id: id(20) }, &operation()),
        row(
            &ListOperations {
                principal: who.clone(),
                cluster_id: Some(id(2)),
                states: vec![OperationState::TimedOut],
                kind: Some(OperationKind::Exec),
                rollout_id: Some(id(21)),
                page: page.clone(),
            },
            &Page { items: vec![operation()], total: 1, next_cursor: None },
        ),
        row(
            &ListOperationSteps { principal: who.clone(), id: id(20), after: 3, limit: 100 },
            &OperationSteps { operation: operation(), steps },
        ),
        row(&GetRollout { principal: who.clone(), id: id(21) }, &rollout()),
        row(
            &ListRollouts { principal: who.clone(), page },
            &Page { items: vec![rollout()], total: 1, next_cursor: None },
        ),
        row(&LocateBodyStage {}, &BodyStagePlace { address: "10.0.0.7:8011".to_owned() }),
        row(
            &RetryOperation { principal: who.clone(), id: id(20), all: true, sync: false, idempotency_key: None },
            &operation(),
        ),
        row(&UndoOperation { principal: who.clone(), id: id(20), force: true, idempotency_key: None }, &operation()),
        row(&DeleteOperation { principal: who.clone(), id: id(20) }, &()),
        row(
            &CreateRollout {
                principal: who.clone(),
                name: "fleet".to_owned(),
                targets: vec![RolloutTarget { cluster_id: id(2), cluster_name: name(), labels: Labels::default() }],
                work: work(),
                body_sha256: None,
                plan: rollout().plan,
                confirmed: true,
                idempotency_key: None,
                clusters_asked: None,
            },
            &RolloutCreated::WouldTouch { clusters: 1, objects: 3, destructive: false },
        ),
        row(&ChangeRollout { principal: who, id: id(21), command: RolloutCommand::RetryFailed }, &rollout()),
        row(
            &SignOperation {
                user_id: id(1),
                operation_id: id(20),
                epoch: 1,
                cluster_id: id(2),
                owner: true,
                scope: None,
                digest: "cd".repeat(32),
                lifetime_seconds: 900,
                cluster: None,
                changes: Vec::new(),
            },
            &SignedOperation { order: "order".to_owned(), assertion: "identity".to_owned() },
        ),
    ]
    .into_iter()
    .collect();
    insta::assert_json_snapshot!("operations", rows);
}

fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> Value {
    let json = serde_json::to_value(value).unwrap();
    assert_eq!(&serde_json::from_value::<T>(json.clone()).unwrap(), value);
    json
}

#[test]
fn a_run_is_pinned() {
    let run = RunOperation {
        operation_id: id(20),
        cluster_id: id(2),
        epoch: 1,
        work: work(),
        body_length: 5,
        body_sha256: "ab".repeat(32),
        deadline_seconds: 60,
        only: Some(vec![1, 4]),
        order: "order".to_owned(),
        stored: 2,
        begun: true,
        sent: false,
    };
    let events = [
        RunEvent::Accepted { objects: 3, finished: 1 },
        RunEvent::Object(Box::new(ObjectResult {
            position: 0,
            source: "a.yaml#1".to_owned(),
            key: key(),
            outcome: ObjectOutcome::Failed,
            error: Some(Error::of(Code::Conflict)),
            diff: Some("-a\n+b\n".to_owned()),
            before: Some(json!({"a": 1})),
            undoable: true,
            left_version: Some("12".to_owned()),
        })),
        RunEvent::Waiting { left: 1, on: "web".to_owned() },
        RunEvent::Output { text: "x".to_owned(), stderr: false },
        RunEvent::Alive {},
        RunEvent::Done(Box::new(RunEnding {
            ending: Ending::FinishedFirst,
            counts: Counts::default(),
            error: None,
            exit_code: Some(3),
        })),
    ];
    let restore = Restore { key: key(), before: None, left_version: Some("12".to_owned()) };
    let claims = OperationClaims {
        sub: "ada".to_owned(),
        uid: "u".to_owned(),
        roles: vec!["operator".to_owned()],
        aud: "c".to_owned(),
        operation: "o".to_owned(),
        epoch: 1,
        digest: "cd".repeat(32),
        iat: 1,
        exp: 2,
    };
    insta::assert_json_snapshot!(
        "run",
        json!({
            "run": same(&run),
            "events": events.iter().map(same).collect::<Vec<_>>(),
            "cancel": same(&CancelRun { operation_id: id(20), epoch: 1 }),
            "cancelled": [CancelledRun::Stopping, CancelledRun::Ended, CancelledRun::Unknown],
            "settle": same(&SettleRun { operation_id: id(20), epoch: 1 }),
            "restore": same(&restore),
            "claims": same(&claims),
        })
    );
}

#[test]
fn bodies_of_peers_are_pinned() {
    let least: changes::ManifestRequest =
        serde_json::from_value(json!({"request_id": "r", "manifests": "kind: A"})).unwrap();
    assert!(least.cluster_id.is_none() && !least.dry_run);
    let refused = changes::ManifestResult {
        request_id: "r".to_owned(),
        operation_id: None,
        status: None,
        message: None,
        error: Some("Cluster not found".to_owned()),
    };
    assert_eq!(same(&refused), json!({"request_id": "r", "error": "Cluster not found"}));
    let cancelled = changes::CancellationResult {
        request_id: "r".to_owned(),
        operation_id: Some("o".to_owned()),
        status: Some("cancelled".to_owned()),
        message: Some("Operation cancelled successfully".to_owned()),
        error: None,
    };
    assert_eq!(
        same(&cancelled),
        json!({
            "request_id": "r", "operation_id": "o", "status": "cancelled",
            "message": "Operation cancelled successfully", "error": null,
        })
    );
}
