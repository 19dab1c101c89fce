use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use roadstead_auth::mesh::MeshKey;
use roadstead_bus::{
    Arrival, BODY_MAX, Count, DELIVERIES_MAX, Destination, Forged, Message, PeerHandler, PeerReply, Router,
    ServeOptions, Shape, Subscription, header, reason,
};
use roadstead_contracts::Code;
use roadstead_contracts::queue::{CLUSTER_AUTH, CLUSTER_REGISTRY};
use roadstead_runtime::Secret;

use super::*;
use crate::forge;
use crate::rig::{Process, Rig, context, eventually, ids, mesh_key};

fn soon() -> chrono::DateTime<Utc> {
    Utc::now() + Duration::from_secs(30)
}

async fn put(rig: &Rig, queue: &str, message: Message) {
    rig.outside().publish(Destination::Queue(queue.to_owned()), message).await.unwrap();
}

async fn serve<R: Request<Reply = Told>>(process: &Process, number: fn(&R) -> u64) -> Arc<AtomicUsize> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let router = Router::new(R::QUEUE).on(move |ask: R, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(told(number(&ask))) }
    });
    process.bus.serve(router, ServeOptions::default()).await.unwrap();
    process.connected().await;
    runs
}

pub async fn q01_garbage_is_dead_lettered_and_the_queue_lives(rig: Rig) {
    rig.clean(&["test_garbage"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let runs = serve::<AskGarbage>(&server, |ask| ask.number).await;
    let deep = vec![b'['; 100_000];
    let bodies: [&[u8]; 6] = [b"", b"{", b"not json", b"\xff\xfe\x00", b"{}", &deep];
    for body in bodies {
        put(&rig, "test_garbage", Message { body: Bytes::copy_from_slice(body), ..Message::default() }).await;
    }
    assert_eq!(rig.dead_reasons("test_garbage", 6).await, vec![reason::UNAUTHENTICATED; 6]);
    // Signed, and not what its kind says: a service of ours with another idea of the message.
    for body in bodies {
        let forged = forge::message("id", "ask.v1", Some("roadstead.replies.none"), soon(), body);
        put(&rig, "test_garbage", forge::sign(&mesh_key(), "test_garbage", forged)).await;
    }
    assert_eq!(rig.dead_reasons("test_garbage", 6).await, vec![reason::MALFORMED; 6]);
    // A newer asker is told at once.
    let newer = AskGarbageNewer::default();
    let error = asker.bus.call(&newer, &context(5_000)).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(rig.dead_reasons("test_garbage", 1).await, [reason::UNKNOWN_KIND]);
    if !rig.is_memory() {
        // Our own publish refuses such a body; a stranger's does not.
        for length in [BODY_MAX + 1, 64 * 1024 * 1024] {
            crate::broker::publish("test_garbage", &vec![b'x'; length]).await;
        }
        let letters = rig.dead_letters("test_garbage", 2).await;
        for letter in letters {
            assert_eq!(letter.dead_reason(), Some(reason::TOO_LARGE));
            assert!(letter.body.len() < BODY_MAX && letter.header(header::QUEUE) == Some("test_garbage"));
        }
    }
    let answer = asker.bus.call(&AskGarbage { number: 3, ..Default::default() }, &context(5_000)).await;
    assert_eq!(answer.unwrap(), told(3));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

pub async fn q03_answers_go_to_reply_queues_only(rig: Rig) {
    rig.clean(&["test_reply_to"]).await;
    let server = rig.process("user").await;
    let runs = serve::<AskReplyTo>(&server, |ask| ask.number).await;
    for reply_to in
        [None, Some("cluster_auth_requests"), Some("amq.rabbitmq.reply-to.g2d"), Some("amq.gen-x"), Some("")]
    {
        let forged = forge::message("id", "ask.v1", reply_to, soon(), br#"{"number":1}"#);
        put(&rig, "test_reply_to", forge::sign(&mesh_key(), "test_reply_to", forged)).await;
    }
    assert_eq!(rig.dead_reasons("test_reply_to", 5).await, vec![reason::BAD_REPLY_QUEUE; 5]);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

pub async fn q04_a_repeated_message_has_one_effect(rig: Rig) {
    rig.clean(&["test_twice"]).await;
    let server = rig.process("user").await;
    let (seen, effects) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(AtomicUsize::new(0)));
    let counted = (seen, effects.clone());
    let router = Router::new(AskTwice::QUEUE).on(move |ask: AskTwice, incoming| {
        // What a store does in its transaction.
        if counted.0.lock().unwrap().insert(incoming.message_id) {
            counted.1.fetch_add(1, Ordering::SeqCst);
        }
        async move { Ok(told(ask.number)) }
    });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    let forged = forge::message("same-id", "ask.v1", Some("roadstead.replies.none"), soon(), br#"{"number":1}"#);
    let signed = forge::sign(&mesh_key(), "test_twice", forged);
    for _ in 0..100 {
        put(&rig, "test_twice", signed.clone()).await;
    }
    eventually("all are handled", || async { server.counts.get(Count::Handled, "ask.v1") == 100 }).await;
    assert_eq!(effects.load(Ordering::SeqCst), 1);
    assert_eq!(rig.outside().depth("test_twice").await.unwrap(), Some(0));
    // The same bytes a day later are refused by their deadline, so the store may forget ids by then.
    let mut old = signed;
    old.headers
        .insert(header::DEADLINE.to_owned(), (Utc::now() - Duration::from_secs(86_400)).timestamp_millis().to_string());
    put(&rig, "test_twice", forge::sign(&mesh_key(), "test_twice", old)).await;
    assert_eq!(rig.dead_reasons("test_twice", 1).await, [reason::EXPIRED]);
}

pub async fn q05_forged_messages_are_dead_lettered(rig: Rig) {
    rig.clean(&["test_forged"]).await;
    let (server, stranger) = (rig.process("user").await, {
        let key = MeshKey::new(&Secret::new("another-mesh-secret-0123456789abcdef")).unwrap();
        rig.process_with("cluster", key).await
    });
    let runs = serve::<AskForged>(&server, |ask| ask.number).await;
    // The first time nothing is stored: it is told again.
    let (told, refusals) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, refused) = (told.clone(), refusals.clone());
    server.bus.report_forged(move |forged: Forged| {
        assert_eq!(forged.queue, "test_forged");
        let stored = refused.fetch_add(1, Ordering::SeqCst) > 0;
        if stored {
            counted.fetch_add(usize::try_from(forged.count).unwrap(), Ordering::SeqCst);
        }
        async move { stored }
    });
    let error = stranger.bus.call(&AskForged::default(), &context(300)).await.unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    let forged = |body: &[u8]| forge::message("id", "ask.v1", Some("roadstead.replies.none"), soon(), body);
    let elsewhere = forge::sign(&mesh_key(), "test_reply_to", forged(br#"{"number":1}"#));
    let mut changed = forge::sign(&mesh_key(), "test_forged", forged(br#"{"number":1}"#));
    changed.body = Bytes::from_static(br#"{"number":2}"#);
    let mut prolonged = forge::sign(&mesh_key(), "test_forged", forged(br#"{"number":1}"#));
    let later = Utc::now() + Duration::from_secs(3_600);
    prolonged.headers.insert(header::DEADLINE.to_owned(), later.timestamp_millis().to_string());
    let mut odd = forged(br#"{"number":1}"#);
    odd.headers.insert(header::SIGNATURE.to_owned(), "ü".repeat(64));
    let mut peer = forged(br#"{"number":1}"#);
    peer.user_id = Some(rig.user());
    for message in [elsewhere, changed, prolonged, odd, peer, forged(br#"{"number":1}"#)] {
        put(&rig, "test_forged", message).await;
    }
    assert_eq!(rig.dead_reasons("test_forged", 7).await, vec![reason::UNAUTHENTICATED; 7]);
    assert_eq!(server.counts.get(Count::DeadLettered, reason::UNAUTHENTICATED), 7);
    eventually("the audit trail is told of each", || async { told.load(Ordering::SeqCst) == 7 }).await;
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

pub async fn q06_the_first_valid_answer_stands(rig: Rig) {
    rig.clean(&["test_contradicted"]).await;
    let asker = rig.process("cluster").await;
    // A server by hand, that answers as no server should.
    let mut requests = rig.outside().consume(Subscription {
        queue: "test_contradicted".to_owned(),
        shape: Shape::Lookup,
        dead: Some("test_contradicted.dead".to_owned()),
        results: None,
        patterns: Vec::new(),
        prefetch: 1,
        auto_settle: false,
    });
    assert!(matches!(requests.next().await, Some(Arrival::Attached(_))));
    let bus = asker.bus.clone();
    let call = tokio::spawn(async move { bus.call(&AskContradicted::default(), &context(10_000)).await });
    let Some(Arrival::Message(request)) = requests.next().await else { panic!("no request") };
    let reply_to = request.message.reply_to.clone().unwrap();
    let answer = |correlation: &str, body: &str| {
        let mut message = forge::message("answer", "ask.v1", None, soon(), body.as_bytes());
        message.correlation_id = Some(correlation.to_owned());
        message
    };
    let id = request.message.correlation_id.clone().unwrap();
    let forged = answer(&id, r#"{"ok":{"number":666}}"#);
    let foreign = forge::sign(&mesh_key(), "roadstead.replies.other", answer(&id, r#"{"ok":{"number":666}}"#));
    let unknown = forge::sign(&mesh_key(), &reply_to, answer(&ids().uuid().to_string(), r#"{"ok":{"number":666}}"#));
    let first = forge::sign(&mesh_key(), &reply_to, answer(&id, r#"{"ok":{"number":1}}"#));
    let second = forge::sign(&mesh_key(), &reply_to, answer(&id, r#"{"error":{"code":"forbidden","detail":"no"}}"#));
    for message in [forged, foreign, unknown, first, second] {
        put(&rig, &reply_to, message).await;
    }
    request.ack();
    assert_eq!(call.await.unwrap().unwrap(), told(1));
    eventually("the others are counted", || async { asker.counts.total(Count::StrayAnswer) == 2 }).await;
    assert_eq!(asker.counts.total(Count::ForgedAnswer), 2);
}

pub async fn q08_a_late_message_is_not_run(rig: Rig) {
    rig.clean(&["test_late_lookup", "test_late_change"]).await;
    let asker = rig.process("cluster").await;
    macro_rules! check {
        ($($ask:ident $queue:literal)*) => {$(
            // The queue exists, nobody reads it: the deadline passes in the queue.
            let first = rig.process("user").await;
            serve::<$ask>(&first, |ask| ask.number).await;
            first.tasks.finish(Duration::from_secs(5)).await;
            let error = asker.bus.call(&$ask::default(), &context(200)).await.unwrap_err();
            assert_eq!(error.code, Code::Timeout);
            assert_eq!(rig.dead_reasons($queue, 1).await, [reason::EXPIRED]);
            // Put there by somebody who leaves the broker's expiry away.
            let late = forge::message("late", "ask.v1", Some("roadstead.replies.none"), Utc::now(), br#"{"number":1}"#);
            put(&rig, $queue, forge::sign(&mesh_key(), $queue, late)).await;
            let server = rig.process("user").await;
            let runs = serve::<$ask>(&server, |ask| ask.number).await;
            let letters = rig.dead_letters($queue, 1).await;
            assert_eq!(letters[0].header(header::REASON), Some(reason::EXPIRED));
            assert_eq!(server.counts.get(Count::Expired, "ask.v1"), 1);
            assert_eq!(runs.load(Ordering::SeqCst), 0);
        )*};
    }
    check!(AskLateLookup "test_late_lookup" AskLateChange "test_late_change");
}

pub async fn f20_poison_is_dead_lettered_after_five_deliveries(rig: Rig) {
    rig.clean(&["test_poison", "test_poison_lookup"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let poisoned = Arc::new(AtomicUsize::new(0));
    let counted = poisoned.clone();
    let router = Router::new(AskPoison::QUEUE).on(move |ask: AskPoison, _| {
        let counted = counted.clone();
        async move {
            if ask.number == 5 {
                counted.fetch_add(1, Ordering::SeqCst);
                panic!("poison");
            }
            Ok(told(ask.number))
        }
    });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = lookups.clone();
    let router = Router::new(AskPoisonLookup::QUEUE).on(move |_: AskPoisonLookup, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { panic!("poison") }
    });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    let asks: Vec<AskPoison> = (0..10).map(|number| AskPoison { number, ..Default::default() }).collect();
    let within = context(3_000);
    let answers = futures_util::future::join_all(asks.iter().map(|ask| asker.bus.call(ask, &within))).await;
    for (number, answer) in (0..).zip(answers) {
        match answer {
            Ok(reply) => assert_eq!(reply, told(number)),
            Err(error) => assert_eq!((number, error.code), (5, Code::Timeout)),
        }
    }
    assert_eq!(rig.dead_letters("test_poison", 1).await.len(), 1);
    assert_eq!(poisoned.load(Ordering::SeqCst), DELIVERIES_MAX as usize);
    let error = asker.bus.call(&AskPoisonLookup::default(), &context(1_000)).await.unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    assert_eq!(rig.dead_reasons("test_poison_lookup", 1).await, [reason::PANICKED]);
    assert_eq!(lookups.load(Ordering::SeqCst), 2);
}

pub async fn peers_are_answered_where_they_may_ask(rig: Rig) {
    rig.clean(&[CLUSTER_AUTH.requests, CLUSTER_AUTH.results, CLUSTER_REGISTRY.requests]).await;
    let server = rig.process("user").await;
    let peers = || {
        let accounts = BTreeMap::from([(rig.user(), "service-account".to_owned())]);
        PeerHandler::new(accounts, |request| async move {
            assert_eq!(request.account, "service-account");
            match &request.body[..] {
                b"malformed" => PeerReply::dead_letter(reason::MALFORMED),
                b"quiet" => PeerReply::none(),
                body => PeerReply::answer([b"answer to ", body].concat()),
            }
        })
    };
    server.bus.serve(Router::new(CLUSTER_AUTH).peers(peers()), ServeOptions::default()).await.unwrap();
    server.bus.serve(Router::new(CLUSTER_REGISTRY).peers(peers()), ServeOptions::default()).await.unwrap();
    server.connected().await;
    let peer = |body: &'static [u8]| Message {
        user_id: Some(rig.user()),
        persistent: true,
        body: Bytes::from_static(body),
        ..Message::default()
    };
    put(&rig, CLUSTER_AUTH.requests, peer(b"hello")).await;
    put(&rig, CLUSTER_AUTH.requests, peer(b"quiet")).await;
    eventually("an answer", || async { rig.outside().depth(CLUSTER_AUTH.results).await.unwrap() == Some(1) }).await;
    let answer = rig.outside().take(CLUSTER_AUTH.results).await.unwrap().unwrap();
    assert_eq!(&answer.body[..], b"answer to hello");
    assert!(answer.persistent && answer.reply_to.is_none() && answer.headers.is_empty());
    put(&rig, CLUSTER_AUTH.requests, peer(b"malformed")).await;
    assert_eq!(rig.dead_reasons(CLUSTER_AUTH.requests, 1).await, [reason::MALFORMED]);
    // Nobody the settings know, somebody who wants the answer elsewhere, and a queue that is not open.
    put(&rig, CLUSTER_AUTH.requests, Message { user_id: None, ..peer(b"hello") }).await;
    put(&rig, CLUSTER_AUTH.requests, Message { reply_to: Some("amq.x".to_owned()), ..peer(b"hello") }).await;
    assert_eq!(rig.dead_reasons(CLUSTER_AUTH.requests, 2).await, vec![reason::UNAUTHENTICATED; 2]);
    put(&rig, CLUSTER_REGISTRY.requests, peer(b"hello")).await;
    assert_eq!(rig.dead_reasons(CLUSTER_REGISTRY.requests, 1).await, [reason::UNAUTHENTICATED]);
    assert_eq!(rig.outside().depth(CLUSTER_AUTH.results).await.unwrap(), Some(0));
}
