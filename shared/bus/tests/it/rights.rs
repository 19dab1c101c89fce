//! Each service has a broker user with the rights of `deploy/rabbitmq/definitions.json`: enough for its own queues, and not for
//! anybody else's (docs/security/broker.md). That a whole mesh works with them, every test in `tests/mesh` shows.

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind};
use roadstead_contracts::queue;

const SERVICES: [&str; 4] = ["user", "cluster", "onboarding", "operations"];

async fn connect(service: &str) -> Connection {
    let name = format!("ROADSTEAD_TEST_RABBITMQ_{}_URL", service.to_ascii_uppercase());
    let url = std::env::var(&name).unwrap_or_else(|_| panic!("{name}"));
    Connection::connect(&url, ConnectionProperties::default()).await.unwrap()
}

/// A broker closes the channel that asked for too much.
fn is_refused<T>(result: Result<T, lapin::Error>) -> bool {
    let Err(fault) = result else { return false };
    match fault.kind() {
        ErrorKind::ProtocolError(fault) => matches!(fault.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)),
        _ => false,
    }
}

async fn declare(channel: Channel, queue: &str) -> lapin::Result<()> {
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), own, FieldTable::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn a_service_has_its_own_queues_and_nobody_elses() {
    roadstead_runtime::install_crypto();
    for service in SERVICES {
        let connection = connect(service).await;
        let channel = async || connection.create_channel().await.unwrap();
        for kind in ["replies", "replica", "events"] {
            declare(channel().await, &format!("roadstead.{kind}.{service}.rights-test")).await.unwrap();
            for other in SERVICES.into_iter().filter(|other| *other != service) {
                let theirs = format!("roadstead.{kind}.{other}.rights-test");
                assert!(is_refused(declare(channel().await, &theirs).await), "{service} made {theirs}");
                let got = channel().await.basic_get(theirs.as_str().into(), BasicGetOptions { no_ack: true }).await;
                assert!(is_refused(got), "{service} read {theirs}");
            }
        }
        // Nothing outside our own names.
        assert!(is_refused(declare(channel().await, "anything").await), "{service} made any queue");
        let gone = channel().await.exchange_delete("amq.topic".into(), ExchangeDeleteOptions::default()).await;
        assert!(gone.is_err(), "{service} took an exchange away");
        // A publish is refused after the fact: the channel is closed before the next answer.
        let closed = channel().await;
        let options = BasicPublishOptions::default();
        let _ = closed.basic_publish("amq.topic".into(), "x".into(), options, b"x", BasicProperties::default()).await;
        let next = closed.basic_get(
            format!("roadstead.replies.{service}.rights-test").as_str().into(),
            BasicGetOptions { no_ack: true },
        );
        assert!(next.await.is_err(), "{service} wrote to another exchange");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn requests_are_read_by_whom_they_are_for() {
    roadstead_runtime::install_crypto();
    let owners = [
        (queue::CLUSTER_AUTH, "user"),
        (queue::IDENTITY, "user"),
        (queue::GRANT_CHANGE, "user"),
        (queue::AUDIT_RECORD, "user"),
        (queue::CLUSTER_NAMESPACE, "onboarding"),
        (queue::CLUSTER_REGISTRY, "onboarding"),
        (queue::CLUSTER_REGISTRY_CHANGE, "onboarding"),
        (queue::CLUSTER_MANIFEST, "operations"),
        (queue::CLUSTER_CANCELLATION, "operations"),
        (queue::OPERATION, "operations"),
        (queue::OPERATION_CHANGE, "operations"),
    ];
    assert_eq!(owners.map(|(queue, _)| queue.requests).len(), queue::ALL.len(), "a new queue has an owner here");
    for service in SERVICES {
        let connection = connect(service).await;
        for (queue, owner) in owners {
            let channel = connection.create_channel().await.unwrap();
            // Refused before it is looked whether there is such a queue.
            let got = channel.basic_get(queue.requests.into(), BasicGetOptions { no_ack: false }).await;
            assert_eq!(is_refused(got), service != owner, "{service} and {}", queue.requests);
            if service != owner {
                let channel = connection.create_channel().await.unwrap();
                let gone = channel.queue_delete(queue.requests.into(), QueueDeleteOptions::default()).await;
                assert!(is_refused(gone), "{service} deleted {}", queue.requests);
            }
        }
    }
}
