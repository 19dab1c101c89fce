//! The service as its neighbours see it.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use roadstead_auth::mesh::MeshKey;
use roadstead_bus::memory::Memory;
use roadstead_bus::{Bus, Destination, Member, Message, Transport};
use roadstead_contracts::ids::ReplicaId;
use roadstead_operations::{Deps, Service, build, routes};
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use roadstead_runtime::{Ids, Readiness, Secret, SystemClock, Tasks};
use roadstead_store::{Options, open};
use roadstead_telemetry::Metrics;

struct Rig {
    service: Service,
    broker: Memory,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

async fn rig() -> Rig {
    roadstead_runtime::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::shared();
    let ids = Ids::system(clock.clone());
    let tasks = Tasks::new();
    let metrics = Metrics::new();
    let readiness = Readiness::new();
    let broker = Memory::new();
    let member = Member {
        mesh_key: MeshKey::random(&ids).unwrap(),
        service: roadstead_operations::NAME,
        replica: ids.next::<ReplicaId>(),
        ids: ids.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        meter: Arc::new(metrics.clone()),
    };
    let bus = Bus::new(Arc::new(broker.clone()), member);
    bus.report_to(readiness.register("bus"));
    let url = Secret::new(format!("sqlite:{}", folder.path().display()));
    let database = open(&url, &Options::new(roadstead_operations::NAME)).await.unwrap();
    database.watch(readiness.register("database"), &tasks);
    let settings = Arc::new(Settings::load(ServiceRole::Up, None, &MapEnv::default()).unwrap());
    let deps = Deps { bus, database, clock, ids, tasks: tasks.clone(), metrics, readiness, settings };
    let service = build(deps).await.unwrap();
    service.start().await.unwrap();
    Rig { service, broker, tasks, _folder: folder }
}

async fn status(url: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..200 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_and_tell_the_truth() {
    let rig = rig().await;
    let url = format!("http://{}", rig.service.address());
    assert_eq!(status(&format!("{url}/healthz")).await.0, 200);
    let ready = format!("{url}/readyz");
    eventually("ready", || async { status(&ready).await.0 == 200 }).await;
    let version = status(&format!("{url}/version")).await.1;
    assert!(version.contains("\"service\":\"operations\""), "{version}");
    let metrics = status(&format!("{url}/metrics")).await.1;
    assert!(metrics.contains("mckmt_http_requests_total") && !metrics.contains("cluster_id"), "{metrics}");
    assert_eq!(status(&format!("{url}/api/v1/operations")).await.0, 404);
    rig.broker.set_connected(false);
    eventually("not ready without the bus", || async { status(&ready).await.0 == 503 }).await;
    assert_eq!(status(&format!("{url}/healthz")).await.0, 200);
    rig.broker.set_connected(true);
    eventually("ready again", || async { status(&ready).await.0 == 200 }).await;
    rig.tasks.finish(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_queues_stand_and_take_nothing_unsigned() {
    let rig = rig().await;
    for queue in ["cluster_manifest_requests", "cluster_cancellation_requests"] {
        assert_eq!(rig.broker.depth(queue).await.unwrap(), Some(0), "{queue}");
        let message = Message { body: b"{\"request_id\":\"1\"}"[..].to_vec().into(), ..Message::default() };
        rig.broker.publish(Destination::Queue(queue.to_owned()), message).await.unwrap();
        let dead = format!("{queue}.dead");
        eventually("dead-lettered", || async { rig.broker.depth(&dead).await.unwrap() == Some(1) }).await;
    }
    rig.tasks.finish(Duration::from_secs(2)).await;
}

#[test]
fn only_probes_are_served() {
    let paths: Vec<String> = routes().into_iter().map(|row| row.path).collect();
    assert_eq!(paths, ["/healthz", "/readyz", "/version", "/metrics"]);
}
