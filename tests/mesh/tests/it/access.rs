//! Rights for a while, against a real cluster: a viewer asks, an admin approves, kubectl works in that namespace and nowhere else;
//! when it ends, by somebody's word or by its time, what was opened under it is cut, and the next request is refused.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Kubectl, Layout, TestMesh, Tuning, create_api_key};
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use crate::kubernetes::Person;

/// A stream is cut within this time of the end of its right (5 s, and a loaded machine).
const CUT_LIMIT: Duration = Duration::from_secs(6);
const NAMESPACE: &str = "for-a-while";
const SECRETS: &str = "/api/v1/namespaces/for-a-while/secrets?watch=true";
/// How long rights are given for, until one is long enough for this machine to open something under them.
const TIMES: [u64; 3] = [12, 40, 120];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn a_viewer_works_for_a_while() {
    scenario().await.unwrap();
}

async fn scenario() -> Result<()> {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(Layout::OneProcess, Tuning::default().without_quotas()).await?;
    mesh.start_agent("quay", None).await?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    let owner = Person::of(&mesh, 0, "quay", &mesh.api_key).await?.kubectl()?;
    pod(&owner).await?;
    let key = deckhand(&mesh).await?;
    let (person, _) =
        eventually("the viewer sees the cluster", CUT_LIMIT, || Person::of(&mesh, 0, "quay", &key)).await?;
    let kubectl = person.kubectl()?;
    for words in [&exec("default")[..], &exec(NAMESPACE)[..]] {
        kubectl.fails(words).await?;
    }
    let given = given(&mesh, &key, 1_200).await?;
    works(&kubectl).await?;
    ends_by_word(&mesh, &person, &kubectl, &given).await.context("ended by somebody")?;
    ends_by_time(&mesh, &person, &key).await.context("ended by its time")?;
    mesh.end();
    Ok(())
}

async fn pod(owner: &Kubectl) -> Result<()> {
    let _ = owner.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait"]).await?;
    owner.ok(&["create", "namespace", NAMESPACE]).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "hold", "namespace": NAMESPACE },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let applied = owner.feed(&["apply", "-f", "-"], pod.to_string().as_bytes()).await?;
    ensure!(applied.code == 0, "apply a pod: {}", applied.err);
    owner.ok(&["wait", "-n", NAMESPACE, "pod/hold", "--for=condition=Ready", "--timeout=30s"]).await?;
    Ok(())
}

/// Somebody who reads; answers an API key.
async fn deckhand(mesh: &TestMesh) -> Result<String> {
    let owner = mesh.owner(0)?;
    let password = "a deckhand's password 5";
    let account =
        json!({ "username": "deckhand", "email": "deckhand@example.com", "password": password, "roles": "viewer" });
    owner.post("/users/", &account).await?.expect(201)?;
    owner.put("/api/v1/clusters/quay/grants/deckhand", &json!({})).await?;
    let login = json!({ "username": "deckhand", "password": password });
    let session = mesh.caller(0)?.post("/api/v1/auth/login", &login).await?.expect(200)?;
    let deckhand = mesh.caller(0)?.token(session["access_token"].as_str().context("no token")?);
    Ok(create_api_key(&deckhand, "kubectl").await?.1)
}

fn exec(namespace: &str) -> [&str; 7] {
    ["exec", "-n", namespace, "hold", "--", "echo", "ahoy"]
}

/// Runs `roadstead …` and reads what it prints.
async fn roadstead(mesh: &TestMesh, key: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = mesh.client(0, key)?;
    command.args(arguments).args(["-o", "json"]);
    let done = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(done.status.success(), "roadstead {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr));
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// Asked for by the viewer, approved by the admin; answers the request.
async fn given(mesh: &TestMesh, key: &str, seconds: u64) -> Result<Value> {
    let time = format!("{seconds}s");
    let ask = ["access", "request", "--role", "operator", "--cluster", "quay", "-n", NAMESPACE, "--for", &time];
    let asked = roadstead(mesh, key, &[&ask[..], &["--reason", "the hold leaks"]].concat()).await?;
    ensure!(asked["state"] == "pending", "{asked}");
    let id = asked["id"].as_str().context("no id")?;
    let own = mesh.client(0, key)?.args(["access", "approve", id]).output()?;
    ensure!(!own.status.success(), "nobody approves their own");
    let given = roadstead(mesh, &mesh.api_key, &["access", "approve", id, "--note", "go on"]).await?;
    ensure!(given["state"] == "approved", "{given}");
    Ok(given)
}

async fn works(kubectl: &Kubectl) -> Result<()> {
    eventually("exec works", CUT_LIMIT, || async {
        let said = kubectl.ok(&exec(NAMESPACE)).await?;
        ensure!(said.trim() == "ahoy", "{said}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let map = |namespace: &str| {
        let metadata = json!({ "name": "cargo", "namespace": namespace });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "a": "1" } }).to_string()
    };
    let applied = kubectl.feed(&["apply", "-f", "-"], map(NAMESPACE).as_bytes()).await?;
    ensure!(applied.code == 0, "apply: {}", applied.err);
    let elsewhere = kubectl.feed(&["apply", "-f", "-"], map("default").as_bytes()).await?;
    ensure!(elsewhere.code != 0, "it works in another namespace");
    kubectl.fails(&["get", "secrets", "-A"]).await?;
    Ok(())
}

/// A shell that says what it is told; answers when it is there.
async fn shell(kubectl: &Kubectl) -> Result<Child> {
    let mut child = kubectl.start(&["exec", "-i", "-n", NAMESPACE, "hold", "--", "cat"])?;
    child.stdin.as_mut().context("no stdin")?.write_all(b"ahoy\n").await?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let line = timeout(Duration::from_secs(20), lines.next_line()).await.context("the shell says nothing")??;
    ensure!(line.as_deref() == Some("ahoy"), "{line:?}");
    Ok(child)
}

async fn ends(watch: &mut reqwest::Response, limit: Duration) -> Result<()> {
    timeout(limit, async { while let Ok(Some(_)) = watch.chunk().await {} }).await.context("the watch goes on")
}

async fn ends_by_word(mesh: &TestMesh, person: &Person, kubectl: &Kubectl, given: &Value) -> Result<()> {
    let mut own = person.get("/api/v1/namespaces/default/configmaps?watch=true").send().await?;
    ensure!(own.status() == 200, "by role: {}", own.status());
    let mut watch = person.get(SECRETS).send().await?;
    ensure!(watch.status() == 200, "a watch: {}", watch.status());
    let mut shell = shell(kubectl).await?;
    let id = given["id"].as_str().context("no id")?;
    let ended = roadstead(mesh, &mesh.api_key, &["access", "end", id]).await?;
    ensure!(ended["state"] == "ended" && ended["ended_by"] == "owner", "{ended}");
    let began = Instant::now();
    ends(&mut watch, CUT_LIMIT).await?;
    timeout(CUT_LIMIT, shell.wait()).await.context("the shell goes on")??;
    println!("cut {:?} after it was ended", began.elapsed());
    let refused = || async {
        let status = person.get(SECRETS).send().await?.status();
        ensure!(status == 403, "{status}");
        kubectl.fails(&exec(NAMESPACE)).await
    };
    eventually("the next request is refused", CUT_LIMIT, refused).await?;
    // What the role alone gives goes on.
    let open = timeout(Duration::from_millis(500), async { while let Ok(Some(_)) = own.chunk().await {} }).await;
    ensure!(open.is_err(), "the viewer's own watch was cut");
    ensure!(person.get("/api/v1/namespaces/for-a-while/configmaps").send().await?.status() == 200);
    Ok(())
}

async fn ends_by_time(mesh: &TestMesh, person: &Person, key: &str) -> Result<()> {
    for seconds in TIMES {
        let given = given(mesh, key, seconds).await?;
        let until = chrono_seconds(given["until"].as_str().context("no end")?)?;
        let Some(mut watch) = opened(person, until).await? else {
            println!("{seconds} s were too short on this machine");
            continue;
        };
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        ends(&mut watch, left + CUT_LIMIT).await?;
        let late = SystemTime::now().duration_since(until);
        println!("cut {late:?} after its end");
        ensure!(late.is_ok(), "it was cut before its time");
        let refused = || async {
            let status = person.get(SECRETS).send().await?.status();
            ensure!(status == 403, "{status}");
            Ok::<_, anyhow::Error>(())
        };
        eventually("the next request is refused", CUT_LIMIT, refused).await?;
        let shown = roadstead(mesh, key, &["access", "ls", "--state", "ended", "--mine"]).await?;
        ensure!(shown.as_array().is_some_and(|ended| ended.iter().any(|one| one["id"] == given["id"])), "{shown}");
        return Ok(());
    }
    bail!("nothing could be opened in {} s", TIMES[TIMES.len() - 1]);
}

/// A watch under the rule; nothing when its time is over before.
async fn opened(person: &Person, until: SystemTime) -> Result<Option<reqwest::Response>> {
    while SystemTime::now() < until {
        let watch = person.get(SECRETS).send().await?;
        if watch.status() == 200 {
            return Ok(Some(watch));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(None)
}

/// An RFC 3339 time.
fn chrono_seconds(text: &str) -> Result<SystemTime> {
    Ok(chrono::DateTime::parse_from_rfc3339(text)?.into())
}
