//! Agents and replicas that go, and what their callers hear.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::PostParams;
use roadstead_mesh_tests::{JOIN_LIMIT, TestMesh, client};
use roadstead_testkit::environment;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};

use super::Person;

/// A cluster that is away is answered for within this time: the wait for one that is coming back, and a little.
const AWAY_LIMIT: Duration = Duration::from_secs(8);
/// The replica that holds an agent may change within this time (reliability row F18).
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// Between two events of a watch.
const EVENT_EVERY: Duration = Duration::from_millis(200);
/// Where they happen.
const NAMESPACE: &str = "fairway";

/// Where an agent goes away, a watch ends as if the API server had ended it, and a client that resumes misses nothing.
pub async fn a_watch_ends_cleanly(mesh: &mut TestMesh) -> Result<()> {
    for kill in [false, true] {
        let person = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
        let kubectl = person.kubectl()?;
        let name = format!("resume-{kill}");
        let listed: Value = serde_json::from_str(
            &kubectl.ok(&["get", "namespaces", "-o", "json", "--raw", "/api/v1/namespaces"]).await.or(
                // Older ones take no -o beside --raw.
                kubectl.ok(&["get", "--raw", "/api/v1/namespaces"]).await,
            )?,
        )?;
        let version = listed["metadata"]["resourceVersion"].as_str().context("no version")?.to_owned();
        let path = format!("/api/v1/namespaces?watch=true&resourceVersion={version}");
        let mut watch = person.get(&path).send().await?;
        ensure!(watch.status() == 200, "{}", watch.status());
        if kill {
            mesh.kill("agent-quay")?;
        } else {
            mesh.terminate("agent-quay")?;
        }
        let ended = timeout(Duration::from_secs(22), async {
            loop {
                match watch.chunk().await {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            }
        });
        let ended = ended.await.context("the watch goes on in silence")?;
        ensure!(matches!(ended, Ok(None)), "not a clean end: {ended:?}");
        is_gone(mesh, "agent-quay").await?;
        mesh.restart_agent("quay")?;
        mesh.status("quay", "connected", JOIN_LIMIT).await?;
        kubectl.ok(&["create", "namespace", &name]).await?;
        let mut resumed = person.get(&path).send().await?;
        let mut text = String::new();
        timeout(Duration::from_secs(10), async {
            while !text.contains(&name) {
                let chunk = resumed.chunk().await?.context("it ended")?;
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
            Ok::<_, anyhow::Error>(())
        })
        .await
        .context("the event did not come")??;
        kubectl.ok(&["delete", "namespace", &name, "--wait=false"]).await?;
    }
    Ok(())
}

/// Two processes of one part would share a folder and a port. It takes its own grace, and a little.
async fn is_gone(mesh: &TestMesh, name: &str) -> Result<()> {
    let gone = || async {
        ensure!(!mesh.is_alive(name), "it runs");
        Ok::<_, anyhow::Error>(())
    };
    eventually(&format!("{name} has ended"), Duration::from_secs(30), gone).await?;
    Ok(())
}

/// One cluster that is away: its callers hear it soon and in Kubernetes' words.
pub async fn a_cluster_that_is_away(mesh: &mut TestMesh) -> Result<()> {
    mesh.kill("agent-quay")?;
    let person = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..6 {
        let began = Instant::now();
        let answer = person.get("/version").send().await?;
        slowest = slowest.max(began.elapsed());
        ensure!(answer.status() == 503, "{}", answer.status());
        let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
        ensure!(body["kind"] == "Status" && body["reason"] == "ServiceUnavailable", "{body}");
    }
    ensure!(slowest < AWAY_LIMIT, "it took {slowest:?}");
    mesh.restart_agent("quay")?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    let back = || async {
        let status = person.get("/version").send().await?.status();
        ensure!(status == 200, "{status}");
        Ok::<_, anyhow::Error>(())
    };
    eventually("the cluster answers again", Duration::from_secs(10), back).await?;
    Ok(())
}

/// The replica that holds an agent stops in order: nobody's request fails. It is killed: the agent is elsewhere within seconds.
pub async fn replicas_that_go(mesh: &mut TestMesh) -> Result<()> {
    mesh.start_agent("ferry", None).await?;
    mesh.status("ferry", "connected", JOIN_LIMIT).await?;
    for replica in ["onboarding-1", "onboarding-2"] {
        let person = Person::of(mesh, 0, "ferry", &mesh.api_key).await?;
        let asking = tokio::spawn(async move {
            let (mut asked, mut failed, mut slowest) = (0, Vec::new(), Duration::ZERO);
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(10) {
                let at = Instant::now();
                match person.get("/api/v1/namespaces/default").send().await {
                    Ok(answer) if answer.status() == 200 => {
                        let _ = answer.bytes().await;
                    }
                    Ok(answer) => {
                        failed.push(format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()));
                    }
                    Err(fault) => failed.push(format!("{fault:?}")),
                }
                (asked, slowest) = (asked + 1, slowest.max(at.elapsed()));
                sleep(Duration::from_millis(10)).await;
            }
            (asked, failed, slowest)
        });
        sleep(Duration::from_secs(1)).await;
        mesh.terminate(replica)?;
        let (asked, failed, slowest) = asking.await?;
        println!("{replica} stopped under {asked} requests, {} failed, the slowest took {slowest:?}", failed.len());
        ensure!(failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed.first());
        is_gone(mesh, replica).await?;
        mesh.start_part(replica)?;
        mesh.ready(replica, Duration::from_secs(60)).await?;
    }
    for replica in ["onboarding-1", "onboarding-2"] {
        mesh.kill(replica)?;
        let person = Person::of(mesh, 1, "ferry", &mesh.api_key).await?;
        let back = || async {
            let status = person.get("/version").send().await?.status();
            ensure!(status == 200, "{status}");
            Ok::<_, anyhow::Error>(())
        };
        let ((), time) = eventually("the cluster answers again", CHANGE_LIMIT, back).await?;
        println!("{replica} was killed: the cluster answered after {time:?}");
        mesh.start_part(replica)?;
        mesh.ready(replica, Duration::from_secs(60)).await?;
    }
    Ok(())
}

/// A watch while each process that carries it is stopped in order, and then killed: it goes on or ends, and is silent never. A
/// client that goes on at its last version, at whichever front door answers, sees every event once.
pub async fn a_watch_outlives_who_carries_it(mesh: &mut TestMesh) -> Result<()> {
    let direct = client(&environment::kubeconfig()?).await?;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    Api::<Namespace>::all(direct.clone()).create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    let configs: Api<ConfigMap> = Api::namespaced(direct, NAMESPACE);
    let key = mesh.api_key.clone();
    let people = [Person::of(mesh, 0, "ferry", &key).await?, Person::of(mesh, 1, "ferry", &key).await?];
    let place =
        Place { people: Mutex::new(people.map(Arc::new)), front: AtomicUsize::new(0), cut: AtomicBool::new(false) };
    let over = AtomicBool::new(false);
    let (made, all) = watch::channel(None);
    let making = async {
        let (mut number, mut tick) = (0, interval(EVENT_EVERY));
        while !over.load(Ordering::SeqCst) {
            tick.tick().await;
            let metadata = json!({ "name": format!("event-{number:05}"), "labels": { "of": NAMESPACE } });
            let event = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
            configs.create(&PostParams::default(), &serde_json::from_value(event)?).await.context("an event")?;
            number += 1;
        }
        made.send_replace(Some(number));
        Ok::<usize, anyhow::Error>(number)
    };
    let breaking = async {
        for kill in [false, true] {
            // The one that holds the agent is among the two.
            for part in [None, Some("onboarding-1"), Some("onboarding-2")] {
                sleep(Duration::from_secs(2)).await;
                let part = part.map_or_else(|| format!("cluster-{}", place.front() + 1), str::to_owned);
                place.cut.store(kill && part.starts_with("cluster"), Ordering::SeqCst);
                if kill {
                    mesh.kill(&part)?;
                } else {
                    mesh.terminate(&part)?;
                }
                is_gone(mesh, &part).await?;
                mesh.start_part(&part)?;
                mesh.ready(&part, Duration::from_secs(60)).await?;
                place.cut.store(false, Ordering::SeqCst);
                if let Some(front) = ["cluster-1", "cluster-2"].iter().position(|front| *front == part) {
                    // Its door is at another port now.
                    let again = Person::of(mesh, front, "ferry", &key).await?;
                    place.people.lock().unwrap()[front] = Arc::new(again);
                }
            }
        }
        over.store(true, Ordering::SeqCst);
        Ok::<_, anyhow::Error>(())
    };
    let (number, (), watches) = tokio::try_join!(making, breaking, follow(&place, all))?;
    println!("{number} events, each seen once, by {watches} watches");
    ensure!(watches >= 5, "two stops and two deaths ended it, and {watches} watches were opened");
    Ok(())
}

/// Where a watch is.
struct Place {
    /// At each front door.
    people: Mutex<[Arc<Person>; 2]>,
    front: AtomicUsize,
    /// The front door itself is killed: the connection breaks.
    cut: AtomicBool,
}

impl Place {
    fn front(&self) -> usize {
        self.front.load(Ordering::SeqCst)
    }

    fn person(&self) -> Arc<Person> {
        Arc::clone(&self.people.lock().unwrap()[self.front()])
    }

    fn go_on(&self) {
        self.front.store(1 - self.front(), Ordering::SeqCst);
    }
}

/// Reads until every event was seen; answers how many watches that took.
async fn follow(place: &Place, mut all: watch::Receiver<Option<usize>>) -> Result<usize> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector=of%3D{NAMESPACE}");
    let (mut seen, mut watches, mut version) = (BTreeSet::new(), 0, None::<String>);
    let mut since = Instant::now();
    loop {
        let from =
            version.as_ref().map_or_else(String::new, |version| format!("&watch=true&resourceVersion={version}"));
        let answer = timeout(CHANGE_LIMIT, place.person().get(&format!("{path}{from}")).send()).await;
        let mut answer = match answer.context("nothing was answered")? {
            Ok(answer) if answer.status() == 200 => answer,
            // Too old: listed anew.
            Ok(answer) if answer.status() == 410 => {
                version = None;
                continue;
            }
            other => {
                let said = match other {
                    Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                    Err(fault) => format!("{fault:?}"),
                };
                ensure!(since.elapsed() < CHANGE_LIMIT, "after {:?}: {said}", since.elapsed());
                place.go_on();
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if version.is_none() {
            let Ok(list) = answer.bytes().await else { continue };
            let list: Value = serde_json::from_slice(&list)?;
            let names = list["items"].as_array().into_iter().flatten().map(name_of);
            seen.extend(names.collect::<Result<Vec<_>>>()?);
            version = Some(version_of(&list["metadata"])?);
            continue;
        }
        watches += 1;
        println!("watch {watches} at front door {} after {:?}", place.front(), since.elapsed());
        let mut text = Vec::new();
        loop {
            let wanted = *all.borrow();
            if wanted.is_some_and(|wanted| seen.len() == wanted) {
                return Ok(watches);
            }
            let chunk = tokio::select! {
                chunk = timeout(CHANGE_LIMIT, answer.chunk()) => chunk.context("the watch went silent")?,
                Ok(()) = all.changed() => continue,
            };
            since = Instant::now();
            match chunk {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(fault) => {
                    ensure!(place.cut.load(Ordering::SeqCst), "not a clean end: {fault:?}");
                    break;
                }
            }
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let event: Value = serde_json::from_slice(&text.drain(..=end).collect::<Vec<u8>>())?;
                let object = &event["object"];
                match event["type"].as_str() {
                    Some("ADDED") => {
                        let name = name_of(object)?;
                        ensure!(seen.insert(name.clone()), "{name} came twice");
                    }
                    Some("BOOKMARK") => {}
                    Some("ERROR") if object["code"] == 410 => {
                        version = None;
                        continue;
                    }
                    _ => bail!("an event that nobody made: {event}"),
                }
                version = Some(version_of(&object["metadata"])?);
            }
        }
    }
}

fn name_of(object: &Value) -> Result<String> {
    Ok(object["metadata"]["name"].as_str().context("no name")?.to_owned())
}

fn version_of(metadata: &Value) -> Result<String> {
    Ok(metadata["resourceVersion"].as_str().context("no version")?.to_owned())
}
