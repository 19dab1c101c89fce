//! Two dozen secrets through the doors of operations, clusters without an agent, and the Kubernetes proxy: none of them in a log
//! line, a trace, the audit trail, a figure, an answer that refuses, or, where it is a credential or a manifest's, in a file
//! (reliability row L01). What a process prints when it breaks is `runtime/src/crash.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{Answer, Api, JOIN_LIMIT, Layout, TestMesh, Tuning};
use roadstead_testkit::wait::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const CLUSTER: &str = "quay";
/// An operation ends within this time, a loaded machine's share with it.
const END_LIMIT: Duration = Duration::from_secs(45);
/// The batch of traces leaves every five seconds.
const TRACES_LIMIT: Duration = Duration::from_secs(30);

/// The number of a secret, as it is and as manifests have it.
fn canary(number: usize) -> String {
    format!("c4nary-{number:02}-b7e1d09f")
}

fn base64(text: &str) -> String {
    use std::fmt::Write as _;
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bytes = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let number = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for place in 0..=chunk.len() {
            let letter = LETTERS[usize::try_from(number >> (18 - 6 * place) & 63).unwrap()];
            let _ = write!(out, "{}", char::from(letter));
        }
        out.push_str(&"="[..].repeat(3 - chunk.len()));
    }
    out
}

/// Somebody who takes everything that is sent and says that it was fine.
struct Taker {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Taker {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, heard) = (listener.local_addr()?.to_string(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = socket.read(&mut buffer).await {
                        let whole = {
                            let mut kept = kept.lock().unwrap();
                            kept.extend_from_slice(&buffer[..length]);
                            length < buffer.len()
                        };
                        if whole && socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self { address, heard })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn l01_canaries_of_operations_and_clusters() {
    let _alone = crate::alone().await;
    scenario().await.unwrap();
}

async fn scenario() -> Result<()> {
    let (collector, hook) = (Taker::start().await?, Taker::start().await?);
    let tuning = Tuning::default()
        .without_quotas()
        .with("ROADSTEAD_LOGGING_LEVEL", "trace")
        .with("ROADSTEAD_OUTGOING_ALLOW", "127.0.0.0/8")
        .with("ROADSTEAD_OPERATIONS_WEBHOOK_SECRET", &format!("{}-and-some-more-bytes-of-it", canary(0)))
        .with("ROADSTEAD_TELEMETRY_OTLP_ENDPOINT", &format!("http://{}", collector.address));
    let mut mesh = TestMesh::start(Layout::OneProcess, tuning).await?;
    mesh.start_agent(CLUSTER, None).await?;
    mesh.status(CLUSTER, "connected", JOIN_LIMIT).await?;
    let place = format!("canaries-{}", std::process::id());
    let mut said = Vec::new();
    let through = Through { api: mesh.owner(0)?, place: &place, hook: &hook.address };
    let done = async {
        through.manifests(&mut said).await.context("manifests")?;
        through.commands(&mut said).await.context("commands")?;
        through.charts(&mut said).await.context("charts")?;
        through.connections(&mut said).await.context("clusters without an agent")?;
        through.proxy(&mut said).await.context("the proxy")
    };
    let done = done.await;
    let removed = through.api.delete(&format!("/api/v1/clusters/{CLUSTER}/proxy/api/v1/namespaces/{place}")).await;
    done?;
    removed?;

    for path in ["/metrics", "/api/v1/metrics"] {
        said.push(through.api.stream(path).await?.text().await?);
    }
    said.push(through.api.stream("/api/v1/audit/export").await?.text().await?);
    ensure!(said.last().is_some_and(|trail| trail.contains("operation.")), "the trail is empty");
    eventually("traces have arrived", TRACES_LIMIT, || async {
        ensure!(collector.text().contains("/v1/traces"), "nothing yet");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let limits = mesh.pids().first().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/limits")));
    let limits = limits.context("no process")??;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("no such limit")?;
    ensure!(core.split_whitespace().nth(4) == Some("0"), "the process may leave a core file: {core}");
    mesh.terminate("up")?;
    eventually("the hub has ended", END_LIMIT, || async {
        ensure!(!mesh.is_alive("up"), "it runs");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    said.push(collector.text());
    // What a webhook's receiver is told is about the operation; that it came by its secret address is why it knows it.
    said.push(hook.text().replace(&canary(HOOK_ADDRESS), ""));
    let mut files = Vec::new();
    read_files(mesh.folder(), &mut files)?;
    for (path, text) in files {
        let is_log = path.extension().is_some_and(|ending| ending == "log");
        for number in 0..COUNT {
            // Words of a command are told to whoever may read the operation, and stand in its row.
            if is_log || number != COMMAND {
                clean(number, &text).with_context(|| format!("{}", path.display()))?;
            }
        }
        ensure!(!path.ends_with("up.log") || text.contains("operation"), "nothing was logged");
    }
    for text in &said {
        (0..COUNT).try_for_each(|number| clean(number, text))?;
    }
    mesh.end();
    Ok(())
}

const COUNT: usize = 24;
const HOOK_ADDRESS: usize = 7;
const COMMAND: usize = 8;

fn clean(number: usize, text: &str) -> Result<()> {
    for form in [canary(number), base64(&canary(number))] {
        let Some(at) = text.find(&form) else { continue };
        let around: String = text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
        anyhow::bail!("{form} stands after {around}");
    }
    Ok(())
}

/// Every file of the hub's; the agent's own folder is in the agent's cluster.
fn read_files(folder: &Path, found: &mut Vec<(PathBuf, String)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("agent-")) {
            read_files(&path, found)?;
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(())
}

struct Through<'a> {
    api: Api,
    place: &'a str,
    hook: &'a str,
}

impl Through<'_> {
    /// What came back: kept where it is a refusal, or about an operation.
    fn keep(said: &mut Vec<String>, answer: &Answer) {
        said.push(answer.body.to_string());
    }

    async fn ended(&self, answer: &Answer, said: &mut Vec<String>) -> Result<Value> {
        let id = answer.body["operation_id"].as_str().with_context(|| format!("no operation: {answer:?}"))?;
        let (operation, _) = eventually("the operation has ended", END_LIMIT, || async {
            let operation = self.api.get(&format!("/api/v1/operations/{id}")).await?.expect(200)?;
            ensure!(!operation["finished_at"].is_null(), "it is {}", operation["state"]);
            Ok::<_, anyhow::Error>(operation)
        })
        .await?;
        said.push(self.api.get(&format!("/api/v1/operations/{id}/steps?limit=1000")).await?.body.to_string());
        said.push(self.api.stream(&format!("/api/v1/operations/{id}/events")).await?.text().await?);
        Ok(operation)
    }

    fn secret(&self, name: &str, data: &str) -> String {
        format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {}\n{data}\n", self.place)
    }

    /// Secrets applied, changed, looked at before, compared, put back, and such that are broken.
    async fn manifests(&self, said: &mut Vec<String>) -> Result<()> {
        let path = format!("/api/v1/clusters/{CLUSTER}/manifests");
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {}\n---\n", self.place);
        let first = self.secret("one", &format!("data:\n  a: {}\nstringData:\n  b: {}", base64(&canary(1)), canary(2)));
        let query = format!("?webhook_url=http://{}/{}", self.hook, canary(HOOK_ADDRESS));
        let made = self.api.post_as(&format!("{path}{query}"), "application/yaml", namespace + &first).await?;
        ensure!(self.ended(&made, said).await?["state"] == "succeeded", "{made:?}");
        let second = self.secret("one", &format!("stringData:\n  a: {}\n  c: {}", canary(3), canary(4)));
        // A dry run is answered at once, or with the operation that is one.
        let looked = self.api.post_as(&format!("{path}?dry_run=true"), "application/yaml", second.clone()).await?;
        Self::keep(said, &looked);
        let changed = self.api.post_as(&path, "application/yaml", second.clone()).await?;
        ensure!(self.ended(&changed, said).await?["state"] == "succeeded", "{changed:?}");
        let compared = json!({ "kind": "sync", "manifests": first, "namespace": self.place });
        let compared = self.api.post(&format!("/api/v1/clusters/{CLUSTER}/operations"), &compared).await?;
        Self::keep(said, &compared);
        if compared.status == 202 {
            self.ended(&compared, said).await?;
        }
        let id = changed.body["operation_id"].as_str().context("no id")?;
        let undone = self.api.post(&format!("/api/v1/operations/{id}/undo"), &json!({})).await?;
        ensure!(self.ended(&undone, said).await?["state"] == "succeeded", "{undone:?}");
        // One that the cluster refuses, and two that nobody can read.
        let refused = self.secret("Not_A_Name", &format!("stringData:\n  a: {}", canary(5)));
        let refused = self.api.post_as(&path, "application/yaml", refused).await?;
        Self::keep(said, &refused);
        if refused.status == 202 {
            self.ended(&refused, said).await?;
        }
        for broken in [format!("kind: Secret\n  stringData: {{a: {}", canary(6)), format!("!!python/{} {{", canary(6))]
        {
            let refused = self.api.post_as(&path, "application/yaml", broken).await?;
            ensure!(refused.status == 400, "{refused:?}");
            Self::keep(said, &refused);
        }
        Ok(())
    }

    /// Commands with a secret among their words.
    async fn commands(&self, said: &mut Vec<String>) -> Result<()> {
        let body = json!({
            "kind": "exec", "namespace": self.place, "pod": "nobody", "command": ["sh", "-c", canary(COMMAND)],
        });
        let answer = self.api.post(&format!("/api/v1/clusters/{CLUSTER}/operations"), &body).await?;
        if answer.status == 202 {
            let id = answer.body["operation_id"].as_str().context("no id")?.to_owned();
            eventually("the command has ended", END_LIMIT, || async {
                let operation = self.api.get(&format!("/api/v1/operations/{id}")).await?.expect(200)?;
                ensure!(!operation["finished_at"].is_null(), "it is {}", operation["state"]);
                Ok::<_, anyhow::Error>(())
            })
            .await?;
        } else {
            Self::keep(said, &answer);
        }
        for command in [
            format!("kubectl get pods --token={}", canary(9)),
            format!("kubectl create secret generic x --from-literal=a={} -n {}", canary(10), self.place),
        ] {
            let path = format!("/kubeconfig/execute-kubectl-direct/{CLUSTER}");
            // Its answer tells the command that was asked for, to whom asked.
            self.api.post(&path, &json!({ "command": command })).await?;
        }
        Ok(())
    }

    /// A chart with a secret in its text and another in its values.
    async fn charts(&self, said: &mut Vec<String>) -> Result<()> {
        let folder = std::env::temp_dir().join(format!("roadstead-canaries-{}", std::process::id()));
        let chart = folder.join("hold");
        std::fs::create_dir_all(chart.join("templates"))?;
        std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: hold\nversion: 0.1.0\n")?;
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: hold\nstringData:\n  a: {}\n  b: {{{{ .Values.password }}}}\n",
            canary(11)
        );
        std::fs::write(chart.join("templates/secret.yaml"), text)?;
        let packed =
            std::process::Command::new("tar").args(["-C"]).arg(&folder).args(["-czf", "-", "hold"]).output()?;
        std::fs::remove_dir_all(&folder)?;
        ensure!(packed.status.success(), "tar failed");
        let mut form = b"--b\r\ncontent-disposition: form-data; name=\"chart\"; filename=\"hold.tgz\"\r\n\r\n".to_vec();
        form.extend_from_slice(&packed.stdout);
        let values = format!(
            "\r\n--b\r\ncontent-disposition: form-data; name=\"values\"; filename=\"v.yaml\"\r\n\r\npassword: {}\n\r\n--b--\r\n",
            canary(12)
        );
        form.extend_from_slice(values.as_bytes());
        let path = format!("/api/v1/clusters/{CLUSTER}/charts?release=hold&namespace={}", self.place);
        let answer = self.api.post_bytes(&path, "multipart/form-data; boundary=b", form).await?;
        Self::keep(said, &answer);
        // With Helm or without: the operation ends, and its values stay where they are.
        self.ended(&answer, said).await?;
        Ok(())
    }

    /// Credentials of clusters: for nobody who answers, for nobody at all, and such as cannot be read.
    async fn connections(&self, said: &mut Vec<String>) -> Result<()> {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let server = format!("https://{closed}");
        let token = json!({ "auth_method": "token", "api_server_url": server, "service_account_token": canary(13) });
        let kubeconfig = |user: &str| {
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
                 clusters: [{{name: a, cluster: {{server: '{server}'}}}}]\nusers: [{{name: a, user: {{{user}}}}}]\n"
            )
        };
        let key = base64(&format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", canary(15)));
        let with = |text: String| json!({ "auth_method": "kubeconfig", "kubeconfig": text });
        let connections = [
            token,
            with(kubeconfig(&format!("token: {}", canary(14)))),
            with(kubeconfig(&format!("client-certificate-data: {key}, client-key-data: {key}"))),
            with(kubeconfig(&format!("username: a, password: {}", canary(16)))),
            with(format!("users: [{{token: {}", canary(17))),
            json!({ "auth_method": "token", "api_server_url": "nonsense", "service_account_token": canary(18) }),
            json!({ "auth_method": "token", "api_server_url": server, "service_account_token": [canary(19)] }),
        ];
        for (number, connection) in connections.into_iter().enumerate() {
            let name = format!("far-{number}");
            let body = json!({ "name": name, "mode": "direct", "connection": connection });
            let answer = self.api.post("/api/v1/clusters", &body).await?;
            Self::keep(said, &answer);
            if answer.status == 201 {
                let path = format!("/api/v1/clusters/{name}");
                // Nobody answers there; what is said about that is part of it.
                Self::keep(said, &self.api.get(&format!("{path}/namespaces")).await?);
                Self::keep(said, &self.api.get(&path).await?);
                self.api.delete(&path).await?.expect(204)?;
            }
        }
        Ok(())
    }

    /// Through the proxy: in a body, in a query, in a command, and as a credential of nobody.
    async fn proxy(&self, said: &mut Vec<String>) -> Result<()> {
        let base = format!("/api/v1/clusters/{CLUSTER}/proxy/api/v1/namespaces/{}", self.place);
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "two" }, "stringData": { "a": canary(20) },
        });
        // The answer is the Secret, for whom sent it.
        self.api.post(&format!("{base}/secrets"), &body).await?.expect(201)?;
        let words = format!("{base}/pods/nobody/exec?command={}&token={}", canary(21), canary(21));
        Self::keep(said, &self.api.get(&words).await?);
        let anybody = self.api.key(&format!("rsk_{:032x}_{}", 7, canary(22)));
        Self::keep(said, &anybody.get(&format!("{base}/secrets")).await?);
        let token = self.api.token(&format!("eyJ.{}.x", canary(23)));
        Self::keep(said, &token.get(&format!("{base}/secrets")).await?);
        Ok(())
    }
}
