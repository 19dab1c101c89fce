//! Reports of drift on their way from an agent to the operations service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use roadstead_bus::{Router, ServeOptions};
use roadstead_contracts::Code;
use roadstead_contracts::agent::Notice;
use roadstead_contracts::drift::{DriftCounts, DriftPart, DriftReport, DriftState, DriftedField, DriftedObject};
use roadstead_contracts::message::ReportDrift;
use roadstead_contracts::operation::ObjectKey;
use roadstead_contracts::queue::OPERATION_CHANGE;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::agent::{Agent, connected};
use crate::rig::Rig;

const PATIENCE: Duration = Duration::from_secs(20);

fn report(revision: u64, objects: usize) -> DriftReport {
    let object = |number: usize| DriftedObject {
        key: ObjectKey {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("shop".to_owned()),
            name: format!("c-{number:03}"),
        },
        state: DriftState::Changed,
        operation_id: "0198c5b0-0000-7000-8000-000000000001".parse().unwrap(),
        fields: vec![DriftedField { path: "x".repeat(200), manager: Some("kubectl-edit".to_owned()) }],
        more_fields: 0,
    };
    let counts = DriftCounts { drifted: u32::try_from(objects).unwrap(), ..DriftCounts::default() };
    DriftReport { revision, counts, objects: (0..objects).map(object).collect() }
}

fn send(agent: &Agent, parts: impl IntoIterator<Item = DriftPart>) {
    for part in parts {
        agent.session.notify(Bytes::from(serde_json::to_vec(&Notice::Drift(part)).unwrap())).unwrap();
    }
}

async fn taken(agent: &mut Agent, revision: u64) {
    let wanted = |notice: &Notice| *notice == Notice::DriftTaken { revision };
    assert!(timeout(PATIENCE, agent.notice(wanted)).await.unwrap(), "{revision} was not taken");
}

#[tokio::test]
async fn a_report_is_passed_on_whole_and_taken() {
    let rig = Rig::new().await;
    let (give, mut heard) = mpsc::unbounded_channel();
    let away = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&away);
    let router = Router::new(OPERATION_CHANGE).on(move |request: ReportDrift, _| {
        let refused = refuses.load(Ordering::Relaxed);
        give.send(request).unwrap();
        std::future::ready(if refused { Err(Code::StorageUnavailable.into()) } else { Ok(()) })
    });
    rig.bus.serve(router, ServeOptions::default()).await.unwrap();
    let (joined, mut agent) = connected(&rig, "prod").await;

    let whole = report(1, 150);
    let parts = whole.clone().parts();
    assert!(parts.len() > 1);
    send(&agent, parts);
    taken(&mut agent, 1).await;
    let passed = heard.recv().await.unwrap();
    assert_eq!(passed.report, whole);
    assert_eq!((passed.agent_id, passed.epoch), (joined.id(), agent.epoch));
    assert_eq!(passed.cluster_id.to_string(), joined.enrolled.cluster_id);

    // Without its first part it is nothing; what is not stored is not taken, and comes again.
    send(&agent, report(2, 150).parts().into_iter().skip(1));
    away.store(true, Ordering::Relaxed);
    send(&agent, report(3, 1).parts());
    assert_eq!(timeout(PATIENCE, heard.recv()).await.unwrap().unwrap().report.revision, 3);
    away.store(false, Ordering::Relaxed);
    for revision in 4.. {
        // The one before may still be on its way back: then this one is dropped, and the agent sends it again.
        send(&agent, report(revision, 0).parts());
        let wanted = |notice: &Notice| *notice == Notice::DriftTaken { revision };
        if let Ok(true) = timeout(Duration::from_millis(500), agent.notice(wanted)).await {
            break;
        }
        assert!(revision < 20, "never taken");
    }
}
