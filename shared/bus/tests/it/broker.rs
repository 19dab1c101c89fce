//! What only RabbitMQ can show: other people's queues, arguments and rights.

use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use roadstead_bus::rabbit::{Options, Rabbit};
use roadstead_bus::{Router, ServeOptions, Transport};
use roadstead_contracts::message::Request;
use roadstead_contracts::queue::{Queue, QueueKind};
use roadstead_runtime::client_tls::ClientTls;
use roadstead_runtime::{Secret, Tasks};
use serde::{Deserialize, Serialize};

use crate::rig::{Rig, context, eventually, ids};
use crate::suite::{Told, told};

async fn channel() -> (Connection, Channel) {
    let url = std::env::var("ROADSTEAD_TEST_RABBITMQ_URL").expect("ROADSTEAD_TEST_RABBITMQ_URL");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

pub async fn delete(queue: &str) {
    let (_connection, channel) = channel().await;
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
}

pub async fn publish(queue: &str, body: &[u8]) {
    let (_connection, channel) = channel().await;
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.into(), options, body, BasicProperties::default()).await.unwrap();
    // Answered after the publish before it was taken in.
    channel
        .queue_declare(queue.into(), QueueDeclareOptions { passive: true, ..Default::default() }, FieldTable::default())
        .await
        .unwrap();
}

async fn declare(queue: &str, arguments: FieldTable) -> lapin::Result<()> {
    let (_connection, channel) = channel().await;
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.map(drop)
}

macro_rules! asks {
    ($($name:ident $queue:literal $kind:ident;)*) => {$(
        #[derive(Debug, Default, Serialize, Deserialize)]
        struct $name {}
        impl Request for $name {
            const QUEUE: Queue =
                Queue { requests: $queue, results: concat!($queue, "_results"), kind: QueueKind::$kind };
            const KIND: &'static str = "ask.v1";
            type Reply = Told;
        }
    )*};
}

asks! {
    AskOther "test_q09_other" Change;
    AskDeleted "test_q09_deleted" Lookup;
    AskDenied "test_q09_denied" Lookup;
    AskBeside "test_q09_beside" Lookup;
    AskSeedShape "test_seed_shape" Seed;
    AskFull "test_full" Change;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn q09_a_queue_with_other_arguments_is_said_and_heals() {
    let rig = Rig::rabbit().await;
    rig.clean(&["test_q09_other"]).await;
    declare("test_q09_other", FieldTable::default()).await.unwrap();
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let router = Router::new(AskOther::QUEUE).on(|_: AskOther, _| async { Ok(told(1)) });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    eventually("it is said", || async { server.bus.detail().contains("test_q09_other exists with other arguments") })
        .await;
    assert!(!*server.bus.connected().borrow());
    // No loop that eats the processor, and the rest of the process works on.
    let gone = asker.bus.call_queue("test_q09_none", &AskOther::default(), &context(2_000)).await;
    assert_eq!(gone.unwrap_err().code, roadstead_contracts::Code::Unavailable);
    delete("test_q09_other").await;
    let began = Instant::now();
    server.connected().await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(asker.bus.call(&AskOther::default(), &context(5_000)).await.unwrap(), told(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn q09_a_deleted_queue_is_made_again() {
    let rig = Rig::rabbit().await;
    rig.clean(&["test_q09_deleted"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let router = Router::new(AskDeleted::QUEUE).on(|_: AskDeleted, _| async { Ok(told(1)) });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    for _ in 0..3 {
        delete("test_q09_deleted").await;
        eventually("it answers again", || async {
            asker.bus.call(&AskDeleted::default(), &context(1_000)).await.is_ok()
        })
        .await;
    }
    server.connected().await;
}

/// With the least rights that `deploy/rabbitmq/definitions.json` gives: a queue that is another service's is refused, and said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn q09_a_user_who_may_not_declare_is_said_and_the_rest_works() {
    let rig = Rig::rabbit().await;
    rig.clean(&["test_q09_denied", "test_q09_beside"]).await;
    let url = std::env::var("ROADSTEAD_TEST_RABBITMQ_CLUSTER_URL").expect("ROADSTEAD_TEST_RABBITMQ_CLUSTER_URL");
    let (server, denied) = (rig.process("user").await, Rig::process_at(&url, "cluster"));
    denied.connected().await;
    let router = Router::new(AskBeside::QUEUE).on(|_: AskBeside, _| async { Ok(told(1)) });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    let router = Router::new(AskDenied::QUEUE).on(|_: AskDenied, _| async { Ok(told(1)) });
    // Whether it says so here already or goes on trying: it must not fall over.
    let _ = denied.bus.serve(router, ServeOptions::default()).await;
    let sentence = "the message broker refuses access to queue test_q09_denied";
    eventually("it is said", || async { denied.bus.detail().contains(sentence) }).await;
    assert!(!*denied.bus.connected().borrow(), "readyz answers 503");
    // The rest of the process works on, again and again.
    for _ in 0..3 {
        assert_eq!(denied.bus.call(&AskBeside::default(), &context(5_000)).await.unwrap(), told(1));
    }
    assert!(!denied.bus.detail().contains("amqp://"), "no address with a password");
    denied.tasks.finish(Duration::from_secs(1)).await;
    rig.clean(&["test_q09_beside"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn the_seeds_queues_are_declared_as_their_peers_do() {
    let rig = Rig::rabbit().await;
    rig.clean(&["test_seed_shape"]).await;
    let server = rig.process("user").await;
    let router = Router::new(AskSeedShape::QUEUE).on(|_: AskSeedShape, _| async { Ok(told(1)) });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    // `durable=True` and nothing else, in either order.
    declare("test_seed_shape", FieldTable::default()).await.unwrap();
    let mut other = FieldTable::default();
    other.insert("x-max-length".into(), AMQPValue::LongInt(5));
    declare("test_seed_shape", other).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn f21_a_refused_message_counts_as_not_sent() {
    let rig = Rig::rabbit().await;
    rig.clean(&["test_full"]).await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    declare("test_full", full).await.unwrap();
    publish("test_full", b"x").await;
    let asker = rig.process("cluster").await;
    let began = Instant::now();
    let error = asker.bus.call(&AskFull::default(), &context(10_000)).await.unwrap_err();
    assert_eq!(error.code, roadstead_contracts::Code::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(5));
    rig.clean(&["test_full"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs rabbitmq"]
async fn a_wrong_password_is_one_sentence_without_it() {
    let url = std::env::var("ROADSTEAD_TEST_RABBITMQ_URL").unwrap();
    let mut uri: lapin::uri::AMQPUri = url.parse().unwrap();
    uri.authority.userinfo.password = "wrong-password".to_owned();
    let tasks = Tasks::new();
    let options = Options {
        url: Secret::new(uri.to_string()),
        tls: ClientTls::default(),
        name: "tests".to_owned(),
        ids: ids(),
        tasks,
    };
    let rabbit = Rabbit::open(options).unwrap();
    eventually("it is said", || async { rabbit.detail().contains("refuses the user name or password") }).await;
    assert!(!*rabbit.connected().borrow());
    assert!(!rabbit.detail().contains("wrong-password") && !format!("{rabbit:?}").contains("wrong-password"));
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let tasks = Tasks::new();
    // A port that nothing listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Secret::new(format!("amqp://guest:guest@{free}/%2f"));
    let options =
        Options { url, tls: ClientTls::default(), name: "tests".to_owned(), ids: ids(), tasks: tasks.clone() };
    let rabbit = Rabbit::open(options).unwrap();
    eventually("it is said", || async { rabbit.detail() == "the message broker is not reachable" }).await;
    let to = roadstead_bus::Destination::Queue("any".to_owned());
    assert_eq!(rabbit.publish(to, roadstead_bus::Message::default()).await, Err(roadstead_bus::Error::Disconnected));
    tasks.finish(Duration::from_secs(1)).await;
    let bad =
        Options { url: Secret::new("http://x"), tls: ClientTls::default(), name: String::new(), ids: ids(), tasks };
    assert!(matches!(Rabbit::open(bad), Err(roadstead_bus::Error::Address(_))));
}
