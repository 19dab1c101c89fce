//! A hub made of this service, an in-process bus and a pretended user service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::identity::{RootKey, SigningKeys};
use roadstead_auth::mesh::MeshKey;
use roadstead_auth::token::{Kind, TwoPart, api_key_proof};
use roadstead_bus::memory::Memory;
use roadstead_bus::{Bus, CallContext, Counts, Member, Router, ServeOptions};
use roadstead_contracts::agent::{StreamHead, StreamTarget};
use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ApiKeyId, JoinTokenId, ReplicaId, TypedId as _};
use roadstead_contracts::message::{
    Authenticate, Authenticated, Cluster, CreateCluster, CreateJoinToken, CredentialProof, IdentifyPeer,
    IdentityKeySet, IdentityKeys, JoinToken, NewJoinToken, Request, RightsProfile,
};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::queue::{CLUSTER_AUTH, IDENTITY};
use roadstead_contracts::{Code, Error, Result};
use roadstead_kv::{Kv, MemoryKv, RedisKv};
use roadstead_onboarding::{Deps, Service, build};
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use roadstead_runtime::{Clock, Ids, Readiness, Secret, SharedClock, SystemClock, Tasks};
use roadstead_store::{Opened, Options, open};
use roadstead_telemetry::Metrics;

/// The machine's clock, moved.
#[derive(Debug, Clone, Default)]
pub struct MovedClock(Arc<AtomicI64>);

impl Clock for MovedClock {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + TimeDelta::seconds(self.0.load(Ordering::Relaxed))
    }
}

impl MovedClock {
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// A replica of the service.
pub struct Replica {
    pub service: Service,
    pub tasks: Tasks,
    pub readiness: Readiness,
    /// Its own folder.
    pub data: std::path::PathBuf,
}

impl Replica {
    pub fn address(&self) -> SocketAddr {
        let mut address = self.service.agent_address();
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        address
    }
}

pub struct Rig {
    pub broker: Memory,
    pub mesh_key: MeshKey,
    pub ids: Ids,
    pub moved: MovedClock,
    pub clock: SharedClock,
    /// Asks, as the front door would.
    pub bus: Bus,
    pub tasks: Tasks,
    pub opened: Opened,
    pub settings: Settings,
    pub replicas: Vec<Replica>,
    pub root: String,
    pub alice: Principal,
    pub bob: Principal,
    pub admin: Principal,
    pub alice_key: String,
    folder: tempfile::TempDir,
    /// The replicas' own folders.
    data: tempfile::TempDir,
}

/// For a rig whose Redis is away; all others have one in memory.
pub const NO_REDIS: (&str, &str) = ("ROADSTEAD_REDIS_URL", "redis://127.0.0.1:1/");

pub fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut env = MapEnv::new([
        ("ROADSTEAD_SERVER_AGENT_PORT", "0"),
        ("ROADSTEAD_DATABASE_URL", "sqlite::memory:"),
        ("ROADSTEAD_MESH_SECRET", "0123456789abcdef0123456789abcdef"),
        ("ROADSTEAD_DEV", "true"),
        ("ROADSTEAD_SEAL_MASTER_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ("ROADSTEAD_COMPAT_QUEUE_PEERS", "peer=alice"),
    ]);
    for (name, value) in pairs {
        env = env.with(*name, *value);
    }
    Settings::load(ServiceRole::Onboarding, None, &env).unwrap_or_else(|faults| panic!("{faults}"))
}

pub fn principal(ids: &Ids, name: &str, seq: i64, role: Role) -> Principal {
    Principal {
        user_id: ids.next(),
        user_seq: seq,
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        roles: BTreeSet::from([role]),
        reach: if role == Role::Admin { Reach::All } else { Reach::Granted(BTreeSet::new()) },
        credential: CredentialKind::ApiKey(ids.next()),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    }
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(&[], 1).await
    }

    pub async fn with(pairs: &[(&str, &str)], replicas: usize) -> Self {
        roadstead_runtime::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let moved = MovedClock::default();
        let clock: SharedClock = Arc::new(moved.clone());
        let ids = Ids::system(Arc::clone(&clock));
        let mesh_key = MeshKey::random(&ids).unwrap();
        let broker = Memory::new();
        let tasks = Tasks::new();
        let alice = principal(&ids, "alice", 1, Role::Operator);
        let bob = principal(&ids, "bob", 2, Role::Operator);
        let admin = principal(&ids, "root", 3, Role::Admin);
        let key = TwoPart::new(Kind::ApiKey, ids.next::<ApiKeyId>(), &ids).format();
        let alice_key = key.expose().to_owned();
        let url = Secret::new(format!("sqlite:{}", folder.path().display()));
        let opened = open(&url, &Options::new("onboarding")).await.unwrap();
        let mut rig = Self {
            bus: bus(&broker, &mesh_key, "cluster", &ids, &clock, &tasks),
            broker,
            mesh_key,
            ids,
            moved,
            clock,
            tasks,
            opened,
            settings: settings(pairs),
            replicas: Vec::new(),
            root: String::new(),
            alice,
            bob,
            admin,
            alice_key,
            folder,
            data: tempfile::tempdir().unwrap(),
        };
        rig.root = rig.pretend_user_service().await;
        let mut built = Vec::new();
        for _ in 0..replicas {
            built.push(rig.build().await);
        }
        for replica in &built {
            replica.service.start().await.unwrap();
        }
        rig.replicas = built;
        for index in 0..replicas {
            rig.ready(index).await;
        }
        rig
    }

    /// A replica that is built and not started.
    pub async fn build(&self) -> Replica {
        let tasks = Tasks::new();
        let readiness = Readiness::new();
        let data = self.data.path().join(self.ids.next::<ApiKeyId>().to_string());
        // The settings of a mesh always name one.
        let named = self.settings.redis.url.as_ref().filter(|url| url.expose() == NO_REDIS.1);
        let kv: Arc<dyn Kv> = match named {
            Some(away) => Arc::new(RedisKv::open(away).unwrap()),
            None => Arc::new(MemoryKv::new(Arc::clone(&self.clock))),
        };
        let deps = Deps {
            bus: bus(&self.broker, &self.mesh_key, roadstead_onboarding::NAME, &self.ids, &self.clock, &tasks),
            database: self.opened.clone(),
            kv,
            clock: Arc::clone(&self.clock),
            ids: self.ids.clone(),
            tasks: tasks.clone(),
            metrics: Metrics::new(),
            readiness: readiness.clone(),
            mesh_key: self.mesh_key.clone(),
            settings: Arc::new(Settings { data_dir: data.clone(), ..self.settings.clone() }),
        };
        Replica { service: build(deps).await.unwrap(), tasks, readiness, data }
    }

    async fn ready(&self, index: usize) {
        eventually("the replica is ready", || async { self.replicas[index].readiness.is_ready() }).await;
    }

    pub fn address(&self) -> SocketAddr {
        self.replicas[0].address()
    }

    /// Whether any file of the database has these bytes.
    pub fn files_contain(&self, bytes: &[u8]) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .any(|content| content.windows(bytes.len()).any(|window| window == bytes))
    }

    async fn pretend_user_service(&self) -> String {
        let bus = bus(&self.broker, &self.mesh_key, "user", &self.ids, &self.clock, &self.tasks);
        let root = RootKey::new(PrivateKey::generate().unwrap());
        let signing = SigningKeys::new(PrivateKey::generate().unwrap(), []);
        let key_set = root.sign_key_set(signing.key_set(), self.clock.now()).unwrap();
        let keys = IdentityKeySet { root: root.public_base64url(), key_set };
        let public = keys.root.clone();
        let peer = self.alice.clone();
        let identity = Router::new(IDENTITY).on(move |_: IdentityKeys, _| std::future::ready(Ok(keys.clone()))).on(
            move |request: IdentifyPeer, _| {
                let known = (request.account == "alice").then(|| Authenticated {
                    principal: peer.clone(),
                    expires_at: None,
                    assertion: request.cluster_id.map(|_| "signed".to_owned()),
                });
                std::future::ready(known.ok_or_else(|| Error::of(Code::InvalidCredential)))
            },
        );
        let (expected, alice) = (api_key_proof(&self.alice_key).unwrap(), self.alice.clone());
        let auth = Router::new(CLUSTER_AUTH).on(move |request: Authenticate, _| {
            let good: bool = request.credential == expected && matches!(expected, CredentialProof::ApiKey { .. });
            let known = good.then(|| Authenticated { principal: alice.clone(), expires_at: None, assertion: None });
            std::future::ready(known.ok_or_else(|| Error::of(Code::InvalidCredential)))
        });
        bus.serve(identity, ServeOptions::default()).await.unwrap();
        bus.serve(auth, ServeOptions::default()).await.unwrap();
        public
    }

    pub async fn call<R: Request>(&self, request: R) -> Result<R::Reply> {
        self.bus.call(&request, &CallContext::new(Duration::from_secs(10), "test")).await
    }

    pub async fn code<R: Request>(&self, request: R) -> Code
    where
        R::Reply: std::fmt::Debug,
    {
        self.call(request).await.unwrap_err().code
    }

    /// A token as a door makes it: its text, and what travels.
    pub fn token(&self, uses: u32) -> (String, NewJoinToken) {
        let token = TwoPart::new(Kind::Join, self.ids.next::<JoinTokenId>(), &self.ids);
        let new = NewJoinToken {
            id: token.id(),
            digest: token.digest(),
            lifetime_seconds: 600,
            uses,
            labels: Labels::default(),
            profile: RightsProfile::default(),
            namespaces: Vec::new(),
        };
        (token.format().expose().to_owned(), new)
    }

    /// A join token of a caller, not bound to a cluster.
    pub async fn join_token(&self, owner: &Principal, uses: u32) -> (String, JoinToken) {
        let (text, token) = self.token(uses);
        let made = self.call(CreateJoinToken { principal: owner.clone(), token, cluster: None }).await.unwrap();
        (text, made)
    }

    /// A cluster of a caller with a token for its agent.
    pub async fn cluster(&self, owner: &Principal, name: &str) -> (String, Cluster) {
        let (text, token) = self.token(10);
        let made = self.call(create(owner, name, Some(token))).await.unwrap();
        (text, made)
    }
}

pub fn create(owner: &Principal, name: &str, join_token: Option<NewJoinToken>) -> CreateCluster {
    CreateCluster {
        principal: owner.clone(),
        name: ClusterName::parse(name).unwrap(),
        description: String::new(),
        labels: Labels::default(),
        join_token,
    }
}

pub fn with_reach(principal: &Principal, clusters: &[&Cluster]) -> Principal {
    Principal { reach: Reach::Granted(clusters.iter().map(|cluster| cluster.id).collect()), ..principal.clone() }
}

pub fn bus(
    broker: &Memory,
    key: &MeshKey,
    service: &'static str,
    ids: &Ids,
    clock: &SharedClock,
    tasks: &Tasks,
) -> Bus {
    let member = Member {
        mesh_key: key.clone(),
        service,
        replica: ReplicaId::from_uuid(ids.uuid()),
        ids: ids.clone(),
        clock: Arc::clone(clock),
        tasks: tasks.clone(),
        meter: Arc::new(Counts::default()),
    };
    Bus::new(Arc::new(broker.clone()), member)
}

pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>())
}

/// Head of a stream for the Kubernetes API.
pub fn head() -> StreamHead {
    StreamHead {
        target: StreamTarget::Kubernetes {},
        request_id: "r-1".to_owned(),
        deadline_milliseconds: 10_000,
        traceparent: None,
        assertion: Some("signed".to_owned()),
    }
}
