//! A question over the bus against a bare lapin ping on the same broker (goals: at most 2.5 times, and at least
//! 0.9 times the rate of a bare lapin request and answer with 64 in flight).
//!
//! `ROADSTEAD_TEST_RABBITMQ_URL` names the broker. The answering side is a process of its own. Slices of the contenders
//! alternate, in another order each round.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use roadstead_auth::mesh::MeshKey;
use roadstead_benches::figures::{Spread, microseconds, percentile, verdict};
use roadstead_benches::machine;
use roadstead_benches::process::{Running, processor_time};
use roadstead_bus::rabbit::{Options, Rabbit};
use roadstead_bus::{Bus, CallContext, Counts, Member, Router, ServeOptions};
use roadstead_contracts::message::Request;
use roadstead_contracts::queue::{Queue, QueueKind};
use roadstead_runtime::client_tls::ClientTls;
use roadstead_runtime::{Ids, Secret, SystemClock, Tasks};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Body of every message, as in the anchor's measurement.
const BODY: usize = 512;
/// Questions in flight for the rate.
const IN_FLIGHT: usize = 64;
const BARE_QUEUE: &str = "roadstead_bench_bare";

#[derive(Parser)]
struct Arguments {
    /// Rounds; the first is dropped.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of each slice.
    #[arg(long, default_value_t = 4.0)]
    slice: f64,
    /// The answering side; started by the program itself.
    #[arg(long, hide = true)]
    serve: bool,
}

macro_rules! asks {
    ($($name:ident $queue:literal $kind:ident;)*) => {$(
        #[derive(Serialize, Deserialize)]
        struct $name { padding: String }
        impl Request for $name {
            const QUEUE: Queue = Queue { requests: $queue, results: concat!($queue, "_results"), kind: QueueKind::$kind };
            const KIND: &'static str = "bench.v1";
            type Reply = Padding;
        }
    )*};
}

#[derive(Serialize, Deserialize)]
struct Padding {
    padding: String,
}

asks! {
    AskLookup "roadstead_bench_lookup" Lookup;
    AskChange "roadstead_bench_change" Change;
}

fn url() -> Result<String> {
    std::env::var("ROADSTEAD_TEST_RABBITMQ_URL").context("ROADSTEAD_TEST_RABBITMQ_URL is not set: cargo xtask dev up")
}

fn padding() -> String {
    "p".repeat(BODY - r#"{"padding":""}"#.len())
}

#[tokio::main]
async fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    if arguments.serve { serve().await } else { measure(&arguments).await }
}

async fn bus(service: &'static str) -> Result<Bus> {
    let clock = SystemClock::shared();
    let (ids, tasks) = (Ids::system(clock.clone()), Tasks::new());
    let options = Options {
        url: Secret::new(url()?),
        tls: ClientTls::default(),
        name: service.to_owned(),
        ids: ids.clone(),
        tasks: tasks.clone(),
    };
    let member = Member {
        mesh_key: MeshKey::new(&Secret::new("mesh-secret-of-the-benchmark-0123456789")).map_err(anyhow::Error::from)?,
        service,
        replica: ids.next(),
        ids,
        clock,
        tasks,
        meter: Arc::new(Counts::default()),
    };
    let bus = Bus::new(Arc::new(Rabbit::open(options)?), member);
    bus.connected().wait_for(|connected| *connected).await?;
    Ok(bus)
}

/// Answers both contenders until it is ended.
async fn serve() -> Result<()> {
    let bus = bus("bench-server").await?;
    macro_rules! echo {
        ($($ask:ident)*) => {$(
            let router = Router::new($ask::QUEUE).on(|ask: $ask, _| async move { Ok(Padding { padding: ask.padding }) });
            bus.serve(router, ServeOptions::default()).await?;
        )*};
    }
    echo!(AskLookup AskChange);
    let bare = Bare::new(BARE_QUEUE).await?;
    bare.answer().await
}

/// Lapin as it comes: no envelope, no signature, no deadline, no confirms.
struct Bare {
    _connections: [Connection; 2],
    channel: Channel,
    consumer: Consumer,
    queue: ShortString,
}

impl Bare {
    /// A durable queue by name, or with an empty name an exclusive one.
    async fn new(name: &str) -> Result<Self> {
        let connect =
            || async { Connection::connect(&url()?, ConnectionProperties::default()).await.context("no broker") };
        let (publish, read) = (connect().await?, connect().await?);
        let channel = read.create_channel().await?;
        let own = name.is_empty();
        let options =
            QueueDeclareOptions { durable: !own, exclusive: own, auto_delete: own, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(name.into(), options, FieldTable::default()).await?.name().clone();
        let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.clone(), "".into(), no_ack, FieldTable::default()).await?;
        let channel = publish.create_channel().await?;
        Ok(Self { _connections: [publish, read], channel, consumer, queue })
    }

    async fn publish(&self, queue: ShortString, properties: BasicProperties) -> Result<()> {
        let body = [b'p'; BODY];
        self.channel.basic_publish("".into(), queue, BasicPublishOptions::default(), &body, properties).await?;
        Ok(())
    }

    async fn answer(mut self) -> Result<()> {
        while let Some(delivery) = self.consumer.next().await {
            let delivery = delivery?;
            if let Some(queue) = delivery.properties.reply_to().clone() {
                self.publish(queue, BasicProperties::default()).await?;
            }
        }
        Ok(())
    }

    /// One message to oneself and back.
    async fn ping(&mut self, until: Instant) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            self.publish(self.queue.clone(), BasicProperties::default()).await?;
            self.consumer.next().await.context("the consumer ended")??;
            times.push(began.elapsed());
        }
        Ok(times)
    }

    /// Questions and answers, so many in flight; answers are told apart by nothing but their number.
    async fn ask(&mut self, in_flight: usize, until: Instant) -> Result<Vec<Duration>> {
        let ask = BasicProperties::default().with_reply_to(self.queue.clone());
        let mut times = Vec::new();
        let mut sent = std::collections::VecDeque::new();
        loop {
            while sent.len() < in_flight && Instant::now() < until {
                sent.push_back(Instant::now());
                self.publish(BARE_QUEUE.into(), ask.clone()).await?;
            }
            let Some(began) = sent.pop_front() else { return Ok(times) };
            self.consumer.next().await.context("the consumer ended")??;
            times.push(began.elapsed());
        }
    }
}

/// Our questions, so many in flight.
async fn ours<R>(bus: &Bus, make: fn(String) -> R, in_flight: usize, until: Instant) -> Result<Vec<Duration>>
where
    R: Request<Reply = Padding>,
{
    let mut set = JoinSet::new();
    let faults = Arc::new(AtomicU64::new(0));
    for _ in 0..in_flight {
        let (bus, faults) = (bus.clone(), Arc::clone(&faults));
        set.spawn(async move {
            let (ask, within) = (make(padding()), CallContext::new(Duration::from_secs(10), "bench"));
            let mut times = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                match bus.call(&ask, &within).await {
                    Ok(reply) if reply.padding.len() == ask_length() => times.push(began.elapsed()),
                    _ => drop(faults.fetch_add(1, Ordering::Relaxed)),
                }
            }
            times
        });
    }
    let mut all = Vec::new();
    while let Some(times) = set.join_next().await {
        all.extend(times?);
    }
    anyhow::ensure!(faults.load(Ordering::Relaxed) == 0, "{} questions failed", faults.load(Ordering::Relaxed));
    Ok(all)
}

fn ask_length() -> usize {
    padding().len()
}

const CONTENDERS: [&str; 7] = [
    "bare ping",
    "bare question",
    "our look-up",
    "our change",
    "bare question, 64 in flight",
    "our look-up, 64 in flight",
    "our change, 64 in flight",
];

/// What one slice of a contender showed: microseconds, and a second.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    p50: f64,
    p99: f64,
    rate: f64,
    /// Processor time of both processes for each, microseconds; the broker's is not in it.
    cost: f64,
}

async fn measure(arguments: &Arguments) -> Result<()> {
    println!("# A question over the bus against bare lapin\n\n{}", machine::describe());
    let server = Running::start(Command::new(std::env::current_exe()?).arg("--serve"))?;
    let used = || Ok::<_, anyhow::Error>(processor_time(server.pid())? + processor_time(std::process::id())?);
    let bus = bus("bench-client").await?;
    let mut bare = Bare::new("").await?;
    // Until the other side is there.
    for make in [0, 1] {
        let within = CallContext::new(Duration::from_secs(1), "warm-up");
        for _ in 0..60 {
            let done = match make {
                0 => bus.call(&AskLookup { padding: padding() }, &within).await.is_ok(),
                _ => bus.call(&AskChange { padding: padding() }, &within).await.is_ok(),
            };
            if done {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    for round in 0..arguments.rounds {
        let mut figures = vec![Figures::default(); CONTENDERS.len()];
        for turn in 0..CONTENDERS.len() {
            let contender = (turn + round) % CONTENDERS.len();
            let until = Instant::now() + Duration::from_secs_f64(arguments.slice);
            let (began, before) = (Instant::now(), used()?);
            let times = match contender {
                0 => bare.ping(until).await?,
                1 => bare.ask(1, until).await?,
                2 => ours(&bus, |padding| AskLookup { padding }, 1, until).await?,
                3 => ours(&bus, |padding| AskChange { padding }, 1, until).await?,
                4 => bare.ask(IN_FLIGHT, until).await?,
                5 => ours(&bus, |padding| AskLookup { padding }, IN_FLIGHT, until).await?,
                _ => ours(&bus, |padding| AskChange { padding }, IN_FLIGHT, until).await?,
            };
            #[expect(clippy::cast_precision_loss, reason = "counts of a slice")]
            let number = times.len().max(1) as f64;
            let rate = number / began.elapsed().as_secs_f64();
            let cost = used()?.saturating_sub(before).as_secs_f64() * 1e6 / number;
            let times = microseconds(&times);
            let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
            figures[contender] = Figures { p50, p99, rate, cost };
        }
        // The first round warms up.
        if round > 0 {
            rounds.push(figures);
        }
    }
    report(&rounds);
    println!(
        "- fdatasync p50 afterwards {:.2} ms, load average {}",
        machine::fdatasync_milliseconds(),
        machine::load_average()
    );
    Ok(())
}

fn report(rounds: &[Vec<Figures>]) {
    let spread =
        |pick: &dyn Fn(&[Figures]) -> f64| Spread::of(&rounds.iter().map(|round| pick(round)).collect::<Vec<_>>());
    println!(
        "| contender | p50 µs | p99 µs | a second | processor µs each, without the broker |\n|---|---|---|---|---|"
    );
    for (index, name) in CONTENDERS.iter().enumerate() {
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} |",
            spread(&|round| round[index].p50),
            spread(&|round| round[index].p99),
            spread(&|round| round[index].rate),
            spread(&|round| round[index].cost)
        );
    }
    let latency = |ours: usize, bare: usize| spread(&move |round| round[ours].p50 / round[bare].p50);
    let rate = |ours: usize, bare: usize| spread(&move |round| round[ours].rate / round[bare].rate);
    println!("\nratios, per round, median (least to most):\n");
    println!("- look-up / bare ping, p50: {:.2}", latency(2, 0));
    println!("- change / bare ping, p50: {:.2}", latency(3, 0));
    println!("- look-up / bare question, p50: {:.2}", latency(2, 1));
    println!("- look-ups / bare questions a second, 64 in flight: {:.2}", rate(5, 4));
    println!("- changes / bare questions a second, 64 in flight: {:.2}\n", rate(6, 4));
    println!("{}", verdict("look-up / bare ping", latency(2, 0).median, 2.5, true));
    println!("{}", verdict("change / bare ping", latency(3, 0).median, 9.0, true));
    println!("{}", verdict("look-ups / bare questions a second", rate(5, 4).median, 0.9, false));
}
