//! The Kubernetes door, as kubectl and client libraries use it, against a real API server: every verb through the hub, with
//! a new and an old kubectl, on both layouts.

mod away;
mod front_door;
mod logs;
mod pods;
mod rights;
mod through;
mod verbs;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{JOIN_LIMIT, Kubectl, Layout, TestMesh, Tuning};

use self::front_door::front_door;

/// A stream is cut within this time of the end of its right (5 s, and a loaded machine).
const CUT_LIMIT: Duration = Duration::from_secs(6);
/// Where simulated pods run and their logs are what `tests/kube` says.
const NAMESPACE: &str = "through-the-hub";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes"]
async fn kubectl_through_one_process() {
    conformance(Layout::OneProcess).await.unwrap();
}

/// The long form of one of its steps: `cargo xtask campaign watch`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as ROADSTEAD_TEST_WATCH_SECONDS says; nothing without it; needs kubernetes"]
async fn long_watch_through_one_process() {
    if std::env::var_os("ROADSTEAD_TEST_WATCH_SECONDS").is_some() {
        let _alone = crate::alone().await;
        let mut mesh = TestMesh::start(Layout::OneProcess, Tuning::default().without_quotas()).await.unwrap();
        mesh.start_agent("quay", None).await.unwrap();
        mesh.status("quay", "connected", JOIN_LIMIT).await.unwrap();
        through::a_watch_is_held(&mesh).await.unwrap();
        mesh.end();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn kubectl_through_a_mesh() {
    conformance(Layout::Mesh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kubernetes, rabbitmq, postgres, redis"]
async fn replicas_go_and_come() {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(Layout::Mesh, Tuning::default().without_quotas()).await.unwrap();
    away::replicas_that_go(&mut mesh).await.context("replicas that go").unwrap();
    away::a_watch_outlives_who_carries_it(&mut mesh).await.context("a watch over stops and deaths").unwrap();
    mesh.end();
}

async fn conformance(layout: Layout) -> Result<()> {
    let _alone = crate::alone().await;
    let mut mesh = TestMesh::start(layout, Tuning::default().without_quotas()).await?;
    // At the last replica's door: in a mesh, front doors reach it over the wire between replicas.
    let door = mesh.agent_doors.len() - 1;
    mesh.start_agent("quay", Some(door)).await?;
    mesh.status("quay", "connected", JOIN_LIMIT).await?;
    for front in 0..mesh.doors.len() {
        let person = Person::of(&mesh, front, "quay", &mesh.api_key).await?;
        for kubectl in person.kubectls()? {
            println!("kubectl {} at front door {front}", kubectl.version);
            verbs::all(&kubectl).await.with_context(|| format!("verbs with {}", kubectl.version))?;
        }
        rights::identity(&person).await.context("identity")?;
        front_door(&mesh, front).await.context("the front door's own route")?;
    }
    through::fifty_and_fifty(&mesh).await.context("fifty and fifty")?;
    through::a_watch_is_held(&mesh).await.context("a watch that is held")?;
    logs::a_reader_that_stops(&mesh).await.context("a log whose reader stops")?;
    rights::viewer(&mesh).await.context("a viewer")?;
    rights::a_revoked_key_cuts_its_streams(&mesh).await.context("a revoked key")?;
    away::a_watch_ends_cleanly(&mut mesh).await.context("a watch")?;
    away::a_cluster_that_is_away(&mut mesh).await.context("a cluster that is away")?;
    mesh.end();
    Ok(())
}

/// Somebody at one front door, with one cluster.
pub(crate) struct Person {
    kubeconfig: PathBuf,
    url: String,
    key: String,
    hub: String,
    profile: PathBuf,
    http: reqwest::Client,
}

impl Person {
    pub(crate) async fn of(mesh: &TestMesh, front: usize, cluster: &str, key: &str) -> Result<Self> {
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

    pub(crate) fn kubectl(&self) -> Result<Kubectl> {
        self.kubectls()?.into_iter().next().context("no kubectl")
    }

    /// A client that opens a connection for each request that is under way.
    async fn http1(&self, mesh: &TestMesh) -> Result<reqwest::Client> {
        let doors = mesh.caller(0)?.get("/.well-known/roadstead").await?.expect(200)?;
        let authority = doors["kubernetes_ca"].as_str().context("no authority")?;
        let trusted = [reqwest::Certificate::from_pem(authority.as_bytes())?];
        Ok(reqwest::Client::builder().no_proxy().http1_only().tls_certs_only(trusted).build()?)
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key)
    }
}
