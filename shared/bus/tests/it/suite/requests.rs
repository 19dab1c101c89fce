use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_bus::{BODY_MAX, Router, ServeOptions, replica_queue};
use roadstead_contracts::ids::ApiKeyId;
use roadstead_contracts::message::{Authenticate, CredentialProof, Request};
use roadstead_contracts::{Code, Error};

use super::*;
use crate::rig::{MESH_SECRET, Rig, context, eventually, ids};

pub async fn answers_and_errors_come_back(rig: Rig) {
    rig.clean(&["test_answers_seed", "test_answers_lookup", "test_answers_change"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    macro_rules! check {
        ($($ask:ident)*) => {$(
            let router = Router::new($ask::QUEUE).on(|ask: $ask, incoming| async move {
                assert_eq!((incoming.service.as_str(), incoming.request_id.as_str()), ("cluster", "request-1"));
                assert!(!incoming.redelivered && incoming.message_id.len() == 36);
                if ask.number == 0 { Err(Error::not_found("no such number").retry_after(7)) } else { Ok(told(ask.number)) }
            });
            server.bus.serve(router, ServeOptions::default()).await.unwrap();
            server.connected().await;
            let ask = |number| $ask { number, ..$ask::default() };
            assert_eq!(asker.bus.call(&ask(7), &context(5_000)).await.unwrap(), told(7));
            let error = asker.bus.call(&ask(0), &context(5_000)).await.unwrap_err();
            assert_eq!(error, Error::not_found("no such number").retry_after(7));
        )*};
    }
    check!(AskSeed AskLookup AskChange);
    assert_eq!(asker.counts.get(roadstead_bus::Count::Answered, "ask.v1"), 6);
    assert_eq!(server.counts.get(roadstead_bus::Count::Handled, "ask.v1"), 6);
}

pub async fn answers_are_never_mixed_up(rig: Rig) {
    const EACH: u64 = 1_000;
    rig.clean(&["test_mixed"]).await;
    let (one, two) = (rig.process("cluster").await, rig.process("cluster").await);
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server = rig.process("user").await;
        let router = Router::new(AskMixed::QUEUE).on(|ask: AskMixed, _| async move {
            // Out of order on purpose.
            tokio::time::sleep(Duration::from_millis(ask.number % 7)).await;
            Ok(told(ask.number))
        });
        server.bus.serve(router, ServeOptions::default()).await.unwrap();
        server.connected().await;
        servers.push(server);
    }
    let ask = |process: &crate::rig::Process, from: u64| {
        let bus = process.bus.clone();
        join_all((from..from + EACH).map(move |number| {
            let bus = bus.clone();
            async move {
                let reply = bus.call(&AskMixed { number, ..AskMixed::default() }, &context(30_000)).await.unwrap();
                assert_eq!(reply.number, number);
            }
        }))
    };
    tokio::join!(ask(&one, 0), ask(&two, 1_000_000));
    for process in [&one, &two] {
        assert_eq!(process.counts.total(roadstead_bus::Count::StrayAnswer), 0);
    }
    let handled: Vec<u64> = servers.iter().map(|server| server.counts.total(roadstead_bus::Count::Handled)).collect();
    assert_eq!(handled.iter().sum::<u64>(), 2 * EACH);
    assert!(handled.iter().all(|number| *number > 0), "one server did everything: {handled:?}");
}

pub async fn a_service_that_never_started_is_unavailable(rig: Rig) {
    rig.clean(&["test_nobody"]).await;
    let asker = rig.process("cluster").await;
    let began = std::time::Instant::now();
    let (ask, within) = (AskNobody::default(), context(10_000));
    // All at once: confirms come for several, and each must learn of its own return.
    let answers = join_all((0..50).map(|_| asker.bus.call(&ask, &within))).await;
    let codes: Vec<Code> = answers.into_iter().map(|answer| answer.unwrap_err().code).collect();
    assert_eq!(codes, vec![Code::Unavailable; 50]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

pub async fn a_service_that_does_not_answer_is_a_timeout(rig: Rig) {
    rig.clean(&["test_silent"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let router = Router::new(AskSilent::QUEUE).on(|_: AskSilent, _| async { std::future::pending().await });
    server.bus.serve(router, ServeOptions { concurrency: 1 }).await.unwrap();
    server.connected().await;
    let began = std::time::Instant::now();
    let error = asker.bus.call(&AskSilent::default(), &context(300)).await.unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    assert!((250..2_000).contains(&began.elapsed().as_millis()));
    // The stuck handler loses its place: the only one.
    eventually("the place is free again", || async { server.counts.get(roadstead_bus::Count::Expired, "ask.v1") == 1 })
        .await;
}

pub async fn a_replica_is_asked_by_its_own_queue(rig: Rig) {
    let asker = rig.process("onboarding").await;
    let mut replicas = Vec::new();
    for number in 0..2 {
        let replica = rig.process("onboarding").await;
        let router = Router::replica().on(move |_: AskForwarded, _| async move { Ok(told(number)) });
        replica.bus.serve(router, ServeOptions::default()).await.unwrap();
        replica.connected().await;
        replicas.push(replica);
    }
    for (number, replica) in (0..).zip(&replicas) {
        let queue = replica_queue("onboarding", replica.bus.replica());
        assert_eq!(queue, replica.bus.replica_queue());
        let reply = asker.bus.call_queue(&queue, &AskForwarded::default(), &context(5_000)).await.unwrap();
        assert_eq!(reply.number, number);
    }
    let gone = replica_queue("onboarding", ids().next());
    let error = asker.bus.call_queue(&gone, &AskForwarded::default(), &context(5_000)).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
}

pub async fn a_handler_for_another_queue_is_refused(rig: Rig) {
    let server = rig.process("user").await;
    let router = Router::new(AskMixed::QUEUE).on(|ask: AskSeed, _| async move { Ok(told(ask.number)) });
    let refused = server.bus.serve(router, ServeOptions::default()).await;
    assert!(matches!(refused, Err(roadstead_bus::Error::WrongQueue { .. })), "{refused:?}");
}

pub async fn large_bodies_are_refused(rig: Rig) {
    rig.clean(&["test_large"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let router = Router::new(AskLarge::QUEUE).on(|ask: AskLarge, _| async move {
        Ok(Told { number: 0, padding: "p".repeat(usize::try_from(ask.number).unwrap()) })
    });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    let ask = |number: usize, padding: usize| AskLarge { number: number as u64, padding: "p".repeat(padding) };
    // As large as it may be, both ways.
    let reply = asker.bus.call(&ask(BODY_MAX - 100, BODY_MAX - 100), &context(10_000)).await.unwrap();
    assert_eq!(reply.padding.len(), BODY_MAX - 100);
    for (number, padding) in [(0, BODY_MAX), (BODY_MAX, 0)] {
        let error = asker.bus.call(&ask(number, padding), &context(10_000)).await.unwrap_err();
        assert_eq!(error.code, Code::PayloadTooLarge);
    }
}

pub async fn no_more_handlers_run_than_asked(rig: Rig) {
    rig.clean(&["test_bounded"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (running.clone(), most.clone());
    let router = Router::new(AskBounded::QUEUE).on(move |ask: AskBounded, _| {
        let (running, most) = counted.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(told(ask.number))
        }
    });
    server.bus.serve(router, ServeOptions { concurrency: 3 }).await.unwrap();
    server.connected().await;
    let asks: Vec<AskBounded> = (0..30).map(|number| AskBounded { number, ..AskBounded::default() }).collect();
    let within = context(10_000);
    for answer in join_all(asks.iter().map(|ask| asker.bus.call(ask, &within))).await {
        answer.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

pub async fn what_runs_at_a_stop_is_answered(rig: Rig) {
    rig.clean(&["test_stopped"]).await;
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let started = Arc::new(AtomicUsize::new(0));
    let counted = started.clone();
    let router = Router::new(AskStopped::QUEUE).on(move |ask: AskStopped, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(told(ask.number))
        }
    });
    server.bus.serve(router, ServeOptions { concurrency: 1 }).await.unwrap();
    server.connected().await;
    let bus = asker.bus.clone();
    let first =
        tokio::spawn(async move { bus.call(&AskStopped { number: 1, ..Default::default() }, &context(5_000)).await });
    eventually("the first one runs", || async { started.load(Ordering::SeqCst) == 1 }).await;
    let bus = asker.bus.clone();
    let second =
        tokio::spawn(async move { bus.call(&AskStopped { number: 2, ..Default::default() }, &context(10_000)).await });
    eventually("the second one waits", || async { rig.outside().depth("test_stopped").await.unwrap() == Some(1) })
        .await;
    let began = std::time::Instant::now();
    tokio::join!(server.tasks.finish(Duration::from_secs(5)), async {
        assert_eq!(first.await.unwrap().unwrap(), told(1));
    });
    assert!(began.elapsed() < Duration::from_secs(8));
    // What it did not take is there for the next one.
    let next = rig.process("user").await;
    let router = Router::new(AskStopped::QUEUE).on(|ask: AskStopped, _| async move { Ok(told(ask.number * 10)) });
    next.bus.serve(router, ServeOptions::default()).await.unwrap();
    assert_eq!(second.await.unwrap().unwrap(), told(20));
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

/// Row Q10.
pub async fn no_secret_rides_a_message(rig: Rig) {
    let (asker, server) = (rig.process("cluster").await, rig.process("user").await);
    let secret = ids().token(32);
    let digest = roadstead_auth::token::digest(secret.expose());
    let router = Router::replica()
        .on(|_: Authenticate, _| async { Err::<<Authenticate as Request>::Reply, _>(Code::InvalidCredential.into()) });
    server.bus.serve(router, ServeOptions::default()).await.unwrap();
    server.connected().await;
    let ask = Authenticate {
        credential: CredentialProof::ApiKey { id: ids().next::<ApiKeyId>(), digest: digest.clone() },
        cluster_id: None,
        source: None,
        raise: None,
    };
    let answer = asker.bus.call_queue(&server.bus.replica_queue(), &ask, &context(5_000)).await;
    assert_eq!(answer.unwrap_err().code, Code::InvalidCredential);
    let captured = rig.captured();
    let holds = |text: &str| captured.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&digest), "the capture holds the message");
    assert!(!holds(secret.expose()) && !holds(MESH_SECRET));
}
