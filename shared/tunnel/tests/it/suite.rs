//! One suite, run over each transport.

use std::time::Duration;

use bytes::Bytes;
use roadstead_tunnel::{Class, CloseReason, Code, Error, Event, Incoming, Options, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::transports::{Ends, Kind, connect};

const PATIENCE: Duration = Duration::from_secs(30);

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod over_pipe {
            $(#[tokio::test] async fn $name() { super::run(super::$name(super::Kind::Pipe)).await; })*
        }
        mod over_framed {
            $(#[tokio::test] async fn $name() { super::run(super::$name(super::Kind::Framed)).await; })*
        }
        mod over_websocket {
            $(#[tokio::test] async fn $name() { super::run(super::$name(super::Kind::WebSocket)).await; })*
        }
        mod over_tcp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::run(super::$name(super::Kind::Tcp)).await; })*
        }
    };
}

suite![
    a_stream_carries_a_question_and_its_answer,
    both_sides_may_open,
    bulk_arrives_whole,
    many_streams_at_once,
    a_stalled_reader_stops_nobody_else,
    a_reset_reaches_the_other_side,
    a_dropped_stream_is_cut,
    notices_arrive_in_order,
    closing_tells_the_reason,
    what_was_sent_before_the_end_can_be_read_after_it,
    handles_end_the_session,
    cutting_the_tasks_ends_both,
    heads_and_notices_have_a_limit,
];

async fn run(test: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, test).await.expect("test hung");
}

async fn next_stream(incoming: &mut Incoming) -> (Bytes, Stream) {
    match incoming.next().await {
        Some(Event::Stream { head, stream }) => (head, stream),
        other => panic!("{other:?}"),
    }
}

/// Answers each stream with what came in, until the session ends.
async fn echo(mut incoming: Incoming) {
    while let Some(event) = incoming.next().await {
        let Event::Stream { mut stream, .. } = event else { continue };
        tokio::spawn(async move {
            while let Ok(Some(bytes)) = stream.chunk().await {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = stream.shutdown().await;
        });
    }
}

async fn a_stream_carries_a_question_and_its_answer(kind: Kind) {
    let Ends { hub, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    let mut asked = hub.open(Bytes::from_static(b"head"), Class::Interactive).unwrap();
    asked.write_all(b"question").await.unwrap();
    asked.shutdown().await.unwrap();
    let (head, mut stream) = next_stream(&mut agent_incoming).await;
    assert_eq!(head, "head");
    let mut question = String::new();
    stream.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    asked.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    drop((asked, stream));
    while hub.open_streams() > 0 {
        tokio::task::yield_now().await;
    }
    tasks.cut();
}

async fn both_sides_may_open(kind: Kind) {
    let Ends { hub, agent, hub_incoming, agent_incoming, tasks } = connect(kind, Options::default()).await;
    tokio::spawn(echo(hub_incoming));
    tokio::spawn(echo(agent_incoming));
    for session in [&hub, &agent] {
        let mut stream = session.open(Bytes::new(), Class::Interactive).unwrap();
        stream.write_all(b"there and back").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).await.unwrap();
        assert_eq!(back, "there and back");
    }
    tasks.cut();
}

async fn bulk_arrives_whole(kind: Kind) {
    const LENGTH: usize = 5 * 1024 * 1024 + 17;
    let Ends { hub, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    let mut stream = hub.open(Bytes::new(), Class::Bulk).unwrap();
    let (_, mut source) = next_stream(&mut agent_incoming).await;
    let sent: Bytes = (0..LENGTH).map(|at| (at * 31 + (at >> 9)) as u8).collect();
    let copy = sent.clone();
    tokio::spawn(async move {
        source.write_all(&copy).await.unwrap();
        source.shutdown().await.unwrap();
    });
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert!(read == sent);
    tasks.cut();
}

async fn many_streams_at_once(kind: Kind) {
    let Ends { hub, agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    tokio::spawn(echo(agent_incoming));
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..100u32 {
        let hub = hub.clone();
        waiting.spawn(async move {
            let class = if number % 3 == 0 { Class::Bulk } else { Class::Interactive };
            let mut stream = hub.open(Bytes::new(), class).unwrap();
            let sent = vec![number as u8; 500 * number as usize];
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            let write = async {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            let ((), done) = tokio::join!(write, reader.read_to_end(&mut read));
            done.unwrap();
            assert_eq!(read, sent);
        });
    }
    while let Some(done) = waiting.join_next().await {
        done.unwrap();
    }
    assert_eq!(hub.counters().offences, 0);
    tasks.cut();
}

async fn a_stalled_reader_stops_nobody_else(kind: Kind) {
    let Ends { hub, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    // A download that nobody reads.
    let stalled = hub.open(Bytes::new(), Class::Bulk).unwrap();
    let (_, mut source) = next_stream(&mut agent_incoming).await;
    tokio::spawn(async move { while source.write_all(&[0; 64 * 1024]).await.is_ok() {} });
    tokio::spawn(echo(agent_incoming));
    for _ in 0..50 {
        let mut stream = hub.open(Bytes::new(), Class::Interactive).unwrap();
        stream.write_all(&[1; 3_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 3_000);
    }
    assert!(hub.buffered() <= 1024 * 1024, "{}", hub.buffered());
    drop(stalled);
    while hub.open_streams() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(hub.buffered(), 0);
    tasks.cut();
}

async fn a_reset_reaches_the_other_side(kind: Kind) {
    let Ends { hub, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    let mut asked = hub.open(Bytes::new(), Class::Interactive).unwrap();
    let (_, stream) = next_stream(&mut agent_incoming).await;
    stream.reset(Code::DEADLINE);
    let error = asked.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(Stream::reset_code(&error), Some(Code::DEADLINE));
    let error = asked.write_all(b"too late").await.unwrap_err();
    assert_eq!(Stream::reset_code(&error), Some(Code::DEADLINE));
    tasks.cut();
}

async fn a_dropped_stream_is_cut(kind: Kind) {
    let Ends { hub, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    let asked = hub.open(Bytes::new(), Class::Interactive).unwrap();
    let (_, mut stream) = next_stream(&mut agent_incoming).await;
    drop(asked);
    let error = stream.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(Stream::reset_code(&error), Some(Code::CANCELLED));
    tasks.cut();
}

async fn notices_arrive_in_order(kind: Kind) {
    let Ends { hub, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    for number in 0..10u8 {
        hub.notify(Bytes::from(vec![number; 100])).unwrap();
    }
    for number in 0..10u8 {
        match agent_incoming.next().await {
            Some(Event::Notice(bytes)) => assert_eq!(bytes, vec![number; 100]),
            other => panic!("{other:?}"),
        }
    }
    tasks.cut();
}

async fn closing_tells_the_reason(kind: Kind) {
    let Ends { hub, agent, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    let mut asked = agent.open(Bytes::new(), Class::Interactive).unwrap();
    hub.close("agent was revoked");
    assert_eq!(agent.closed().await, CloseReason::Remote("agent was revoked".to_owned()));
    assert_eq!(hub.closed().await, CloseReason::Local("agent was revoked".to_owned()));
    assert!(agent_incoming.next().await.is_none());
    assert!(asked.read(&mut [0; 1]).await.is_err());
    assert!(matches!(agent.open(Bytes::new(), Class::Interactive), Err(Error::Closed(_))));
    tasks.finish(Duration::from_secs(5)).await;
}

async fn what_was_sent_before_the_end_can_be_read_after_it(kind: Kind) {
    let Ends { hub, agent, mut agent_incoming, tasks, .. } = connect(kind, Options::default()).await;
    let mut asked = hub.open(Bytes::new(), Class::Interactive).unwrap();
    let (_, mut stream) = next_stream(&mut agent_incoming).await;
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut first = [0; 4];
    asked.read_exact(&mut first).await.unwrap();
    agent.close("bye");
    hub.closed().await;
    let mut rest = String::new();
    asked.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, " words");
    tasks.cut();
}

async fn handles_end_the_session(kind: Kind) {
    let Ends { hub, hub_incoming, agent, tasks, .. } = connect(kind, Options::default()).await;
    let clone = hub.clone();
    drop(hub);
    drop(hub_incoming);
    tokio::task::yield_now().await;
    assert_eq!(agent.close_reason(), None);
    drop(clone);
    assert!(matches!(agent.closed().await, CloseReason::Remote(_)));
    tasks.finish(Duration::from_secs(5)).await;
}

async fn cutting_the_tasks_ends_both(kind: Kind) {
    let Ends { hub, agent, tasks, .. } = connect(kind, Options::default()).await;
    tasks.cut();
    assert!(matches!(hub.closed().await, CloseReason::Cut | CloseReason::Lost(_)));
    assert!(matches!(agent.closed().await, CloseReason::Cut | CloseReason::Lost(_)));
}

async fn heads_and_notices_have_a_limit(kind: Kind) {
    // The other end stays for the whole test: without its handles the session would end under our feet.
    let ends = connect(kind, Options { streams_max: 3, ..Options::default() }).await;
    let Ends { hub, tasks, .. } = &ends;
    let long = Bytes::from(vec![0; 64 * 1024]);
    assert!(matches!(hub.open(long.clone(), Class::Bulk), Err(Error::HeadTooLong(_))));
    assert!(matches!(hub.notify(long), Err(Error::NoticeTooLong(_))));
    let open: Vec<_> = (0..3).map(|_| hub.open(Bytes::new(), Class::Bulk).unwrap()).collect();
    assert_eq!(hub.open(Bytes::new(), Class::Bulk).unwrap_err(), Error::TooManyStreams);
    drop(open);
    tasks.cut();
}

#[tokio::test(start_paused = true)]
async fn quiet_sessions_live_on_pings() {
    let Ends { hub, agent, tasks, hub_incoming, agent_incoming } = connect(Kind::Pipe, Options::default()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((hub.close_reason(), agent.close_reason()), (None, None));
    assert!(hub.last_heard().elapsed() <= Duration::from_secs(9));
    assert!(agent.last_heard().elapsed() <= Duration::from_secs(9));
    drop((hub_incoming, agent_incoming));
    tasks.cut();
}

#[tokio::test(start_paused = true)]
async fn twenty_seconds_of_silence_are_death() {
    // The other end is there, but nobody drives it.
    let (hub_end, agent_end) = roadstead_tunnel::transport::pipe();
    let tasks = roadstead_runtime::Tasks::new();
    let began = tokio::time::Instant::now();
    let (hub, _incoming) = roadstead_tunnel::start(hub_end, roadstead_tunnel::Role::Hub, Options::default(), &tasks);
    assert_eq!(hub.closed().await, CloseReason::Silent);
    assert!(began.elapsed() <= Duration::from_secs(21), "{:?}", began.elapsed());
    drop(agent_end);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_cut() {
    let (hub_end, agent_end) = tokio::io::duplex(100);
    let tasks = roadstead_runtime::Tasks::new();
    let transport = roadstead_tunnel::transport::Framed::new(hub_end);
    let options = Options { silence_limit: Duration::from_secs(3_600), ..Options::default() };
    let (hub, _incoming) = roadstead_tunnel::start(transport, roadstead_tunnel::Role::Hub, options, &tasks);
    hub.notify(Bytes::from(vec![0; 1_000])).unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(hub.closed().await, CloseReason::SendTimeout);
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
    drop(agent_end);
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_not_a_dead_one() {
    let (hub_end, mut agent_end) = tokio::io::duplex(64);
    let tasks = roadstead_runtime::Tasks::new();
    let transport = roadstead_tunnel::transport::Framed::new(hub_end);
    let options = Options { silence_limit: Duration::from_secs(3_600), ..Options::default() };
    let (hub, _incoming) = roadstead_tunnel::start(transport, roadstead_tunnel::Role::Hub, options, &tasks);
    for _ in 0..10 {
        hub.notify(Bytes::from(vec![0; 500])).unwrap();
    }
    let mut piece = [0; 64];
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        agent_end.read_exact(&mut piece).await.unwrap();
        assert_eq!(hub.close_reason(), None);
    }
}
