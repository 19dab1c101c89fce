//! The Kubernetes door, as kubectl and client libraries use it, against a real API server: every verb through the hub, with
//! each kubectl of this machine, on both layouts (issue 4, "Must show").

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{Kubectl, Layout, TestMesh, Tuning, create_api_key};
use roadstead_testkit::environment;
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long an agent may take to join or to come back.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// A stream is cut within this time of the end of its right (5 s, and a loaded machine).
const CUT_LIMIT: Duration = Duration::from_secs(6);
/// A cluster that is away is answered for within this time: the wait for one that is coming back, and a little.
const AWAY_LIMIT: Duration = Duration::from_secs(8);
/// Bytes through one port-forward, each way.
const FORWARDED: usize = 8 << 20;
/// Where simulated pods run and their logs are what `tests/kube` says.
const NAMESPACE: &str = "through-the-hub";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn kubectl_through_one_process() {
    conformance(Layout::OneProcess).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn kubectl_through_a_mesh() {
    conformance(Layout::Mesh).await.unwrap();
}

async fn conformance(layout: Layout) -> Result<()> {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(layout, Tuning::default().without_quotas()).await?;
    // At the last replica's door: in a mesh, front doors reach it over the wire between replicas.
    let door = mesh.agent_doors.len() - 1;
    mesh.start_agent("quay", Some(door)).await?;
    mesh.status("quay", "connected", CONNECT_LIMIT).await?;
    for front in 0..mesh.doors.len() {
        let person = Person::of(&mesh, front, "quay", &mesh.api_key).await?;
        for kubectl in person.kubectls()? {
            println!("kubectl {} at front door {front}", kubectl.version);
            verbs(&kubectl).await.with_context(|| format!("verbs with {}", kubectl.version))?;
        }
        identity(&person).await.context("identity")?;
        front_door(&mesh, front).await.context("the front door's own route")?;
    }
    viewer(&mesh).await.context("a viewer")?;
    a_revoked_key_cuts_its_streams(&mesh).await.context("a revoked key")?;
    a_watch_ends_cleanly(&mut mesh).await.context("a watch")?;
    a_cluster_that_is_away(&mut mesh).await.context("a cluster that is away")?;
    if layout == Layout::Mesh {
        replicas_that_go(&mut mesh).await.context("replicas that go")?;
    }
    mesh.end();
    Ok(())
}

/// Somebody at one front door, with one cluster.
struct Person {
    kubeconfig: PathBuf,
    url: String,
    key: String,
    hub: String,
    profile: PathBuf,
    http: reqwest::Client,
}

impl Person {
    async fn of(mesh: &TestMesh, front: usize, cluster: &str, key: &str) -> Result<Self> {
        let kubeconfig = mesh.folder().join(format!("kubeconfig-{front}-{}", &key[key.len() - 6..]));
        let mut command = mesh.client(front, key)?;
        command.args(["kubeconfig", cluster, "--out"]).arg(&kubeconfig);
        let made = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(made.status.success(), "roadstead kubeconfig: {}", String::from_utf8_lossy(&made.stderr));
        let text = std::fs::read_to_string(&kubeconfig)?;
        ensure!(!text.contains("insecure") && text.contains("kube-credential"), "{text}");
        let doors = mesh.caller(front)?.get("/.well-known/roadstead").await?.expect(200)?;
        let url = doors["kubernetes_url"].as_str().context("no Kubernetes door")?;
        let authority = doors["kubernetes_ca"].as_str().context("no authority")?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(authority.as_bytes())?])
            .build()?;
        Ok(Self {
            kubeconfig,
            url: format!("{url}/k/{cluster}"),
            key: key.to_owned(),
            hub: mesh.doors[front].clone(),
            profile: mesh.folder().join("no-profile.json"),
            http,
        })
    }

    fn kubectls(&self) -> Result<Vec<Kubectl>> {
        let profile = self.profile.display().to_string();
        let environment = [
            ("ROADSTEAD_URL", self.hub.as_str()),
            ("ROADSTEAD_API_KEY", self.key.as_str()),
            ("ROADSTEAD_CONFIG", profile.as_str()),
        ];
        Kubectl::all(&self.kubeconfig, &environment)
    }

    fn kubectl(&self) -> Result<Kubectl> {
        self.kubectls()?.into_iter().next().context("no kubectl")
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key)
    }
}

async fn verbs(kubectl: &Kubectl) -> Result<()> {
    let _ = kubectl.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait"]).await?;
    kubectl.ok(&["create", "namespace", NAMESPACE]).await?;
    let within = |arguments: &[&str]| {
        let mut all = vec!["-n", NAMESPACE];
        all.extend(arguments);
        all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    macro_rules! ok {
        ($($word:expr),+) => {{
            let words = within(&[$($word),+]);
            kubectl.ok(&words.iter().map(String::as_str).collect::<Vec<_>>()).await?
        }};
    }
    ensure!(ok!("get", "nodes").contains("Ready"));
    ensure!(ok!("api-resources").contains("deployments"));
    ensure!(ok!("explain", "pods").contains("Pod"));
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "cargo", "namespace": NAMESPACE }, "data": { "a": "1" } });
    for arguments in [&["apply", "-f", "-"][..], &["apply", "--server-side", "--force-conflicts", "-f", "-"]] {
        let applied = kubectl.feed(arguments, map.to_string().as_bytes()).await?;
        ensure!(applied.code == 0, "apply: {}", applied.err);
    }
    ok!("patch", "configmap", "cargo", "-p", r#"{"data":{"b":"2"}}"#);
    ok!("patch", "configmap", "cargo", "--type=json", "-p", r#"[{"op":"add","path":"/data/c","value":"3"}]"#);
    ok!("label", "configmap", "cargo", "deck=lower");
    ensure!(ok!("describe", "configmap", "cargo").contains("deck=lower"));
    ensure!(ok!("get", "configmap", "-l", "deck=lower", "-o", "jsonpath={.items[*].data}").contains('3'));
    watch(kubectl).await.context("get -w")?;
    ok!("delete", "configmap", "cargo");
    pods(kubectl).await?;
    ok!("delete", "namespace", NAMESPACE, "--wait=false");
    Ok(())
}

async fn watch(kubectl: &Kubectl) -> Result<()> {
    let mut child = kubectl.start(&["get", "configmap", "-n", NAMESPACE, "-w", "-o", "name"])?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let mut seen = Vec::new();
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            seen.push(line);
            if seen.iter().any(|line| line.contains("late")) {
                break;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    let writing = async {
        sleep(Duration::from_secs(2)).await;
        kubectl.ok(&["create", "configmap", "late", "-n", NAMESPACE]).await
    };
    let (read, written) = tokio::join!(timeout(Duration::from_secs(20), reading), writing);
    written?;
    read.context("the event did not come")??;
    ensure!(seen.iter().any(|line| line.contains("cargo")), "{seen:?}");
    Ok(())
}

async fn pods(kubectl: &Kubectl) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "hold", "namespace": NAMESPACE },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let applied = kubectl.feed(&["apply", "-f", "-"], pod.to_string().as_bytes()).await?;
    ensure!(applied.code == 0, "apply a pod: {}", applied.err);
    kubectl.ok(&["wait", "-n", NAMESPACE, "pod/hold", "--for=condition=Ready", "--timeout=30s"]).await?;
    let tls = "--insecure-skip-tls-verify-backend";
    ensure!(kubectl.ok(&["logs", "-n", NAMESPACE, "hold", tls, "--tail=2"]).await?.contains("roadstead: tick"));
    follow(kubectl, &["logs", "-n", NAMESPACE, "hold", tls, "-f", "--tail=1"]).await.context("logs -f")?;
    follow(kubectl, &["attach", "-n", NAMESPACE, "hold"]).await.context("attach")?;
    for (protocol, web_sockets) in [("websocket", "true"), ("spdy", "false")] {
        let kubectl = kubectl
            .clone()
            .with("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets)
            .with("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets);
        let said = kubectl.ok(&["exec", "-n", NAMESPACE, "hold", "--", "echo", "ahoy"]).await;
        ensure!(said.as_deref().is_ok_and(|said| said.trim() == "ahoy"), "exec over {protocol}: {said:?}");
        // A million bytes and a half out of a command, byte for byte.
        let many = kubectl.run(&["exec", "-n", NAMESPACE, "hold", "--", "head", "-c", "1500000", "/dev/zero"]).await?;
        ensure!(many.code == 0 && many.out.len() == 1_500_000, "exec over {protocol}: {} bytes", many.out.len());
        let file = std::env::temp_dir().join(format!("roadstead-cp-{}-{protocol}", std::process::id()));
        let target = file.display().to_string();
        let copied = kubectl.run(&["cp", &format!("{NAMESPACE}/hold:/etc/hostname"), &target]).await?;
        ensure!(copied.code == 0 && file.exists(), "cp over {protocol}: {}", copied.err);
        std::fs::remove_file(&file)?;
        port_forward(&kubectl).await.with_context(|| format!("port-forward over {protocol}"))?;
    }
    Ok(())
}

/// A command that goes on: three lines, then it is ended.
async fn follow(kubectl: &Kubectl, arguments: &[&str]) -> Result<()> {
    let mut child = kubectl.start(arguments)?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let three = async {
        for _ in 0..3 {
            lines.next_line().await?.context("it ended")?;
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(Duration::from_secs(20), three).await.context("nothing came")??;
    child.kill().await?;
    Ok(())
}

async fn port_forward(kubectl: &Kubectl) -> Result<()> {
    let mut child = kubectl.start(&["port-forward", "-n", NAMESPACE, "pod/hold", ":7"])?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let line = timeout(Duration::from_secs(20), lines.next_line()).await??.context("it ended")?;
    // "Forwarding from 127.0.0.1:40123 -> 7"
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).context("no port")?;
    let address = format!("127.0.0.1:{port}");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4_u8 {
        let address = address.clone();
        tasks.spawn(async move { echo(&address, number).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    child.kill().await?;
    Ok(())
}

async fn echo(address: &str, number: u8) -> Result<()> {
    let sent: Vec<u8> = (0..FORWARDED / 4).map(|at| u8::try_from(at % 251).unwrap_or(0) ^ number).collect();
    let (mut read, mut write) = TcpStream::connect(address).await?.into_split();
    let writing = async {
        write.write_all(&sent).await?;
        Ok::<_, anyhow::Error>(())
    };
    let mut received = vec![0; sent.len()];
    let reading = async {
        read.read_exact(&mut received).await?;
        Ok::<_, anyhow::Error>(())
    };
    let (written, read) = timeout(Duration::from_secs(30), async { tokio::join!(writing, reading) }).await?;
    written?;
    read?;
    ensure!(received == sent, "the bytes came back changed");
    Ok(())
}

/// The cluster sees the person, its audit log has the hub's id of the request, and nobody acts as somebody else.
async fn identity(person: &Person) -> Result<()> {
    let kubectl = person.kubectl()?;
    let who = kubectl.ok(&["auth", "whoami", "-o", "json"]).await?;
    let who: Value = serde_json::from_str(&who)?;
    ensure!(who["status"]["userInfo"]["username"] == "roadstead:owner", "{who}");
    let groups = who["status"]["userInfo"]["groups"].to_string();
    ensure!(groups.contains("roadstead:admin") && !groups.contains("system:masters"), "{groups}");
    let refused = kubectl.fails(&["get", "namespaces", "--as", "system:admin"]).await?;
    ensure!(refused.contains("Impersonate"), "{refused}");
    for header in ["Impersonate-Group", "impersonate-uid", "Impersonate-Extra-scopes"] {
        let refused = person.get("/api/v1/namespaces").header(header, "system:masters").send().await?;
        ensure!(refused.status() == 403, "{header}: {}", refused.status());
        let body: Value = serde_json::from_slice(&refused.bytes().await?)?;
        ensure!(body["kind"] == "Status" && body["details"]["causes"][0]["reason"] == "impersonation_denied", "{body}");
    }
    let answer = person.get("/api/v1/namespaces/default").send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    let id = answer.headers()["x-request-id"].to_str()?.to_owned();
    let audit = environment::kubeconfig()?.with_file_name("audit.log");
    if audit.exists() {
        let (line, _) = eventually("the audit log has the request", Duration::from_secs(5), || async {
            let log = std::fs::read_to_string(&audit)?;
            log.lines().find(|line| line.contains(&id)).map(str::to_owned).context("not there")
        })
        .await?;
        ensure!(line.contains("roadstead:owner"), "{line}");
    }
    Ok(())
}

/// The same API under the front door's own route, WebSockets too.
async fn front_door(mesh: &TestMesh, front: usize) -> Result<()> {
    let base = "/api/v1/clusters/quay/proxy";
    let stranger = mesh.caller(front)?.get(&format!("{base}/api/v1/namespaces")).await?;
    ensure!(stranger.status == 401 && stranger.body["kind"] == "Status", "{stranger:?}");
    let wrong = mesh.caller(front)?.key("rsk_nonsense").get(&format!("{base}/api")).await?;
    ensure!(wrong.status == 401 && wrong.body["reason"] == "Unauthorized", "{wrong:?}");
    let owner = mesh.owner(front)?;
    let list = owner.get(&format!("{base}/api/v1/namespaces?limit=500")).await?.expect(200)?;
    ensure!(list["kind"] == "NamespaceList" && list["items"].as_array().is_some_and(|items| items.len() > 3), "{list}");
    let map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "by-rest" }, "data": { "a": "1" } });
    let maps = format!("{base}/api/v1/namespaces/default/configmaps");
    owner.post(&maps, &map).await?.expect(201)?;
    owner.delete(&format!("{maps}/by-rest")).await?.expect(200)?;
    ensure!(owner.get(&format!("{maps}/by-rest")).await?.status == 404);
    let nobody = owner.get("/api/v1/clusters/nowhere/proxy/api").await?;
    ensure!(nobody.status == 404 && nobody.body["kind"] == "Status", "{nobody:?}");
    // exec by hand, as a browser's WebSocket does it.
    let person = Person::of(mesh, front, "quay", &mesh.api_key).await?;
    let kubectl = person.kubectl()?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "browser", "namespace": "default" },
        "spec": { "containers": [{ "name": "main", "image": "roadstead.dev/simulated:1" }] },
    });
    let applied = kubectl.feed(&["apply", "-f", "-"], pod.to_string().as_bytes()).await?;
    ensure!(applied.code == 0, "{}", applied.err);
    kubectl.ok(&["wait", "pod/browser", "--for=condition=Ready", "--timeout=30s"]).await?;
    let address = mesh.doors[front].trim_start_matches("http://").to_owned();
    let token = base64url(mesh.api_key.as_bytes());
    let request = format!(
        "GET {base}/api/v1/namespaces/default/pods/browser/exec?command=echo&command=ahoy&stdout=true HTTP/1.1\r\nHost: {address}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{token}\r\n\r\n"
    );
    let mut socket = TcpStream::connect(&address).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let reading = async {
        while !answer.windows(5).any(|window| window == b"ahoy\n") {
            ensure!(socket.read_buf(&mut answer).await? > 0, "it ended: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    };
    timeout(Duration::from_secs(15), reading).await.context("nothing came")??;
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    ensure!(
        head.starts_with("http/1.1 101") && head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    ensure!(!head.contains("bearer.authorization"), "{head}");
    kubectl.ok(&["delete", "pod", "browser", "--wait=false"]).await?;
    Ok(())
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = part.iter().chain([&0, &0]).take(3).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        for at in 0..=part.len() {
            text.push(char::from(LETTERS[(number >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

/// A viewer reads what was granted and writes nothing; a stranger sees no cluster at all.
async fn viewer(mesh: &TestMesh) -> Result<()> {
    let owner = mesh.owner(0)?;
    let password = "a viewer's password 7";
    let account =
        json!({ "username": "lookout", "email": "lookout@example.com", "password": password, "roles": "viewer" });
    let made = owner.post("/users/", &account).await?;
    ensure!(matches!(made.status, 200 | 201), "making an account: {made:?}");
    let login = json!({ "username": "lookout", "password": password });
    let session = mesh.caller(0)?.post("/api/v1/auth/login", &login).await?.expect(200)?;
    let lookout = mesh.caller(0)?.token(session["access_token"].as_str().context("no token")?);
    let (_, key) = create_api_key(&lookout, "kubectl").await?;
    let doors = mesh.caller(0)?.get("/.well-known/roadstead").await?.expect(200)?;
    let url = doors["kubernetes_url"].as_str().context("no Kubernetes door")?;
    let owner_here = Person::of(mesh, 0, "quay", &mesh.api_key).await?;
    let stranger = owner_here.http.get(format!("{url}/k/quay/api")).bearer_auth(&key).send().await?;
    ensure!(stranger.status() == 404, "before the grant: {}", stranger.status());
    let granted = mesh.owner(0)?.put("/api/v1/clusters/quay/grants/lookout", &json!({})).await?;
    ensure!(granted.status < 300, "granting: {granted:?}");
    let (person, _) =
        eventually("the viewer sees the cluster", CUT_LIMIT, || Person::of(mesh, 0, "quay", &key)).await?;
    let kubectl = person.kubectl()?;
    kubectl.ok(&["get", "pods", "-A"]).await?;
    for words in [
        &["create", "namespace", "mutiny"][..],
        &["delete", "namespace", "default"],
        &["get", "secrets", "-A"],
        &["label", "namespace", "default", "a=b"],
    ] {
        let refused = kubectl.fails(words).await?;
        ensure!(refused.contains("Forbidden") && refused.contains("roadstead:lookout"), "{words:?}: {refused}");
    }
    Ok(())
}

async fn a_revoked_key_cuts_its_streams(mesh: &TestMesh) -> Result<()> {
    let owner = mesh.owner(0)?;
    let (id, key) = create_api_key(&owner, "to be revoked").await?;
    for front in 0..mesh.doors.len() {
        let person = Person::of(mesh, front, "quay", &key).await?;
        ensure!(person.get("/version").send().await?.status() == 200);
    }
    let person = Person::of(mesh, mesh.doors.len() - 1, "quay", &key).await?;
    let mut watch = person.get("/api/v1/namespaces?watch=true").send().await?;
    ensure!(watch.status() == 200, "{}", watch.status());
    watch.chunk().await?.context("a watch begins with what is there")?;
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let removed = owner.delete(&format!("/api-keys/{id}")).await?;
    ensure!(matches!(removed.status, 200 | 204), "revoking: {removed:?}");
    let began = Instant::now();
    let ended = timeout(CUT_LIMIT, async { while let Ok(Some(_)) = watch.chunk().await {} }).await;
    ensure!(ended.is_ok(), "the watch goes on");
    println!("a revoked key's watch ended after {:?}", began.elapsed());
    let refused = person.get("/version").send().await?;
    ensure!(refused.status() == 401, "after it: {}", refused.status());
    Ok(())
}

/// Where an agent goes away, a watch ends as if the API server had ended it, and a client that resumes misses nothing.
async fn a_watch_ends_cleanly(mesh: &mut TestMesh) -> Result<()> {
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
        sleep(Duration::from_millis(500)).await;
        mesh.restart_agent("quay")?;
        mesh.status("quay", "connected", CONNECT_LIMIT).await?;
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

/// One cluster that is away: its callers hear it soon and in Kubernetes' words.
async fn a_cluster_that_is_away(mesh: &mut TestMesh) -> Result<()> {
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
    mesh.status("quay", "connected", CONNECT_LIMIT).await?;
    let back = || async {
        let status = person.get("/version").send().await?.status();
        ensure!(status == 200, "{status}");
        Ok::<_, anyhow::Error>(())
    };
    eventually("the cluster answers again", Duration::from_secs(10), back).await?;
    Ok(())
}

/// The replica that holds an agent stops in order: nobody's request fails. It is killed: the agent is elsewhere within seconds.
async fn replicas_that_go(mesh: &mut TestMesh) -> Result<()> {
    mesh.start_agent("ferry", None).await?;
    mesh.status("ferry", "connected", CONNECT_LIMIT).await?;
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
        let ((), time) = eventually("the cluster answers again", Duration::from_secs(25), back).await?;
        println!("{replica} was killed: the cluster answered after {time:?}");
        mesh.start_part(replica)?;
        mesh.ready(replica, Duration::from_secs(60)).await?;
    }
    Ok(())
}
