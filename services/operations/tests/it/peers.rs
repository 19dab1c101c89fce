//! Peers of the seeds on their two queues.

use roadstead_bus::{Destination, Message, Transport as _};
use roadstead_contracts::ids::{OperationId, TypedId as _, parse_hyphenated};
use roadstead_contracts::operation::OperationState;
use roadstead_operations::Faults;
use serde_json::{Value, json};

use crate::rig::{Rig, cluster, eventually};

async fn rig() -> Rig {
    Rig::new(1, Faults::default(), &[("ROADSTEAD_COMPAT_QUEUE_PEERS", "kubesage=svc-kubesage")]).await
}

async fn send(rig: &Rig, queue: &str, user: Option<&str>, body: Value) {
    let message =
        Message { body: body.to_string().into_bytes().into(), user_id: user.map(str::to_owned), ..Message::default() };
    rig.broker.publish(Destination::Queue(queue.to_owned()), message).await.unwrap();
}

async fn result(rig: &Rig, queue: &str) -> Value {
    for _ in 0..500 {
        if let Some(message) = rig.broker.take(queue).await.unwrap() {
            assert!(message.persistent && message.correlation_id.is_none());
            return serde_json::from_slice(&message.body).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nothing on {queue}");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_and_cancellations_of_peers() {
    let rig = rig().await;
    rig.agent.set_offline(cluster(1), true);
    let request = json!({
        "request_id": "r-1", "cluster_id": cluster(1).to_string(), "command": "apply-manifests",
        "manifests": "{\"kind\":\"ConfigMap\"}\n", "timestamp": 1.5,
    });
    send(&rig, "cluster_manifest_requests", Some("kubesage"), request.clone()).await;
    let first = result(&rig, "cluster_manifest_results").await;
    let id = first["operation_id"].as_str().unwrap().to_owned();
    assert_eq!(
        first,
        json!({
            "request_id": "r-1", "operation_id": id, "status": "queued",
            "message": "Manifests queued for application", "error": null,
        })
    );
    // Again is the same operation.
    send(&rig, "cluster_manifest_requests", Some("kubesage"), request.clone()).await;
    assert_eq!(result(&rig, "cluster_manifest_results").await["operation_id"], id.as_str());

    let cancel = json!({"request_id": "r-2", "operation_id": id, "reason": "no", "timestamp": 2.5});
    send(&rig, "cluster_cancellation_requests", Some("kubesage"), cancel.clone()).await;
    assert_eq!(
        result(&rig, "cluster_cancellation_results").await,
        json!({
            "request_id": "r-2", "operation_id": id, "status": "cancelled",
            "message": "Operation cancelled successfully", "error": null,
        })
    );
    send(&rig, "cluster_cancellation_requests", Some("kubesage"), cancel).await;
    assert_eq!(
        result(&rig, "cluster_cancellation_results").await["error"],
        "operation cannot be cancelled, current status: cancelled"
    );
    let operation = OperationId::from_uuid(parse_hyphenated(&id).unwrap());
    assert_eq!(rig.get(operation).await.state, OperationState::Cancelled);

    let mut odd = request.clone();
    odd["command"] = json!("delete-everything");
    odd["request_id"] = json!("r-3");
    send(&rig, "cluster_manifest_requests", Some("kubesage"), odd).await;
    assert_eq!(
        result(&rig, "cluster_manifest_results").await,
        json!({"request_id": "r-3", "error": "Unknown command."})
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_nonsense_go_to_the_dead_letters() {
    let rig = rig().await;
    let good = json!({"request_id": "r-1", "cluster_id": "x", "manifests": "x"});
    send(&rig, "cluster_manifest_requests", None, good.clone()).await;
    send(&rig, "cluster_manifest_requests", Some("stranger"), good).await;
    send(&rig, "cluster_manifest_requests", Some("kubesage"), json!({"manifests": "x"})).await;
    send(&rig, "cluster_manifest_requests", Some("kubesage"), json!([1])).await;
    eventually("dead-lettered", || async {
        rig.broker.depth("cluster_manifest_requests.dead").await.unwrap() == Some(4)
    })
    .await;
    assert_eq!(rig.broker.depth("cluster_manifest_results").await.unwrap().unwrap_or(0), 0);
    rig.stop().await;
}
