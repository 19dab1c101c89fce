use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roadstead_bus::{Router, ServeOptions};
use roadstead_contracts::Code;
use roadstead_runtime::Readiness;

use super::*;
use crate::rig::{Rig, context, eventually};

pub async fn a_lost_broker_is_an_error_at_once_and_comes_back(rig: Rig) {
    rig.clean(&["test_outage"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let running = Arc::new(AtomicUsize::new(0));
    let counted = running.clone();
    let router = Router::new(AskOutage::QUEUE).on(move |ask: AskOutage, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(Duration::from_millis(ask.number)).await;
            Ok(told(ask.number))
        }
    });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    let readiness = Readiness::new();
    asker.bus.report_to(readiness.register("bus"));
    eventually("ready", || async { readiness.is_ready() }).await;

    // In flight at the cut: told at once, not at the deadline.
    let bus = asker.bus.clone();
    let in_flight =
        tokio::spawn(
            async move { bus.call(&AskOutage { number: 60_000, ..Default::default() }, &context(60_000)).await },
        );
    eventually("it runs", || async { running.load(Ordering::SeqCst) == 1 }).await;
    rig.cut();
    let cut = Instant::now();
    assert_eq!(in_flight.await.unwrap().unwrap_err().code, Code::Unavailable);
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());

    // Away: an error at once, and readiness says so.
    eventually("not ready", || async { !readiness.is_ready() }).await;
    let began = Instant::now();
    let error = asker.bus.call(&AskOutage::default(), &context(10_000)).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let event = roadstead_contracts::event::Event {
        id: crate::rig::ids().next(),
        at: chrono::Utc::now(),
        fact: roadstead_contracts::event::Fact::AgentRevoked { agent_id: "agent".to_owned() },
    };
    assert!(asker.bus.emit(&event).await.is_err(), "an event that nobody took counts as not sent");
    assert!(!readiness.snapshot()[0].detail.is_empty());
    tokio::time::sleep(Duration::from_millis(1_500)).await;

    rig.restore();
    let back = Instant::now();
    eventually("answers again", || async { asker.bus.call(&AskOutage::default(), &context(1_000)).await.is_ok() })
        .await;
    assert!(back.elapsed() < Duration::from_secs(6), "{:?}", back.elapsed());
    eventually("ready again", || async { readiness.is_ready() }).await;
    asker.bus.emit(&event).await.unwrap();
}

pub async fn a_change_survives_a_lost_connection(rig: Rig) {
    rig.clean(&["test_survivor"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let router = Router::new(AskSurvivor::QUEUE).on(move |ask: AskSurvivor, incoming| {
        let first = {
            let mut kept = kept.lock().unwrap();
            kept.push((incoming.message_id, incoming.redelivered));
            kept.len() == 1
        };
        async move {
            if first {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Ok(told(ask.number))
        }
    });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    let bus = asker.bus.clone();
    let call = tokio::spawn(async move { bus.call(&AskSurvivor::default(), &context(30_000)).await });
    eventually("it runs", || async { seen.lock().unwrap().len() == 1 }).await;
    rig.cut();
    assert_eq!(call.await.unwrap().unwrap_err().code, Code::Unavailable);
    rig.restore();
    eventually("it is delivered again", || async { seen.lock().unwrap().len() >= 2 }).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0].0, seen[1].0, "the same message");
    assert!(!seen[0].1 && seen[1].1, "the second time is marked");
}
