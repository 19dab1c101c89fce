//! The health listener, and the queues.

use roadstead_bus::{Destination, Message, Shape, Transport as _};
use roadstead_contracts::queue::{CLUSTER_CANCELLATION, CLUSTER_MANIFEST, OPEN_TO_PEERS};
use roadstead_operations::routes;

use crate::rig::{eventually, rig};

async fn status(url: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_and_tell_the_truth() {
    let rig = rig().await;
    let url = format!("http://{}", rig.services[0].address());
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
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_queues_stand_and_take_nothing_unsigned() {
    let rig = rig().await;
    let queues = [
        "cluster_manifest_requests",
        "cluster_cancellation_requests",
        "operation_requests",
        "operation_change_requests",
    ];
    for queue in queues {
        assert_eq!(rig.broker.depth(queue).await.unwrap(), Some(0), "{queue}");
        let message = Message { body: b"{\"request_id\":\"1\"}"[..].to_vec().into(), ..Message::default() };
        rig.broker.publish(Destination::Queue(queue.to_owned()), message).await.unwrap();
        let dead = format!("{queue}.dead");
        eventually("dead-lettered", || async { rig.broker.depth(&dead).await.unwrap() == Some(1) }).await;
    }
    rig.stop().await;
}

#[test]
fn only_probes_are_served() {
    let paths: Vec<String> = routes().into_iter().map(|row| row.path).collect();
    assert_eq!(paths, ["/healthz", "/readyz", "/version", "/metrics"]);
}

#[test]
fn the_seeds_queues_are_declared_as_their_peers_declare_them() {
    for queue in [CLUSTER_MANIFEST, CLUSTER_CANCELLATION] {
        assert_eq!(Shape::from(queue.kind), Shape::Seed, "{}", queue.requests);
        assert!(queue.kind.carries_changes() && OPEN_TO_PEERS.contains(&queue));
    }
}
