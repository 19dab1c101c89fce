//! An authenticated, limited request against the framework's bare handler (goal: at least 0.8 times the rate).
//!
//! Both are servers in processes of their own with the same body and the same number of workers. `full` has everything
//! that stands before a handler at the front door: the frame (request id, address, path, limits, security headers,
//! metrics), quotas, and an API key out of 10,000 known ones, as the front door's cache has them. `--hub` adds a route of a
//! whole hub, whose handler asks another service over the in-process bus and a database: reported, without a goal.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use clap::{Parser, ValueEnum};
use roadstead_auth::token::{Kind, TwoPart, api_key_proof};
use roadstead_benches::figures::{Spread, microseconds, percentile, verdict};
use roadstead_benches::hub::{Hub, Options};
use roadstead_benches::load::{self, Target};
use roadstead_benches::machine;
use roadstead_benches::process::{Running, processor_time};
use roadstead_contracts::Code;
use roadstead_contracts::identity::{Action, CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::ApiKeyId;
use roadstead_contracts::message::CredentialProof;
use roadstead_http_kit::{
    Access, Authenticator, Caller, Credential, Front, Limiter, Limits, Listener, RateClass, RateSettings,
    RequestContext, Routes, ServeOptions, serve,
};
use roadstead_runtime::{Ids, SystemClock, Tasks};
use roadstead_telemetry::Metrics;

/// The allocator that the product's program has, for both contenders.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Known keys.
const KEYS: usize = 10_000;
/// Seed of the keys, so that both processes know the same.
const SEED: u64 = 16;
/// Connections of the load.
const CONNECTIONS: usize = 32;
/// Threads that serve: the rest of two cores asks.
const WORKERS: usize = 2;
/// Body of both handlers.
const BODY: &str =
    r#"{"status":"ok","clusters":[{"id":"0198c5b0-0000-7000-8000-000000000001","name":"prod","status":"connected"}]}"#;

/// What can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    Bare,
    Full,
}

#[derive(Parser)]
struct Arguments {
    /// Rounds; the first is dropped.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of each slice.
    #[arg(long, default_value_t = 4.0)]
    slice: f64,
    /// Measure a whole hub besides.
    #[arg(long)]
    hub: bool,
    /// Serve; started by the program itself.
    #[arg(long, value_enum, hide = true)]
    serve: Option<Server>,
    /// Port to serve on.
    #[arg(long, default_value_t = 0, hide = true)]
    port: u16,
}

fn main() -> Result<()> {
    roadstead_runtime::install_crypto();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    match arguments.serve {
        Some(Server::Bare) => actix_web::rt::System::new().block_on(bare(arguments.port)),
        Some(Server::Full) => runtime.block_on(full(arguments.port)),
        None => runtime.block_on(measure(&arguments)),
    }
}

async fn bare(port: u16) -> Result<()> {
    let handler = || async { HttpResponse::Ok().content_type("application/json").body(BODY) };
    HttpServer::new(move || App::new().route("/clusters", web::get().to(handler)))
        .workers(WORKERS)
        .bind(("127.0.0.1", port))?
        .run()
        .await
        .context("the bare server failed")
}

async fn full(port: u16) -> Result<()> {
    let clock = SystemClock::shared();
    let tasks = Tasks::new();
    let front = Arc::new(Front {
        ids: Ids::system(clock.clone()),
        clock,
        trusted_proxies: Vec::new(),
        forwarded_by: None,
        limits: Limits::default(),
        metrics: Arc::new(Metrics::new()),
        authenticator: Arc::new(Known::new()),
        limiter: Limiter::new(RateSettings { api: u32::MAX, ..RateSettings::default() }, None),
    });
    let socket = TcpListener::bind(("127.0.0.1", port))?;
    let options = ServeOptions {
        name: "full",
        listeners: vec![Listener { socket, tls: None }],
        workers: WORKERS,
        head_time: Duration::from_secs(10),
        grace: Duration::from_secs(1),
    };
    let behind = Arc::clone(&front);
    serve(&tasks, options, front, move |config: &mut web::ServiceConfig| {
        let access = Access::Action(Action::ClustersRead);
        Routes::new(Arc::clone(&behind))
            .add(Method::GET, "/api/v1/clusters", access, RateClass::Api, handler)
            .mount(config);
    })?;
    std::future::pending().await
}

async fn handler(caller: Caller) -> HttpResponse {
    if caller.principal.roles.is_empty() {
        return HttpResponse::Forbidden().finish();
    }
    HttpResponse::Ok().content_type("application/json").body(BODY)
}

fn keys() -> impl Iterator<Item = TwoPart> {
    let ids = Ids::seeded(SystemClock::shared(), SEED);
    (0..KEYS).map(move |number| {
        let id: ApiKeyId = roadstead_contracts::ids::TypedId::from_uuid(uuid_of(number));
        TwoPart::new(Kind::ApiKey, id, &ids)
    })
}

/// The same id in both processes: a UUIDv7 would hold the time.
fn uuid_of(number: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0198_c5b0_0000_7000_8000_0000_0000_0000 + number as u128)
}

/// Callers as the front door keeps them for three seconds: a digest of what is shown, and a look.
struct Known(Mutex<HashMap<CredentialProof, Caller>>);

impl Known {
    fn new() -> Self {
        let clock = SystemClock::shared();
        let ids = Ids::system(clock);
        let known = keys().filter_map(|key| {
            let principal = Principal {
                user_id: ids.next(),
                user_seq: 1,
                username: "bench".to_owned(),
                email: "bench@example.com".to_owned(),
                roles: [Role::Admin].into(),
                reach: Reach::All,
                credential: CredentialKind::ApiKey(key.id()),
                scope: None,
                permissions: None,
                rules: Vec::new(),
            };
            let proof = api_key_proof(key.format().expose())?;
            Some((proof.clone(), Caller { principal: Arc::new(principal), proof: Arc::new(proof) }))
        });
        Self(Mutex::new(known.collect()))
    }
}

#[async_trait]
impl Authenticator for Known {
    fn known(&self, credential: &Credential) -> Option<Caller> {
        let Credential::ApiKey(key) = credential else { return None };
        let proof = api_key_proof(key.expose())?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&proof).cloned()
    }

    async fn authenticate(&self, credential: &Credential, _: &RequestContext) -> roadstead_contracts::Result<Caller> {
        self.known(credential).ok_or_else(|| Code::InvalidCredential.into())
    }
}

struct Contender {
    name: &'static str,
    target: Target,
    pid: u32,
}

async fn measure(arguments: &Arguments) -> Result<()> {
    println!("# An authenticated request against the framework's bare handler\n\n{}", machine::describe());
    let own = std::env::current_exe()?;
    let [bare_port, full_port] = roadstead_testkit::ports::free::<2>()?;
    let start = |server: &str, port: u16| {
        Running::start(Command::new(&own).args(["--serve", server, "--port", &port.to_string()]))
    };
    let (bare, full) = (start("bare", bare_port)?, start("full", full_port)?);
    let key = keys().nth(KEYS / 2).context("no keys")?;
    let target = |port: u16, path: &str, key: Option<&str>| Target {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        path: path.to_owned(),
        headers: key.map_or_else(String::new, |key| format!("X-API-Key: {key}\r\n")),
    };
    let mut contenders = vec![
        Contender { name: "bare handler", target: target(bare_port, "/clusters", None), pid: bare.pid() },
        Contender {
            name: "authenticated, limited",
            target: target(full_port, "/api/v1/clusters", Some(key.format().expose())),
            pid: full.pid(),
        },
    ];
    let hub = if arguments.hub {
        let limit = ("ROADSTEAD_RATE_LIMIT_API_PER_MINUTE".to_owned(), "100000000".to_owned());
        Some(Hub::start(Options { environment: vec![limit], ..Options::default() }).await?)
    } else {
        None
    };
    if let Some(hub) = &hub {
        let port = hub.first.url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok());
        contenders.push(Contender {
            name: "a whole hub: list of clusters",
            target: target(port.context("no port")?, "/api/v1/clusters", Some(hub.api_key()?)),
            pid: hub.pid()?,
        });
    }
    for contender in &contenders {
        ready(&contender.target).await.with_context(|| format!("{} is not ready", contender.name))?;
    }
    let mut rounds: Vec<Vec<[f64; 4]>> = Vec::new();
    for round in 0..arguments.rounds {
        let mut figures = vec![[0.0; 4]; contenders.len()];
        for turn in 0..contenders.len() {
            let index = (turn + round) % contenders.len();
            let contender = &contenders[index];
            let before = processor_time(contender.pid)?;
            let slice = load::run(&contender.target, CONNECTIONS, Duration::from_secs_f64(arguments.slice)).await?;
            let used = processor_time(contender.pid)?.saturating_sub(before);
            let times = microseconds(&slice.times);
            #[expect(clippy::cast_precision_loss, reason = "counts of a slice")]
            let each = used.as_secs_f64() * 1e6 / slice.answers.max(1) as f64;
            figures[index] = [slice.per_second()?, percentile(&times, 0.5), percentile(&times, 0.99), each];
        }
        // The first round warms up.
        if round > 0 {
            rounds.push(figures);
        }
    }
    report(&contenders, &rounds);
    Ok(())
}

async fn ready(target: &Target) -> Result<()> {
    for _ in 0..200 {
        if load::run(target, 1, Duration::from_millis(1)).await.is_ok_and(|slice| slice.answers > 0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("{} does not answer with 200", target.address)
}

fn report(contenders: &[Contender], rounds: &[Vec<[f64; 4]>]) {
    let spread =
        |index: usize, figure: usize| Spread::of(&rounds.iter().map(|round| round[index][figure]).collect::<Vec<_>>());
    println!("| contender | a second | p50 µs | p99 µs | processor µs a request |\n|---|---|---|---|---|");
    for (index, contender) in contenders.iter().enumerate() {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.1} |",
            contender.name,
            spread(index, 0),
            spread(index, 1),
            spread(index, 2),
            spread(index, 3)
        );
    }
    println!();
    for index in 1..contenders.len() {
        let ratio = |figure: usize| {
            Spread::of(&rounds.iter().map(|round| round[index][figure] / round[0][figure]).collect::<Vec<_>>())
        };
        println!("- {} / bare: rate {:.2}, processor time {:.2}", contenders[index].name, ratio(0), ratio(3));
        if index == 1 {
            println!("{}", verdict("authenticated / bare, rate", ratio(0).median, 0.8, false));
        }
    }
}
