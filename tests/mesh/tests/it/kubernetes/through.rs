//! Much at once, and one thing for long: fifty small callers beside fifty large answers of which half are not read, and a watch
//! that sees every event once. CI holds the watch for seconds; `cargo xtask campaign watch` for an hour.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use roadstead_mesh_tests::TestMesh;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::Person;

/// Callers of each kind.
const EACH: usize = 50;
/// Questions of a small caller.
const QUESTIONS: usize = 4;
/// Objects of a large answer, and bytes of each: together more than a stream's window and any socket's buffer by much.
const OBJECTS: usize = 4;
const OBJECT: usize = 400 * 1024;
/// All of it together, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a watch is held when nobody says.
const WATCH_SECONDS: u64 = 5;
/// Between two events.
const EVENT_EVERY: Duration = Duration::from_millis(100);
/// A test program that prints nothing for ten minutes counts as hung (`cargo xtask test`).
const TELL_EVERY: Duration = Duration::from_secs(300);
/// A watch says nothing for so long although something happens.
const SILENCE: Duration = Duration::from_secs(20);
/// Where this happens.
const NAMESPACE: &str = "tide";

/// Makes the namespace.
async fn namespace(person: &Person) -> Result<()> {
    let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let made = person.post("/api/v1/namespaces").json(&body).send().await?;
    ensure!(matches!(made.status().as_u16(), 201 | 409), "{}", made.status());
    Ok(())
}

/// Small answers come while large ones are under way and half of their readers have stopped; then those read on and miss nothing.
pub async fn fifty_and_fifty(mesh: &TestMesh) -> Result<()> {
    let person = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
    namespace(&person).await?;
    let configs = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    for number in 0..OBJECTS {
        let (name, cargo) = (format!("cargo-{number}"), "x".repeat(OBJECT));
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "cargo": cargo } });
        let made = person.post(&configs).json(&body).send().await?;
        ensure!(matches!(made.status().as_u16(), 201 | 409), "{}", made.status());
    }
    let work = async {
        // Each large answer on a connection of its own: on a shared one the client's own window would hold up the others.
        let alone = person.http1(mesh).await?;
        let (mut reading, mut stopped) = (JoinSet::new(), Vec::new());
        for number in 0..EACH {
            let request = alone.get(format!("{}{configs}", person.url)).bearer_auth(&person.key);
            if number % 2 == 0 {
                reading.spawn(async move { large(request.send().await?).await });
            } else {
                stopped.push(request.send().await?);
            }
        }
        let mut asking = JoinSet::new();
        let began = Instant::now();
        for _ in 0..EACH {
            let asker = person.get("/api/v1/namespaces/default");
            asking.spawn(async move {
                for _ in 0..QUESTIONS {
                    let answer = asker.try_clone().context("no copy")?.send().await?;
                    ensure!(answer.status() == 200, "{}", answer.status());
                    let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
                    ensure!(body["metadata"]["name"] == "default", "{body}");
                }
                Ok(())
            });
        }
        all(asking).await.context("a small caller")?;
        println!("{EACH} small callers beside {EACH} large answers: {:?}", began.elapsed());
        all(reading).await.context("a large answer that is read")?;
        let mut late = JoinSet::new();
        for answer in stopped {
            late.spawn(large(answer));
        }
        all(late).await.context("a large answer that was not read for a while")
    };
    timeout(LIMIT, work).await.context("it hangs")?
}

async fn all(mut set: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = set.join_next().await {
        done??;
    }
    Ok(())
}

async fn large(answer: reqwest::Response) -> Result<()> {
    ensure!(answer.status() == 200, "{}", answer.status());
    let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let cargo = body["items"].as_array().context("no list")?.iter().filter_map(|item| item["data"]["cargo"].as_str());
    let whole = cargo.filter(|cargo| cargo.len() == OBJECT && cargo.bytes().all(|byte| byte == b'x')).count();
    ensure!(whole == OBJECTS, "{whole} of {OBJECTS} came whole");
    Ok(())
}

/// A watch that is held and, where the API server ends it, taken up where it ended, sees every event once and in order.
pub async fn a_watch_is_held(mesh: &TestMesh) -> Result<()> {
    let seconds = std::env::var("ROADSTEAD_TEST_WATCH_SECONDS").ok().map(|text| text.parse()).transpose()?;
    let time = Duration::from_secs(seconds.unwrap_or(WATCH_SECONDS));
    let person = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
    namespace(&person).await?;
    let configs = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let begun = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "watched" }, "data": { "number": "0" } });
    // Of a run that failed; deleting is done when it is answered.
    let removed =
        person.http.delete(format!("{}{configs}/watched", person.url)).bearer_auth(&person.key).send().await?;
    ensure!(matches!(removed.status().as_u16(), 200 | 404), "{}", removed.status());
    let made = person.post(&configs).json(&begun).send().await?;
    ensure!(made.status() == 201, "{}", made.status());
    let made: Value = serde_json::from_slice(&made.bytes().await?)?;
    let version = made["metadata"]["resourceVersion"].as_str().context("no version")?.to_owned();
    let (changes, last) = tokio::sync::watch::channel(None);
    let changing = async {
        let (began, mut number, mut tick) = (Instant::now(), 0_u64, interval(EVENT_EVERY));
        let mut told = began;
        while began.elapsed() < time {
            tick.tick().await;
            number += 1;
            change(&person, &configs, number).await.with_context(|| format!("change {number}"))?;
            if told.elapsed() >= TELL_EVERY {
                println!("{number} events so far");
                told = Instant::now();
            }
        }
        changes.send_replace(Some(number));
        Ok(number)
    };
    let (number, watches) = tokio::try_join!(changing, watch(&person, &configs, version, last))?;
    println!("{number} events in {time:?}, each seen once, by {watches} watches");
    let removed =
        person.http.delete(format!("{}{configs}/watched", person.url)).bearer_auth(&person.key).send().await?;
    ensure!(removed.status() == 200, "{}", removed.status());
    Ok(())
}

async fn change(person: &Person, configs: &str, number: u64) -> Result<()> {
    let patch = json!({ "data": { "number": number.to_string() } }).to_string();
    let request = person.http.patch(format!("{}{configs}/watched", person.url)).bearer_auth(&person.key);
    let answer = request.header("content-type", "application/merge-patch+json").body(patch).send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    answer.bytes().await?;
    Ok(())
}

/// Reads until the last change was seen; answers how many watches that took.
async fn watch(
    person: &Person,
    configs: &str,
    mut version: String,
    mut last: tokio::sync::watch::Receiver<Option<u64>>,
) -> Result<usize> {
    let (mut seen, mut watches) = (0, 0);
    loop {
        watches += 1;
        let path = format!("{configs}?watch=true&fieldSelector=metadata.name%3Dwatched&resourceVersion={version}");
        let mut watch = person.get(&path).send().await?;
        ensure!(watch.status() == 200, "{}", watch.status());
        let mut text = Vec::new();
        loop {
            // The last change may have been seen before it was known to be the last.
            let chunk = tokio::select! {
                chunk = timeout(SILENCE, watch.chunk()) => chunk.context("the watch went silent")??.map(Vec::from),
                _ = last.changed() => Some(Vec::new()),
            };
            let Some(chunk) = chunk else { break };
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line)?;
                let object = &event["object"];
                match event["type"].as_str() {
                    Some("MODIFIED") => {}
                    Some("BOOKMARK") => continue,
                    _ => bail!("an event that nobody made: {event}"),
                }
                let number: u64 = object["data"]["number"].as_str().context("no number")?.parse()?;
                ensure!(number == seen + 1, "after {seen} came {number}");
                seen = number;
                object["metadata"]["resourceVersion"].as_str().context("no version")?.clone_into(&mut version);
            }
            if *last.borrow() == Some(seen) {
                return Ok(watches);
            }
        }
        // The API server ends watches after a while: the client goes on where it was.
        sleep(Duration::from_millis(50)).await;
    }
}
