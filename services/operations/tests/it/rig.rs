//! A hub made of this service, an in-process bus, pretended user and onboarding services, and a pretended agent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use roadstead_auth::mesh::MeshKey;
use roadstead_bus::memory::Memory;
use roadstead_bus::{Bus, CallContext, Member, Router, ServeOptions};
use roadstead_contracts::audit::AuditRecord;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ClusterId, OperationId, ReplicaId, SessionId, TypedId as _, UserId, parse_hyphenated};
use roadstead_contracts::message::*;
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::operation::{OperationState, Work};
use roadstead_contracts::queue::{AUDIT_RECORD, CLUSTER_REGISTRY, IDENTITY};
use roadstead_contracts::{Code, Error, Result};
use roadstead_operations::{Deps, Faults, Service, build};
use roadstead_relay::BodyStage as _;
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use roadstead_runtime::{Clock, Ids, Readiness, Secret, SharedClock, SystemClock, Tasks};
use roadstead_store::{Options, open};
use roadstead_telemetry::Metrics;

use crate::agent::{Agent, Streams};

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

/// What the pretended user and onboarding services know.
#[derive(Default)]
pub struct World {
    pub audit: Mutex<Vec<AuditRecord>>,
    pub revoked: AtomicBool,
    pub signed: Mutex<Vec<SignOperation>>,
    /// Owners of clusters.
    pub owners: Mutex<BTreeMap<ClusterId, UserId>>,
}

pub struct Rig {
    pub services: Vec<Service>,
    pub agent: Arc<Agent>,
    pub broker: Memory,
    pub bus: Bus,
    pub clock: MovedClock,
    pub tasks: Tasks,
    pub agent_tasks: Tasks,
    pub metrics: Metrics,
    pub world: Arc<World>,
    pub ids: Ids,
    pub folder: tempfile::TempDir,
    mesh_key: MeshKey,
    settings: Arc<Settings>,
    faults: Faults,
}

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What waits longer hangs.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub async fn rig() -> Rig {
    Rig::new(1, Faults::default(), &[]).await
}

impl Rig {
    pub async fn new(replicas: usize, faults: Faults, settings: &[(&str, &str)]) -> Self {
        Self::with_clock(replicas, faults, settings, MovedClock::default()).await
    }

    pub async fn with_clock(replicas: usize, faults: Faults, settings: &[(&str, &str)], clock: MovedClock) -> Self {
        roadstead_runtime::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let shared: SharedClock = Arc::new(clock.clone());
        let ids = Ids::system(shared.clone());
        let tasks = Tasks::new();
        let metrics = Metrics::new();
        let broker = Memory::new();
        let mesh_key = MeshKey::random(&ids).unwrap();
        let world = Arc::new(World::default());
        // It does not end with the hub.
        let agent_tasks = Tasks::new();
        let agent = Agent::new(agent_tasks.clone());
        let data = folder.path().display().to_string();
        let mut vars: Vec<(&str, &str)> = vec![
            ("ROADSTEAD_DATA_DIR", &data),
            ("ROADSTEAD_SEAL_MASTER_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ];
        vars.extend_from_slice(settings);
        let env = MapEnv::new(vars);
        let settings = Arc::new(Settings::load(ServiceRole::Up, None, &env).unwrap());
        let member = Member {
            mesh_key: mesh_key.clone(),
            service: "test",
            replica: ids.next::<ReplicaId>(),
            ids: ids.clone(),
            clock: shared,
            tasks: tasks.clone(),
            meter: Arc::new(metrics.clone()),
        };
        let bus = Bus::new(Arc::new(broker.clone()), member);
        pretend(&bus, &world).await;
        let services = Vec::new();
        let mut rig = Self {
            services,
            agent,
            broker,
            bus,
            clock,
            tasks,
            agent_tasks,
            metrics,
            world,
            ids,
            folder,
            mesh_key,
            settings,
            faults,
        };
        for _ in 0..replicas {
            rig.serve().await;
        }
        rig
    }

    fn member(&self, service: &'static str) -> Member {
        Member {
            mesh_key: self.mesh_key.clone(),
            service,
            replica: self.ids.next::<ReplicaId>(),
            ids: self.ids.clone(),
            clock: Arc::new(self.clock.clone()),
            tasks: self.tasks.clone(),
            meter: Arc::new(self.metrics.clone()),
        }
    }

    /// One more replica.
    async fn serve(&mut self) {
        let readiness = Readiness::new();
        let bus = Bus::new(Arc::new(self.broker.clone()), self.member(roadstead_operations::NAME));
        bus.report_to(readiness.register("bus"));
        let url = Secret::new(format!("sqlite:{}", self.folder.path().display()));
        let database = open(&url, &Options::new(roadstead_operations::NAME)).await.unwrap();
        database.watch(readiness.register("database"), &self.tasks);
        let deps = Deps {
            bus,
            database,
            clock: Arc::new(self.clock.clone()),
            ids: self.ids.clone(),
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
            readiness,
            settings: Arc::clone(&self.settings),
            streams: Some(Arc::new(Streams(Arc::clone(&self.agent)))),
            faults: self.faults.clone(),
        };
        let service = build(deps).await.unwrap();
        service.start().await.unwrap();
        self.services.push(service);
    }

    /// The service goes, its neighbours do something, and it comes back.
    pub async fn away(mut self, meanwhile: impl AsyncFnOnce(&Self)) -> Self {
        self.tasks.finish(PATIENCE).await;
        self.services.clear();
        self.tasks = Tasks::new();
        self.bus = Bus::new(Arc::new(self.broker.clone()), self.member("test"));
        pretend(&self.bus, &self.world).await;
        meanwhile(&self).await;
        self.serve().await;
        self
    }

    /// Stops in time: nothing of the service holds a stop up.
    pub async fn stop(self) {
        let began = std::time::Instant::now();
        self.tasks.finish(PATIENCE).await;
        assert!(began.elapsed() < PATIENCE, "something does not stop");
        self.agent_tasks.finish(Duration::ZERO).await;
    }

    pub async fn ask<R: Request>(&self, request: &R) -> Result<R::Reply> {
        self.bus.call(request, &CallContext::new(Duration::from_secs(10), "r-1")).await
    }

    pub async fn stage(&self, body: &str) -> String {
        self.services[0].stage().stage(Bytes::from(body.to_owned())).await.unwrap()
    }

    /// An apply of so many objects.
    pub async fn apply(&self, cluster: ClusterId, objects: usize) -> Operation {
        self.create(|create| create.cluster_id = cluster, objects).await.unwrap()
    }

    pub async fn create(&self, change: impl FnOnce(&mut CreateOperation), objects: usize) -> Result<Operation> {
        let mut create = create(admin(), cluster(1));
        create.body_sha256 = Some(self.stage(&body(objects)).await);
        change(&mut create);
        self.ask(&create).await
    }

    pub async fn get(&self, id: OperationId) -> Operation {
        self.ask(&GetOperation { principal: admin(), id }).await.unwrap()
    }

    pub async fn wait(&self, id: OperationId, state: OperationState) -> Operation {
        self.until(id, |operation| operation.state == state, state.as_str()).await
    }

    pub async fn ended(&self, id: OperationId) -> Operation {
        self.until(id, |operation| operation.state.is_terminal(), "an ending").await
    }

    pub async fn until(&self, id: OperationId, good: impl Fn(&Operation) -> bool, what: &str) -> Operation {
        let began = std::time::Instant::now();
        loop {
            // Clocks that jump let a message expire.
            if let Ok(operation) = self.ask(&GetOperation { principal: admin(), id }).await {
                if good(&operation) {
                    return operation;
                }
                assert!(began.elapsed() < PATIENCE, "never {what}: {:?} {}", operation.state, operation.reason);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn cancel(&self, id: OperationId) -> Result<(Cancellation, Operation)> {
        self.ask(&CancelOperation { principal: admin(), id, reason: "no".to_owned() }).await
    }

    pub async fn steps(&self, id: OperationId) -> Vec<OperationStep> {
        let request = ListOperationSteps { principal: admin(), id, after: 0, limit: 1_000 };
        self.ask(&request).await.unwrap().steps
    }

    pub async fn states(&self, id: OperationId) -> Vec<OperationState> {
        let steps = self.steps(id).await;
        let states = steps.into_iter().filter_map(|step| match step.what {
            StepKind::State { state, .. } => Some(state),
            _ => None,
        });
        states.collect()
    }

    /// The agent of a cluster is there.
    pub async fn connected(&self, cluster_id: ClusterId) {
        let fact = Fact::AgentConnected { cluster_id, agent_id: "a".to_owned() };
        self.bus.emit(&Event { id: self.ids.next(), at: self.clock.now(), fact }).await.unwrap();
    }

    /// Steps have no gap, nothing follows an ending but what is parked, each object was done once and is told once.
    pub async fn check(&self, id: OperationId) {
        let steps = self.steps(id).await;
        let numbers: Vec<i64> = steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, (1..=i64::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
        let (mut ended, mut positions) = (false, BTreeSet::new());
        for step in &steps {
            match &step.what {
                StepKind::Parked { .. } => {}
                StepKind::State { state, .. } => {
                    assert!(!ended, "a step back: {steps:?}");
                    ended = state.is_terminal();
                }
                StepKind::Object { position, .. } => {
                    assert!(!ended && positions.insert(*position), "twice or late: {steps:?}");
                }
                _ => assert!(!ended, "late: {steps:?}"),
            }
        }
        assert!(ended, "{steps:?}");
        assert!(self.agent.effects(id).values().all(|count| *count == 1), "{:?}", self.agent.effects(id));
    }
}

pub fn cluster(number: u128) -> ClusterId {
    ClusterId::from_uuid(uuid::Uuid::from_u128(0x1000 + number))
}

pub fn name(cluster: ClusterId) -> ClusterName {
    ClusterName::parse(&format!("c-{}", cluster.uuid().as_u128())).unwrap()
}

pub fn principal(user: u128, role: Role, reach: Reach) -> Principal {
    Principal {
        user_id: UserId::from_uuid(uuid::Uuid::from_u128(user)),
        user_seq: 1,
        username: format!("user{user}"),
        email: "u@example.com".to_owned(),
        roles: BTreeSet::from([role]),
        reach,
        credential: CredentialKind::Session(SessionId::from_uuid(uuid::Uuid::from_u128(9))),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    }
}

pub fn admin() -> Principal {
    principal(1, Role::Admin, Reach::All)
}

pub fn body(objects: usize) -> String {
    let lines = (0..objects).map(|number| serde_json::json!({"kind": "ConfigMap", "n": number, "x": "canary-body"}));
    lines.fold(String::new(), |text, line| text + &line.to_string() + "\n")
}

pub fn create(principal: Principal, cluster_id: ClusterId) -> CreateOperation {
    CreateOperation {
        principal,
        cluster_id,
        cluster_name: name(cluster_id),
        work: Work::Apply {
            namespace: None,
            dry_run: false,
            prune: None,
            inventory: None,
            force_conflicts: false,
            wait: false,
        },
        body_sha256: None,
        source: "http_api".to_owned(),
        description: String::new(),
        idempotency_key: None,
        deadline_seconds: None,
        priority: None,
        webhook_url: None,
        webhook_sha256: None,
    }
}

async fn pretend(bus: &Bus, world: &Arc<World>) {
    let known = Arc::clone(world);
    let registry = Router::new(CLUSTER_REGISTRY).on(move |request: GetCluster, _| {
        let known = Arc::clone(&known);
        async move {
            let id = parse_hyphenated(&request.cluster).map_err(|_| Error::not_found("Cluster not found"))?;
            let id = ClusterId::from_uuid(id);
            let owner_id = known.owners.lock().unwrap().get(&id).copied();
            let facts = roadstead_contracts::policy::ClusterFacts {
                id,
                name: Some(name(id).to_string()),
                labels: Some(Labels::default()),
                owner: owner_id,
            };
            if !roadstead_policy::sees(&request.principal, &facts, SystemClock.now()) {
                return Err(Error::not_found("Cluster not found"));
            }
            Ok(Cluster {
                id,
                seq: 1,
                name: name(id),
                description: String::new(),
                labels: Labels::default(),
                mode: ClusterMode::Agent,
                endpoint: None,
                status: ClusterStatus::Connected,
                owner_id,
                agent_id: None,
                facts: ClusterFacts::default(),
                last_seen_at: None,
                created_at: DateTime::UNIX_EPOCH,
                updated_at: DateTime::UNIX_EPOCH,
            })
        }
    });
    let (known, peers) = (Arc::clone(world), Arc::clone(world));
    let identity = Router::new(IDENTITY)
        .on(move |request: SignOperation, _| {
            let known = Arc::clone(&known);
            async move {
                if known.revoked.load(Ordering::SeqCst) {
                    return Err(Error::of(Code::PermissionRevoked));
                }
                known.signed.lock().unwrap().push(request);
                Ok(SignedOperation { order: "order".to_owned(), assertion: "identity".to_owned() })
            }
        })
        .on(move |request: IdentifyPeer, _| {
            let _world = Arc::clone(&peers);
            async move {
                let mut principal = admin();
                principal.credential = CredentialKind::QueuePeer(request.account);
                Ok(Authenticated { principal, expires_at: None, assertion: None })
            }
        });
    let known = Arc::clone(world);
    let audit = Router::new(AUDIT_RECORD).on(move |request: RecordAudit, _| {
        let known = Arc::clone(&known);
        async move {
            let fresh = u32::try_from(request.records.len()).unwrap();
            known.audit.lock().unwrap().extend(request.records);
            Ok(AuditRecorded { fresh })
        }
    });
    for router in [registry, identity, audit] {
        bus.serve(router, ServeOptions::default()).await.unwrap();
    }
}
