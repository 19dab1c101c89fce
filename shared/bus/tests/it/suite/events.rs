use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::Utc;
use roadstead_bus::{Destination, Message, Shape, Subscriber, Subscription, reason};
use roadstead_contracts::Code;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::MessageId;

use crate::forge;
use crate::rig::{Process, Rig, eventually, ids, mesh_key};

type Seen = Arc<Mutex<Vec<(&'static str, MessageId)>>>;

fn event(fact: Fact) -> Event {
    Event { id: ids().next(), at: Utc::now(), fact }
}

fn user_changed() -> Event {
    event(Fact::UserChanged { user_id: ids().next() })
}

async fn listen(process: &Process, group: Subscriber, patterns: &[&str], failures: usize) -> Seen {
    let seen = Seen::default();
    let (kept, failures) = (seen.clone(), Arc::new(Mutex::new(failures)));
    let handler = move |event: Event| {
        let (kept, failures) = (kept.clone(), failures.clone());
        async move {
            let mut left = failures.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return Err(Code::StorageUnavailable.into());
            }
            kept.lock().unwrap().push((event.fact.routing_key(), event.id));
            Ok(())
        }
    };
    process.bus.subscribe(group, patterns, handler).await.unwrap();
    process.connected().await;
    seen
}

async fn count(what: &str, seen: &Seen, id: MessageId, number: usize) {
    let count = || seen.lock().unwrap().iter().filter(|(_, seen)| *seen == id).count();
    eventually(what, || async { count() >= number }).await;
    assert_eq!(count(), number, "{what}");
}

pub async fn every_subscriber_gets_its_copy(rig: Rig) {
    rig.clean(&["roadstead.events.copies.shared"]).await;
    let (sender, one, two) = (rig.process("user").await, rig.process("copies").await, rig.process("copies").await);
    let all_one = listen(&one, Subscriber::Own, &["user.*"], 0).await;
    let all_two = listen(&two, Subscriber::Own, &["user.*"], 0).await;
    let other = listen(&two, Subscriber::Own, &["cluster.*"], 0).await;
    let shared_one = listen(&one, Subscriber::Shared("shared"), &["user.#"], 0).await;
    let shared_two = listen(&two, Subscriber::Shared("shared"), &["user.#"], 0).await;
    let sent: Vec<Event> = (0..20).map(|_| user_changed()).collect();
    for event in &sent {
        sender.bus.emit(event).await.unwrap();
    }
    for event in &sent {
        count("an own copy", &all_one, event.id, 1).await;
        count("an own copy", &all_two, event.id, 1).await;
        let both = || {
            let of = |seen: &Seen| seen.lock().unwrap().iter().filter(|(_, id)| *id == event.id).count();
            of(&shared_one) + of(&shared_two)
        };
        eventually("one copy for the group", || async { both() == 1 }).await;
    }
    let nobody = event(Fact::AgentRevoked { agent_id: "agent".to_owned() });
    sender.bus.emit(&nobody).await.unwrap();
    assert!(other.lock().unwrap().is_empty());
}

pub async fn a_shared_subscriber_gets_an_event_again_until_it_takes_it(rig: Rig) {
    rig.clean(&["roadstead.events.again.shared"]).await;
    let (sender, listener) = (rig.process("user").await, rig.process("again").await);
    let seen = listen(&listener, Subscriber::Shared("shared"), &["user.changed"], 2).await;
    let event = user_changed();
    sender.bus.emit(&event).await.unwrap();
    count("taken at the third time", &seen, event.id, 1).await;
    assert_eq!(listener.counts.get(roadstead_bus::Count::EventFailed, "user.changed"), 2);
    // Durable: what is sent while nobody listens is there afterwards.
    listener.tasks.finish(std::time::Duration::from_secs(5)).await;
    let missed = user_changed();
    sender.bus.emit(&missed).await.unwrap();
    let next = rig.process("again").await;
    let seen = listen(&next, Subscriber::Shared("shared"), &["user.changed"], 0).await;
    count("kept for the next one", &seen, missed.id, 1).await;
}

pub async fn forged_events_are_dead_lettered(rig: Rig) {
    rig.clean(&["roadstead.events.forged.shared"]).await;
    let listener = rig.process("forged").await;
    let seen = listen(&listener, Subscriber::Shared("shared"), &["agent.revoked"], 0).await;
    let revoked = event(Fact::AgentRevoked { agent_id: "agent".to_owned() });
    let message = Message {
        id: revoked.id.to_string(),
        kind: "agent.revoked".to_owned(),
        body: Bytes::from(serde_json::to_vec(&revoked).unwrap()),
        ..Message::default()
    };
    let elsewhere = forge::sign(&mesh_key(), "roadstead.events/user.changed", message.clone());
    // Signed for this key, and of another kind inside.
    let inside = Message { body: Bytes::from(serde_json::to_vec(&user_changed()).unwrap()), ..message.clone() };
    let inside = forge::sign(&mesh_key(), "roadstead.events/agent.revoked", inside);
    for forged in [message, elsewhere, inside] {
        rig.outside().publish(Destination::Events("agent.revoked"), forged).await.unwrap();
    }
    let mut reasons = rig.dead_reasons("roadstead.events.forged.shared", 3).await;
    reasons.sort();
    assert_eq!(reasons, [reason::MALFORMED, reason::UNAUTHENTICATED, reason::UNAUTHENTICATED]);
    assert!(seen.lock().unwrap().is_empty());
}

/// Peers of the seeds read their own queue: plain JSON, which does not wait for them for ever; without one nobody is told.
pub async fn peers_are_told_where_they_listen(rig: Rig) {
    const QUEUE: &str = "test_peers_told";
    rig.clean(&[QUEUE]).await;
    let process = rig.process("cluster").await;
    let body = serde_json::json!({ "event_type": "cluster_deleted", "cluster_id": 7 });
    process.bus.tell_peers(QUEUE, &body).await.unwrap();
    let _deliveries = process.transport.consume(Subscription {
        queue: "test_peers_elsewhere".to_owned(),
        shape: Shape::Own,
        dead: None,
        // Declared as peers declare theirs.
        results: Some(QUEUE.to_owned()),
        patterns: Vec::new(),
        prefetch: 1,
        auto_settle: true,
    });
    process.connected().await;
    eventually("the queue is there", || async { matches!(process.bus.depth(QUEUE).await, Ok(Some(_))) }).await;
    process.bus.tell_peers(QUEUE, &body).await.unwrap();
    eventually("it waits there", || async { process.bus.depth(QUEUE).await.unwrap() == Some(1) }).await;
    let told = process.transport.take(QUEUE).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&told.body).unwrap(), body);
    assert!(told.header(roadstead_bus::header::SIGNATURE).is_none() && told.reply_to.is_none());
    let large = "x".repeat(roadstead_bus::BODY_MAX);
    assert!(process.bus.tell_peers(QUEUE, &large).await.is_err());
}
