//! Operations against what they are made of: a hundred objects through the hub against the same server-side applies sent
//! directly, the time to the first object, and, with fake agents, what one dead cluster costs the others.
//!
//! `ROADSTEAD_TEST_KUBECONFIG` names the cluster; without it only the last is measured. Both layouts, one after the other; the
//! mesh's servers are started by this program.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use roadstead_benches::figures::{Spread, percentile, verdict};
use roadstead_benches::machine;
use roadstead_benches::operating::{Pour, begin, cluster, fleet, follow, hub, judge, manifest, pour};
use roadstead_mesh_tests::{Layout, TestMesh};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The cluster with the real agent.
const CLUSTER: &str = "quay";
/// How many are under way at once: alone, and as many as keep two cores busy.
const AT_ONCE: [usize; 2] = [1, 8];
/// Changes of one object, for the time to the first.
const FIRSTS: usize = 100;
/// Fake agents, one of which dies.
const FLEET: usize = 100;
/// Changes a second to them: far below what the hub can do, so that what is measured is waiting for others.
const FLEET_RATE: f64 = 25.0;
/// Anything takes at most this long.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    OneProcess,
    Mesh,
    Both,
}

#[derive(Parser)]
struct Arguments {
    /// Rounds; the first is dropped.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Objects of one operation.
    #[arg(long, default_value_t = 100)]
    objects: usize,
    /// Seconds of each slice with and without the dead cluster.
    #[arg(long, default_value_t = 20.0)]
    slice: f64,
    /// How the hub is run.
    #[arg(long, value_enum, default_value_t = Which::Both)]
    layout: Which,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    println!("# Operations\n\n{}", machine::describe());
    for (layout, which) in [(Layout::OneProcess, Which::OneProcess), (Layout::Mesh, Which::Mesh)] {
        if arguments.layout != Which::Both && arguments.layout != which {
            continue;
        }
        println!("## {layout:?}\n");
        let mut mesh = hub(layout).await?;
        if let Some(kubeconfig) = std::env::var_os("ROADSTEAD_TEST_KUBECONFIG") {
            real(&mut mesh, Path::new(&kubeconfig), arguments).await?;
        }
        dead_cluster(&mesh, arguments).await?;
        println!("- load average afterwards {}\n", machine::load_average());
        mesh.end();
    }
    Ok(())
}

/// What needs a real agent before a real API server.
async fn real(mesh: &mut TestMesh, kubeconfig: &Path, arguments: &Arguments) -> Result<()> {
    mesh.start_agent(CLUSTER, Some(0)).await?;
    mesh.status(CLUSTER, "connected", LIMIT).await?;
    let client = roadstead_mesh_tests::client(kubeconfig).await?;
    let places: Vec<String> = (0..AT_ONCE.into_iter().max().unwrap_or(1))
        .map(|number| format!("bench-{}-{number}", std::process::id()))
        .collect();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for place in &places {
        let namespace = serde_json::from_value(json!({ "metadata": { "name": place } }))?;
        namespaces.create(&PostParams::default(), &namespace).await.context("failed to make a namespace")?;
    }
    println!(
        "| {} objects, operations at once | directly, objects a second | through the hub | ratio |\n|---|---|---|---|",
        arguments.objects
    );
    let mut verdicts = Vec::new();
    for at_once in AT_ONCE {
        let ratio = throughput(mesh, &client, places.get(..at_once).context("too few places")?, arguments).await?;
        verdicts.push(verdict(&format!("{at_once} at once, through the hub / directly"), ratio, 0.7, false));
    }
    println!("\n- {}", verdicts.join("\n- "));
    first_object(mesh, &client, places.first().context("no place")?).await?;
    for place in &places {
        namespaces.delete(place, &DeleteParams::default()).await.context("failed to remove a namespace")?;
    }
    mesh.kill(&format!("agent-{CLUSTER}"))
}

fn names(round: usize, objects: usize) -> Vec<String> {
    (0..objects).map(|object| format!("map-{round}-{object}")).collect()
}

async fn throughput(mesh: &TestMesh, client: &Client, places: &[String], arguments: &Arguments) -> Result<f64> {
    let (mut directly, mut through) = (Vec::new(), Vec::new());
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let all = (places.len() * arguments.objects) as f64;
    for round in 0..arguments.rounds {
        let names = Arc::new(names(round, arguments.objects));
        let mut took = [0.0; 2];
        // Each first as often as the other.
        for way in [round % 2, 1 - round % 2] {
            let began = Instant::now();
            let mut tasks = JoinSet::new();
            for place in places {
                let (names, client, api) = (Arc::clone(&names), client.clone(), mesh.owner(0)?);
                let place = place.clone();
                tasks.spawn(async move {
                    if way == 0 {
                        apply_all(&client, &place, &names).await
                    } else {
                        operate(&api, &place, &names).await
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            *took.get_mut(way).context("no such way")? = began.elapsed().as_secs_f64();
            clear(client, places).await?;
        }
        // The first round warms up.
        if round > 0 {
            directly.push(all / took[0]);
            through.push(all / took[1]);
        }
    }
    let ratios: Vec<f64> = through.iter().zip(&directly).map(|(one, other)| one / other).collect();
    let ratio = Spread::of(&ratios);
    println!("| {} | {:.0} | {:.0} | {ratio:.2} |", places.len(), Spread::of(&directly), Spread::of(&through));
    Ok(ratio.median)
}

/// The same server-side applies as the agent sends, one after the other.
async fn apply_all(client: &Client, place: &str, names: &[String]) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), place);
    for name in names {
        apply(&maps, name).await?;
    }
    Ok(())
}

async fn apply(maps: &Api<ConfigMap>, name: &str) -> Result<()> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "value": "1" },
    });
    maps.patch(name, &PatchParams::apply("bench"), &Patch::Apply(map)).await?;
    Ok(())
}

async fn operate(api: &roadstead_mesh_tests::Api, place: &str, names: &[String]) -> Result<()> {
    let operation = begin(api, CLUSTER, &manifest(place, names)).await?;
    let state = follow(api, &operation).await?;
    ensure!(state == "succeeded", "operation {operation} is {state}");
    Ok(())
}

/// Not measured: nothing of a round is there in the next.
async fn clear(client: &Client, places: &[String]) -> Result<()> {
    for place in places {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), place);
        maps.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        while maps.list(&ListParams::default()).await?.items.iter().any(|map| map.name_any() != "kube-root-ca.crt") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// When a watch saw which object come to be.
#[derive(Clone, Default)]
struct Seen {
    objects: Arc<Mutex<HashMap<String, Instant>>>,
    news: Arc<Notify>,
}

impl Seen {
    async fn when(&self, name: &str) -> Result<Instant> {
        let waiting = async {
            loop {
                let news = self.news.notified();
                if let Some(at) = self.objects.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
                    return *at;
                }
                news.await;
            }
        };
        timeout(LIMIT, waiting).await.with_context(|| format!("{name} was not seen"))
    }
}

async fn watch(maps: Api<ConfigMap>, version: String, seen: Seen) {
    let Ok(stream) = maps.watch(&WatchParams::default().timeout(290), &version).await else { return };
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        if let Ok(WatchEvent::Added(map)) = event {
            seen.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(map.name_any(), Instant::now());
            seen.news.notify_waiters();
        }
    }
}

/// From the request to the object in the cluster, beside the same for an apply that is sent directly.
async fn first_object(mesh: &TestMesh, client: &Client, place: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), place);
    let version = maps.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let (seen, mut watching) = (Seen::default(), JoinSet::new());
    watching.spawn(watch(maps.clone(), version, seen.clone()));
    let api = mesh.owner(0)?;
    let (mut directly, mut through) = (Vec::new(), Vec::new());
    for number in 0..FIRSTS {
        let name = format!("first-direct-{number}");
        let began = Instant::now();
        apply(&maps, &name).await?;
        directly.push(seen.when(&name).await?.saturating_duration_since(began).as_secs_f64() * 1e3);
        let name = format!("first-{number}");
        let began = Instant::now();
        let operation = begin(&api, CLUSTER, &manifest(place, std::slice::from_ref(&name))).await?;
        through.push(seen.when(&name).await?.saturating_duration_since(began).as_secs_f64() * 1e3);
        // Alone: the next one must not wait for its turn.
        follow(&api, &operation).await?;
    }
    println!("\n| to the first object, ms | p50 | p99 |\n|---|---|---|");
    for (way, times) in [("an apply sent directly", &directly), ("an operation", &through)] {
        println!("| {way} | {:.1} | {:.1} |", percentile(times, 0.5), percentile(times, 0.99));
    }
    println!(
        "\n- {}",
        verdict("time to the first object, p50 ms (goal of one process)", percentile(&through, 0.5), 50.0, true)
    );
    Ok(())
}

/// A hundred clusters; one agent stands still, connected and silent, in every other slice.
async fn dead_cluster(mesh: &TestMesh, arguments: &Arguments) -> Result<()> {
    let others = fleet(mesh, 0, FLEET - 1).await?;
    let one = fleet(mesh, FLEET - 1, 1).await?;
    let api = mesh.owner(0)?;
    let dead = cluster(FLEET - 1);
    let (mut tails, mut halves) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..arguments.rounds {
        for stopped in [round % 2, 1 - round % 2] {
            if stopped == 1 {
                signal(&one, "STOP")?;
            }
            let plan = Pour {
                rate: FLEET_RATE,
                time: Duration::from_secs_f64(arguments.slice),
                objects: 3,
                name: format!("dead-{round}-{stopped}"),
                clusters: (0..FLEET).map(cluster).collect(),
                unwatched: HashSet::from([dead.clone()]),
            };
            let samples = pour(&api, &plan).await?;
            if stopped == 1 {
                signal(&one, "CONT")?;
                one.wait(1, LIMIT).await?;
                // What waited for it is done before the next slice begins.
                settle(&api, &dead).await?;
            }
            let (faults, times) = judge(&samples);
            ensure!(faults.is_empty(), "{} of {} were not done: {:?}", faults.len(), samples.len(), faults.first());
            if round > 0 {
                tails.get_mut(stopped).context("no slice")?.push(percentile(&times, 0.99));
                halves.get_mut(stopped).context("no slice")?.push(percentile(&times, 0.5));
            }
        }
    }
    println!("\n| {FLEET} clusters, {FLEET_RATE} operations a second | p50 ms | p99 ms |\n|---|---|---|");
    for (what, slice) in [("all alive", 0), ("one dead, the others", 1)] {
        println!("| {what} | {:.1} | {:.1} |", Spread::of(&halves[slice]), Spread::of(&tails[slice]));
    }
    let ratios: Vec<f64> = tails[1].iter().zip(&tails[0]).map(|(dead, alive)| dead / alive).collect();
    println!("\n- p99 with / without the dead cluster: {:.2}", Spread::of(&ratios));
    println!("- {}", verdict("p99 of the others with one dead cluster of 100", Spread::of(&ratios).median, 1.2, true));
    println!(
        "- objects applied {}, twice {}",
        others.state().applied + one.state().applied,
        others.state().twice + one.state().twice
    );
    Ok(())
}

fn signal(fleet: &roadstead_benches::fleets::Fleets, signal: &str) -> Result<()> {
    for pid in fleet.pids() {
        let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status()?;
        ensure!(status.success(), "failed to send {signal} to the fake agent");
    }
    Ok(())
}

/// Waits until nothing of a cluster is under way.
async fn settle(api: &roadstead_mesh_tests::Api, cluster: &str) -> Result<()> {
    let waiting = async {
        loop {
            let path = format!("/api/v1/operations?cluster={cluster}&state=queued,dispatched,running&limit=1");
            let left = api.get(&path).await?.expect(200)?;
            if left.as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(LIMIT, waiting).await.context("the cluster that was dead does not get on")?
}
