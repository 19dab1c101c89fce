//! What is said about drift: pinned.

use roadstead_contracts::agent::Notice;
use roadstead_contracts::drift::{DriftCounts, DriftReport, DriftState, DriftedField, DriftedObject};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Reach, Role};
use roadstead_contracts::message::{ClusterDrift, Drifted, GetDrift, ReportDrift, Request};
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::operation::ObjectKey;
use serde_json::{Value, json};

use crate::given::{at, id, principal};

fn object() -> DriftedObject {
    DriftedObject {
        key: ObjectKey {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("shop".to_owned()),
            name: "web".to_owned(),
        },
        state: DriftState::Changed,
        operation_id: id(20),
        fields: vec![
            DriftedField { path: ".spec.replicas".to_owned(), manager: Some("kubectl-edit".to_owned()) },
            DriftedField { path: ".metadata.labels.tier".to_owned(), manager: None },
        ],
        more_fields: 1,
    }
}

fn report() -> DriftReport {
    let counts = DriftCounts { remembered: 9, drifted: 2, unseen: 1, left_out: 0 };
    let missing = DriftedObject { state: DriftState::Missing, fields: Vec::new(), more_fields: 0, ..object() };
    DriftReport { revision: 4, counts, objects: vec![object(), missing] }
}

fn row<R: Request>(request: &R, reply: &R::Reply) -> Value {
    let value = serde_json::to_value(request).unwrap();
    let decoded: R = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&decoded).unwrap(), value);
    json!({ "kind": R::KIND, "queue": R::QUEUE.requests, "request": value, "reply": serde_json::to_value(reply).unwrap() })
}

#[test]
fn every_word_about_drift_is_pinned() {
    let part = report().parts().remove(0);
    let notices = [Notice::Drift(part), Notice::DriftTaken { revision: 4 }];
    for notice in &notices {
        let json = serde_json::to_value(notice).unwrap();
        assert_eq!(&serde_json::from_value::<Notice>(json).unwrap(), notice);
    }
    let shown = ClusterDrift {
        cluster_id: id(2),
        cluster_name: ClusterName::parse("alpha").unwrap(),
        reported_at: Some(at("2026-01-01T00:00:00Z")),
        counts: report().counts,
        objects: vec![Drifted { object: object(), since: at("2026-01-01T00:00:00Z") }],
    };
    let rows = [
        row(&ReportDrift { cluster_id: id(2), agent_id: id(3), epoch: 5, report: report() }, &()),
        row(&GetDrift { principal: principal(&[Role::Operator], Reach::All), cluster: "alpha".to_owned() }, &shown),
    ];
    let fact = Fact::DriftChanged { cluster_id: id(2), drifted: 2 };
    assert_eq!(serde_json::to_value(&fact).unwrap()["type"], fact.routing_key());
    insta::assert_json_snapshot!("drift", json!({ "notices": notices, "messages": rows, "fact": fact }));
}
