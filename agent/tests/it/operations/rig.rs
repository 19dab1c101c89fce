//! An agent with a ledger, and a hub that orders.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use roadstead_agent::Core;
use roadstead_agent::kubernetes::Cluster;
use roadstead_auth::identity::operation_digest;
use roadstead_contracts::agent::{Notice, StreamHead, StreamTarget, VerbAnswer};
use roadstead_contracts::drift::{DriftParts, DriftReport};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::operation::{
    CANCEL_OPERATION, CancelRun, CancelledRun, Ending, ObjectOutcome, ObjectResult, OperationClaims, RUN_OPERATION,
    Restore, RunEnding, RunEvent, RunOperation, SETTLE_OPERATION, SettleRun, Work,
};
use roadstead_runtime::Tasks;
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Class, Event, Incoming, Options, Role, Session, Stream, start};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::watch;

use crate::hub::{CLUSTER, Keys, now, send};

/// An agent, and the hub's end of its session.
pub struct Rig {
    pub keys: Keys,
    pub hub: Session,
    /// What the agent says has drifted.
    pub drift: watch::Receiver<DriftReport>,
    tasks: Tasks,
    folder: PathBuf,
    cluster: Cluster,
    helm: Option<PathBuf>,
}

/// A new operation's id.
pub fn operation() -> OperationId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("0198c5b0-0000-7000-8000-{:04x}{number:08x}", std::process::id() & 0xffff).parse().unwrap()
}

/// The kubeconfig of the test cluster.
pub fn kubeconfig() -> PathBuf {
    std::env::var("ROADSTEAD_TEST_KUBECONFIG").expect("ROADSTEAD_TEST_KUBECONFIG").into()
}

/// What is ordered, before it is signed.
#[derive(Debug, Clone)]
pub struct Wish {
    pub id: OperationId,
    pub epoch: i64,
    pub work: Work,
    pub body: Vec<u8>,
    pub only: Option<Vec<u32>>,
    pub begun: bool,
    pub stored: u32,
    pub role: &'static str,
    pub deadline_seconds: u32,
}

impl Wish {
    pub fn new(work: Work, body: impl Into<Vec<u8>>) -> Self {
        Self {
            id: operation(),
            epoch: 1,
            work,
            body: body.into(),
            only: None,
            begun: false,
            stored: 0,
            role: "admin",
            deadline_seconds: 120,
        }
    }
}

/// An apply without anything special.
pub fn apply() -> Work {
    Work::Apply { namespace: None, dry_run: false, prune: None, inventory: None, force_conflicts: false, wait: false }
}

impl Rig {
    /// For the test cluster, whose roles are bound at the first session.
    pub async fn real(folder: &Path) -> Self {
        let core = Core::from_kubeconfig(Some(&kubeconfig()), None).await.unwrap();
        let cluster = core.cluster().clone();
        Self::serve(core.with_ledger(folder.to_owned()), cluster, folder, Keys::new())
    }

    /// The same with a Helm; none = one that is not there.
    pub async fn with_helm(folder: &Path, helm: Option<&Path>) -> Self {
        let core = Core::from_kubeconfig(Some(&kubeconfig()), None).await.unwrap();
        let cluster = core.cluster().clone();
        let helm = helm.unwrap_or(Path::new("/nowhere/helm")).to_owned();
        let core = core.with_helm(Some(helm.clone())).with_ledger(folder.to_owned());
        let mut rig = Self::serve(core, cluster, folder, Keys::new());
        rig.helm = Some(helm);
        rig
    }

    /// For any cluster.
    pub fn of(cluster: Cluster, folder: &Path) -> Self {
        Self::serve(Core::new(cluster.clone()).with_ledger(folder.to_owned()), cluster, folder, Keys::new())
    }

    /// Without a folder.
    pub fn forgetful(cluster: Cluster) -> Self {
        Self::serve(Core::new(cluster.clone()), cluster, Path::new("/nowhere"), Keys::new())
    }

    fn serve(core: Core, cluster: Cluster, folder: &Path, keys: Keys) -> Self {
        let (core, tasks) = (Arc::new(core), Tasks::new());
        let (ours, theirs) = pipe();
        let (hub, incoming) = start(ours, Role::Hub, Options::default(), &tasks);
        let drift = heard(incoming, hub.clone());
        let (session, agent_incoming) = start(theirs, Role::Agent, Options::default(), &tasks);
        let (root, own) = (keys.root.public_base64url(), tasks.clone());
        tokio::spawn(async move { core.serve(session, agent_incoming, root, CLUSTER.to_owned(), &own).await });
        send(&hub, &keys.welcome());
        Self { keys, hub, drift, tasks, folder: folder.to_owned(), cluster, helm: None }
    }

    /// The agent dies where it stands, and another one comes up with the same folder.
    pub async fn die(self) -> Self {
        self.die_while(async {}).await
    }

    /// The same, and something happens before the other one comes up.
    pub async fn die_while(self, meanwhile: impl Future<Output = ()>) -> Self {
        self.tasks.cut();
        self.tasks.finish(Duration::ZERO).await;
        meanwhile.await;
        let helm = self.helm.clone();
        let core = Core::new(self.cluster.clone()).with_helm(helm.clone()).with_ledger(self.folder.clone());
        let mut served = Self::serve(
            core,
            self.cluster.clone(),
            &self.folder,
            Keys { root: self.keys.root.clone(), signing: self.keys.signing.clone() },
        );
        served.helm = helm;
        served
    }

    /// The same folder in a process that stops in an orderly way.
    pub async fn leave(self) -> Self {
        self.tasks.finish(Duration::from_secs(5)).await;
        let core = Core::new(self.cluster.clone()).with_ledger(self.folder.clone());
        Self::serve(core, self.cluster.clone(), &self.folder, Keys::new())
    }

    /// The order of a wish, signed; `change` is made to the claims first.
    pub fn order(&self, wish: &Wish, change: impl FnOnce(&mut OperationClaims)) -> RunOperation {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(&wish.body);
        let body_sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let iat = now().timestamp();
        let mut claims = OperationClaims {
            sub: "alice".to_owned(),
            uid: "u".to_owned(),
            roles: vec![wish.role.to_owned()],
            aud: CLUSTER.to_owned(),
            operation: wish.id.to_string(),
            epoch: wish.epoch,
            digest: operation_digest(&wish.work, &body_sha256).unwrap(),
            iat,
            exp: iat + 60,
        };
        change(&mut claims);
        RunOperation {
            operation_id: wish.id,
            cluster_id: CLUSTER.parse().unwrap(),
            epoch: wish.epoch,
            work: wish.work.clone(),
            body_length: wish.body.len() as u64,
            body_sha256,
            deadline_seconds: wish.deadline_seconds,
            only: wish.only.clone(),
            begun: wish.begun,
            sent: false,
            stored: wish.stored,
            order: self.keys.signing.sign_operation(&claims).unwrap(),
        }
    }

    /// Begins or takes up a run.
    pub async fn begin(&self, wish: &Wish) -> Events {
        let order = self.order(wish, |_| {});
        self.send(&order, &wish.body).await
    }

    /// Sends an order as it is.
    pub async fn send(&self, order: &RunOperation, body: &[u8]) -> Events {
        let mut stream = self.open(RUN_OPERATION);
        let mut head = serde_json::to_vec(order).unwrap();
        head.push(b'\n');
        // A refused order is not read to its end.
        let _ = stream.write_all(&head).await;
        let _ = stream.write_all(body).await;
        let _ = stream.shutdown().await;
        Events(BufReader::new(stream))
    }

    pub fn open(&self, verb: &str) -> Stream {
        let head = StreamHead {
            target: StreamTarget::Agent { verb: verb.to_owned() },
            request_id: "r-1".to_owned(),
            deadline_milliseconds: 20_000,
            traceparent: None,
            assertion: None,
        };
        self.hub.open(serde_json::to_vec(&head).unwrap().into(), Class::Bulk).unwrap()
    }

    async fn ask<T: DeserializeOwned>(&self, verb: &str, request: &impl Serialize) -> VerbAnswer<T> {
        let mut stream = self.open(verb);
        stream.write_all(&serde_json::to_vec(request).unwrap()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    pub async fn cancel(&self, operation_id: OperationId, epoch: i64) -> CancelledRun {
        match self.ask(CANCEL_OPERATION, &CancelRun { operation_id, epoch }).await {
            VerbAnswer::Ok(answer) => answer,
            VerbAnswer::Error(error) => panic!("{error}"),
        }
    }

    pub async fn settle(&self, operation_id: OperationId, epoch: i64) {
        let answer: VerbAnswer<SettleRun> = self.ask(SETTLE_OPERATION, &SettleRun { operation_id, epoch }).await;
        assert!(matches!(answer, VerbAnswer::Ok(_)), "{answer:?}");
    }

    /// Runs a wish to its end.
    pub async fn run(&self, wish: &Wish) -> Told {
        self.begin(wish).await.all().await
    }

    pub async fn undo(&self, told: &Told) -> Told {
        self.run(&Wish::new(Work::Undo { force: false }, told.restores())).await
    }

    /// The cluster, for what happens while the agent is away.
    pub fn cluster(&self) -> Cluster {
        self.cluster.clone()
    }

    /// Reads an object as the agent's own account.
    pub async fn get(&self, path: &str) -> Option<Value> {
        self.cluster.get(path, None).await.ok()
    }

    /// The object of a key, by the agent's own eyes.
    pub async fn find(&self, key: &roadstead_contracts::operation::ObjectKey) -> Option<Value> {
        let root = if key.api_version.contains('/') { "/apis/" } else { "/api/" };
        let kinds = self.get(&format!("{root}{}", key.api_version)).await?;
        let plural =
            kinds["resources"].as_array()?.iter().find(|row| {
                row["kind"] == key.kind.as_str() && !row["name"].as_str().unwrap_or_default().contains('/')
            })?["name"]
                .as_str()?
                .to_owned();
        let below = key.namespace.as_ref().map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        self.get(&format!("{root}{}{below}/{plural}/{}", key.api_version, key.name)).await
    }

    pub async fn write(&self, method: http::Method, path: &str, form: &'static str, body: &Value) -> Value {
        self.cluster.write(method, path, form, body).await.unwrap()
    }

    /// Removes a namespace, without waiting for it.
    pub async fn remove_namespace(&self, name: &str) {
        let path = format!("/api/v1/namespaces/{name}");
        let gone: Result<Value, _> =
            self.cluster.write(http::Method::DELETE, &path, "application/json", &serde_json::json!({})).await;
        drop(gone);
    }

    /// Makes a namespace of its own for a test.
    pub async fn namespace(&self, what: &str) -> String {
        let name = format!("operations-{what}-{}", operation().to_string().rsplit('-').next().unwrap());
        let body = serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.write(http::Method::POST, "/api/v1/namespaces", "application/json", &body).await;
        name
    }
}

/// Takes reports of drift, and says so.
fn heard(mut incoming: Incoming, hub: Session) -> watch::Receiver<DriftReport> {
    let (tell, told) = watch::channel(DriftReport::default());
    tokio::spawn(async move {
        let mut parts = DriftParts::default();
        while let Some(event) = incoming.next().await {
            let Event::Notice(bytes) = event else { continue };
            let Ok(Notice::Drift(part)) = serde_json::from_slice(&bytes) else { continue };
            if let Some(report) = parts.add(part) {
                send(&hub, &Notice::DriftTaken { revision: report.revision });
                tell.send_replace(report);
            }
        }
    });
    told
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.tasks.cut();
    }
}

/// Events as they come.
pub struct Events(BufReader<Stream>);

impl Events {
    pub async fn next(&mut self) -> Option<RunEvent> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
        }
    }

    pub async fn all(mut self) -> Told {
        let mut told = Told::default();
        while let Some(event) = self.next().await {
            match event {
                RunEvent::Accepted { objects, finished } => told.accepted = Some((objects, finished)),
                RunEvent::Object(result) => told.results.push(*result),
                RunEvent::Waiting { left, on } => told.waited.push((left, on)),
                RunEvent::Output { text, stderr } => told.output.push((text, stderr)),
                RunEvent::Alive {} => {}
                RunEvent::Refused(error) => told.refused = Some(error),
                RunEvent::Done(ending) => told.ending = Some(*ending),
            }
        }
        told
    }
}

/// What a run told.
#[derive(Debug, Default, Clone)]
pub struct Told {
    pub accepted: Option<(u32, u32)>,
    pub results: Vec<ObjectResult>,
    pub waited: Vec<(u32, String)>,
    pub output: Vec<(String, bool)>,
    pub refused: Option<roadstead_contracts::Error>,
    pub ending: Option<RunEnding>,
}

impl Told {
    pub fn ending(&self) -> &RunEnding {
        self.ending.as_ref().unwrap_or_else(|| panic!("no ending: {self:?}"))
    }

    /// It ended so, and nothing failed.
    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        let wrong: Vec<_> = self.results.iter().filter(|result| result.error.is_some()).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let drifted: Vec<_> = self.results.iter().filter(|result| result.outcome == ObjectOutcome::Drifted).collect();
        assert_eq!(self.ending().ending, Ending::Succeeded, "{:?} {drifted:?}", self.ending);
        self
    }

    pub fn outcomes(&self) -> Vec<ObjectOutcome> {
        self.results.iter().map(|result| result.outcome).collect()
    }

    pub fn of(&self, name: &str) -> &ObjectResult {
        self.results.iter().find(|result| result.key.name == name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Body of an undo: last first.
    pub fn restores(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for result in self.results.iter().rev().filter(|result| result.undoable) {
            let restore = Restore {
                key: result.key.clone(),
                before: result.before.clone(),
                left_version: result.left_version.clone(),
            };
            body.extend(serde_json::to_vec(&restore).unwrap());
            body.push(b'\n');
        }
        body
    }
}

/// ConfigMaps `c-00`, `c-01`, … of a namespace.
pub fn config_maps(namespace: &str, count: usize, value: &str) -> String {
    (0..count)
        .map(|number| {
            format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c-{number:02}, namespace: {namespace}}}\ndata: {{value: {value:?}}}\n")
        })
        .collect::<Vec<_>>()
        .concat()
}
