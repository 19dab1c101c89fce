//! Changes while everything goes wrong, then the checker's five zeros:
//!
//! - [`deaths`]: `kill -9` of each process, and of each server under a mesh, at random times.
//! - [`points`]: each process dies at each named point of its own (`runtime::kill`).
//! - [`frames`]: the agent's WebSocket is cut behind every frame.
//! - [`races`]: a cancellation meets its operation at every step.
//! - [`messages`]: every message may come twice or five times, and out of turn (`bus::unruly`).
//!
//! The changes are the same mix everywhere ([`mix`]): applies, and what is not the same when it is done twice.
//!
//! The short form is part of every test run; `cargo xtask campaign operations` is the long one, on both layouts. A run is told
//! by its seed, which is printed: `ROADSTEAD_CAMPAIGN_SEED` plays it again as far as a machine can. No failed run is tried again.

pub(super) mod asking;
mod callers;
mod deaths;
mod frames;
mod messages;
mod mix;
mod points;
mod races;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use roadstead_mesh_tests::{Layout, TestMesh, Tuning};

use super::rig::Rig;

/// Everything has ended this long after the last fault (catalogue, section 2).
const QUIET: Duration = Duration::from_secs(60);
/// Changes between two lines that say how far it is: a program that prints nothing counts as hung (`cargo xtask test`).
const TELL_EVERY: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn campaign_in_one_process() {
    let _alone = crate::alone().await;
    campaign(Layout::OneProcess, &Size::given().unwrap_or(Size::SHORT)).await.unwrap();
}

/// The long form alone: a mesh takes half a minute to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn campaign_over_a_mesh() {
    let _alone = crate::alone().await;
    match Size::given() {
        Some(size) => campaign(Layout::Mesh, &size).await.unwrap(),
        None => println!("part of `cargo xtask campaign operations` only"),
    }
}

/// How much of each.
#[derive(Debug, Clone)]
struct Size {
    /// Changes under deaths, at each point, and under unruly messages.
    operations: usize,
    deaths: usize,
    /// Named points, drawn by lot; all of them when there are fewer.
    points: usize,
    /// These alone.
    point: Vec<String>,
    /// Places at which the wire is cut, drawn by lot; each behind every frame when there are fewer.
    cuts: usize,
    /// Rounds of cancellations at every step.
    races: usize,
    /// One of the scenarios alone.
    only: Option<String>,
}

impl Size {
    /// About a minute.
    const SHORT: Self = Self { operations: 8, deaths: 3, points: 3, point: Vec::new(), cuts: 4, races: 1, only: None };

    /// As the environment says; nothing in a plain test run.
    fn given() -> Option<Self> {
        let number = |name: &str| std::env::var(format!("ROADSTEAD_CAMPAIGN_{name}")).ok()?.parse().ok();
        Some(Self {
            operations: number("OPERATIONS")?,
            deaths: number("DEATHS")?,
            points: number("POINTS").unwrap_or(usize::MAX),
            point: std::env::var("ROADSTEAD_CAMPAIGN_POINT")
                .map_or_else(|_| Vec::new(), |names| names.split(',').map(str::to_owned).collect()),
            cuts: number("CUTS").unwrap_or(usize::MAX),
            races: number("RACES").unwrap_or(10),
            only: std::env::var("ROADSTEAD_CAMPAIGN_ONLY").ok(),
        })
    }
}

fn seed() -> u64 {
    let given = std::env::var("ROADSTEAD_CAMPAIGN_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    })
}

/// Marsaglia's xorshift: enough to choose who dies when.
struct Dice(u64);

impl Dice {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.draw() % most.max(1) as u64).unwrap_or(0)
    }

    /// So many of these, in an order of its own.
    fn some<T>(&mut self, mut all: Vec<T>, most: usize) -> Vec<T> {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at + 1));
        }
        all.truncate(most);
        all
    }
}

/// A campaign under way.
struct Field {
    rig: Rig,
    size: Size,
    dice: Dice,
}

async fn campaign(layout: Layout, size: &Size) -> Result<()> {
    let seed = seed();
    println!("{layout:?}: {size:?}, seed {seed}");
    let mesh = TestMesh::start(layout, Tuning::default().without_quotas()).await?;
    let mut field = Field { rig: Rig::start(mesh).await?, size: size.clone(), dice: Dice(seed | 1) };
    macro_rules! scenario {
        ($name:ident, $what:literal) => {
            if size.only.as_deref().is_none_or(|only| only == stringify!($name)) {
                let began = Instant::now();
                $name::run(&mut field).await.with_context(|| format!("{}, seed {seed}", $what))?;
                println!("{layout:?}: {} in {:?}", $what, began.elapsed());
            }
        };
    }
    scenario!(races, "cancellations at every step");
    scenario!(frames, "the wire cut behind every frame");
    scenario!(deaths, "deaths at random times");
    scenario!(points, "deaths at named points");
    // Last: what it starts anew is started so for good.
    scenario!(messages, "messages that come again and out of turn");
    field.rig.end().await
}
