//! Bodies over the mesh.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::{Router, ServeOptions};
use roadstead_contracts::message::{BodyStagePlace, LocateBodyStage};
use roadstead_contracts::operation::BODY_MAX;
use roadstead_contracts::queue::OPERATION;
use roadstead_contracts::{Code, Result};
use roadstead_relay::{BodyStage, Intake, MeshStage, digest, serve};
use roadstead_runtime::{Ids, Secret, SystemClock, Tasks};
use tokio::net::TcpListener;

use crate::rig::rig;

struct Kept(std::sync::Mutex<Vec<Bytes>>);

#[async_trait]
impl BodyStage for Kept {
    async fn stage(&self, body: Bytes) -> Result<String> {
        let sha256 = digest(&body);
        self.0.lock().unwrap().push(body);
        Ok(sha256)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_over_the_mesh_whole_or_not_at_all() {
    roadstead_runtime::install_crypto();
    let clock = SystemClock::shared();
    let ids = Ids::system(clock.clone());
    let tasks = Tasks::new();
    let broker = roadstead_bus::memory::Memory::new();
    let member = roadstead_bus::Member {
        mesh_key: roadstead_auth::mesh::MeshKey::random(&ids).unwrap(),
        service: "test",
        replica: ids.next(),
        ids: ids.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        meter: Arc::new(roadstead_telemetry::Metrics::new()),
    };
    let bus = roadstead_bus::Bus::new(Arc::new(broker), member);
    let tls = MeshTls::derive(&Secret::new("0123456789abcdef0123456789abcdef".to_owned())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new(OPERATION).on(move |_: LocateBodyStage, _| {
        let address = address.clone();
        async move { Ok(BodyStagePlace { address }) }
    });
    bus.serve(router, ServeOptions::default()).await.unwrap();
    let kept = Arc::new(Kept(std::sync::Mutex::default()));
    let intake = Intake::new(Arc::clone(&kept) as Arc<dyn BodyStage>);
    let on_stream = move |head: Bytes, stream| {
        let intake = intake.clone();
        async move { intake.receive(&head, stream).await }
    };
    let over = tasks.stopping().cancelled_owned();
    tasks.spawn("listener", serve(listener, tls.clone(), tasks.clone(), over, on_stream));

    let mesh = MeshStage::new(bus.clone(), clock.clone(), ids.clone(), tasks.clone(), &tls);
    for length in [1, 100_000, BODY_MAX] {
        let body = Bytes::from(vec![b'x'; length]);
        assert_eq!(mesh.stage(body.clone()).await.unwrap(), digest(&body), "{length}");
        assert_eq!(kept.0.lock().unwrap().pop().unwrap(), body);
    }
    let large = mesh.stage(Bytes::from(vec![b'x'; BODY_MAX + 1])).await;
    assert_eq!(large.unwrap_err().code, Code::PayloadTooLarge);
    // Somebody with another secret is no member.
    let other = MeshTls::derive(&Secret::new("fedcba9876543210fedcba9876543210".to_owned())).unwrap();
    let stranger = MeshStage::new(bus, clock, ids, tasks.clone(), &other);
    assert!(stranger.stage(Bytes::from_static(b"x")).await.is_err());
    assert!(kept.0.lock().unwrap().is_empty());
    tasks.finish(std::time::Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_body_is_kept_and_read_back() {
    let rig = rig().await;
    let line = format!("{{\"x\":\"{}\"}}\n", "y".repeat(BODY_MAX - 9));
    assert_eq!(line.len(), BODY_MAX);
    let stage = rig.services[0].stage();
    let sha256 = stage.stage(Bytes::from(line.clone())).await.unwrap();
    // Twice is once.
    assert_eq!(stage.stage(Bytes::from(line.clone())).await.unwrap(), sha256);
    let made = rig.create(|create| create.body_sha256 = Some(sha256), 1).await.unwrap();
    rig.ended(made.id).await;
    assert_eq!(rig.agent.body(made.id).len(), BODY_MAX);
    assert_eq!(stage.stage(Bytes::new()).await.unwrap_err().code, Code::Validation);
    rig.stop().await;
}
