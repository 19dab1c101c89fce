//! A front door, its fake owners, and a client.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::jwt::{KeySet, Signer, Subject};
use roadstead_auth::mesh::MeshKey;
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_bus::memory::Memory;
use roadstead_bus::{Bus, Counts, Member, Transport};
use roadstead_cluster::{Deps, KubernetesLink, Links, Service};
use roadstead_contracts::audit::AuditRecord;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ApiKeyId, SessionId, UserId};
use roadstead_http_kit::{
    Access, Authenticator, Caller, Credential, Front, Limiter, Limits, Listener, NoMetrics, RateClass, RateSettings,
    RequestContext, Routes, ServeOptions,
};
use roadstead_kv::{Kv, MemoryKv, RedisKv};
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use roadstead_runtime::{Clock as _, Ids, ManualClock, Readiness, Secret, SharedClock, Tasks};
use roadstead_telemetry::Metrics;
use serde_json::Value;

use crate::operations_owner::{Operations, serve_operations};
use crate::owners::{World, noon, principal, serve_onboarding, serve_user};

/// One account and its credentials.
pub struct Account {
    pub principal: Principal,
    pub key: String,
    pub session: SessionId,
}

pub struct Rig {
    pub clock: ManualClock,
    pub ids: Ids,
    pub metrics: Metrics,
    pub world: Arc<World>,
    pub operations: Arc<Operations>,
    pub deps: Deps,
    pub service: Service,
    pub transport: Memory,
    pub user_bus: Bus,
    /// What the front door had recorded.
    pub trail: Arc<Mutex<Vec<AuditRecord>>>,
    /// Whether the user service takes no records.
    pub trail_away: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
    pub signing: Arc<Mutex<Signing>>,
    pub key_fetches: Arc<AtomicU32>,
    pub http: reqwest::Client,
    pub admin: Account,
    pub operator: Account,
    pub other: Account,
    pub viewer: Account,
    pub nobody: Account,
}

/// The user service's signing key and what its key set shows.
pub struct Signing {
    pub signer: Signer,
    pub shown: Value,
}

impl Signing {
    pub fn new() -> Self {
        let key = PrivateKey::generate().unwrap();
        let shown = KeySet::of([key.public()]).to_json();
        Self { signer: Signer::eddsa(key, "roadstead", "roadstead"), shown }
    }
}

/// For a rig whose Redis is away; all others have one in memory.
pub const NO_REDIS: (&str, &str) = ("ROADSTEAD_REDIS_URL", "redis://127.0.0.1:1/");

/// How a rig differs from the usual one.
#[derive(Default)]
pub struct Setup {
    pub env: Vec<(&'static str, String)>,
    pub without_owners: bool,
    /// Another user service, which is not there.
    pub user_url: Option<String>,
    /// A Kubernetes door.
    pub kubernetes: Option<KubernetesLink>,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn env(env: &[(&'static str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::with(Setup { env, ..Setup::default() }).await
    }

    pub async fn with(setup: Setup) -> Self {
        let clock = ManualClock::at(noon());
        let shared: SharedClock = Arc::new(clock.clone());
        let ids = Ids::seeded(shared.clone(), 7);
        let (tasks, metrics) = (Tasks::new(), Metrics::new());
        let mesh_key = MeshKey::new(&Secret::new("m".repeat(32))).unwrap();
        let transport = Memory::new();
        let member = |service: &'static str| Member {
            mesh_key: mesh_key.clone(),
            service,
            replica: ids.next(),
            ids: ids.clone(),
            clock: shared.clone(),
            tasks: tasks.clone(),
            meter: Arc::new(Counts::default()),
        };
        let bus = |service| Bus::new(Arc::new(transport.clone()) as Arc<dyn Transport>, member(service));
        let (door_bus, user_bus, onboarding_bus) = (bus("cluster"), bus("user"), bus("onboarding"));
        let folder = tempfile::tempdir().unwrap();
        let trail = Arc::new(Mutex::new(Vec::new()));
        let trail_away = Arc::new(AtomicBool::new(false));
        crate::audit::serve_trail(&user_bus, Arc::clone(&trail), Arc::clone(&trail_away)).await;
        let world = World::new(ids.clone());
        let operations = Operations::new(ids.clone(), bus("operations"));
        if !setup.without_owners {
            serve_operations(&operations).await;
            serve_user(&user_bus, &world).await;
            serve_onboarding(&onboarding_bus, &world).await;
        }
        let signing = Arc::new(Mutex::new(Signing::new()));
        let key_fetches = Arc::new(AtomicU32::new(0));
        let user_url =
            user_http(&tasks, &shared, &ids, mesh_key.clone(), Arc::clone(&signing), Arc::clone(&key_fetches));
        let mut env = MapEnv::new([("ROADSTEAD_SERVER_PORT", "0")])
            .with("ROADSTEAD_DATA_DIR", folder.path().display().to_string());
        let no_redis = setup.env.iter().any(|(name, _)| *name == NO_REDIS.0);
        for (name, value) in setup.env {
            env = env.with(name, value);
        }
        let settings = Settings::load(ServiceRole::Up, None, &env).unwrap();
        let kv: Arc<dyn Kv> = if no_redis {
            Arc::new(RedisKv::open(&Secret::new(NO_REDIS.1)).unwrap())
        } else {
            Arc::new(MemoryKv::new(shared.clone()))
        };
        let deps = Deps {
            bus: door_bus,
            kv,
            clock: shared,
            ids: ids.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            readiness: Readiness::new(),
            mesh_key,
            settings: Arc::new(settings),
        };
        let away = setup.user_url.is_some();
        let links = Links {
            user_url: setup.user_url.or(Some(user_url)),
            agent_url: Some("https://agents.example:8007".to_owned()),
            kubernetes: setup.kubernetes,
            bodies: Some(Arc::clone(&operations) as Arc<dyn roadstead_relay::BodyStage>),
            handovers: Some(Arc::new(crate::direct::Onboarding(Arc::clone(&world)))),
        };
        let service = roadstead_cluster::build(deps.clone(), links).unwrap();
        service.start().await.unwrap();
        let account = |seq: i64, name: &str, roles: &[Role], reach: Reach| {
            let user_id: UserId = ids.next();
            add_account(&world, &ids, principal(user_id, seq, name, roles, reach))
        };
        let granted = || Reach::Granted([].into());
        let rig = Self {
            admin: account(1, "owner", &[Role::Admin], Reach::All),
            operator: account(2, "olga", &[Role::Operator], granted()),
            other: account(3, "otto", &[Role::Operator], granted()),
            viewer: account(4, "vera", &[Role::Viewer], granted()),
            nobody: account(5, "nina", &[], granted()),
            clock,
            ids: ids.clone(),
            metrics,
            world,
            operations,
            deps,
            service,
            transport,
            user_bus,
            trail,
            trail_away,
            _folder: folder,
            signing,
            key_fetches,
            http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap(),
        };
        if !away {
            rig.until_ready().await;
        }
        rig
    }

    async fn until_ready(&self) {
        for _ in 0..500 {
            if self.get("/readyz", None).await.status == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the front door never became ready");
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address())
    }

    pub async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        let headers: Vec<(&str, &str)> = key.map(|key| ("x-api-key", key)).into_iter().collect();
        self.send_with(method, path, &headers, body).await
    }

    pub async fn send_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str, key: Option<&str>) -> Answer {
        self.send("GET", path, key, None).await
    }

    /// A good access token of an account.
    pub fn token(&self, account: &Account) -> String {
        let subject = Subject {
            user_id: account.principal.user_id,
            seq: account.principal.user_seq,
            session_id: account.session,
            username: account.principal.username.clone(),
            email: account.principal.email.clone(),
            roles: account.principal.roles.clone(),
        };
        let signing = self.signing.lock().unwrap();
        let pair = self.ids.uuid().to_string();
        signing.signer.issue(subject, self.clock.now(), Duration::from_secs(3600), &pair).unwrap().0.expose().to_owned()
    }

    pub async fn emit(&self, fact: Fact) {
        let event = Event { id: self.ids.next(), at: self.clock.now(), fact };
        self.user_bus.emit(&event).await.unwrap();
    }
}

fn add_account(world: &World, ids: &Ids, mut principal: Principal) -> Account {
    let id: ApiKeyId = ids.next();
    let token = TwoPart::new(Kind::ApiKey, id, ids);
    let session: SessionId = ids.next();
    principal.credential = CredentialKind::ApiKey(id);
    world.keys.lock().unwrap().insert((id, token.digest()), principal.clone());
    world.sessions.lock().unwrap().insert(session, principal.clone());
    Account { principal, key: token.format().expose().to_owned(), session }
}

/// The part of the user service's HTTP that the front door needs: the key set, and an echo of what was forwarded.
fn user_http(
    tasks: &Tasks,
    clock: &SharedClock,
    ids: &Ids,
    mesh_key: MeshKey,
    signing: Arc<Mutex<Signing>>,
    fetches: Arc<AtomicU32>,
) -> String {
    struct Nobody;

    #[async_trait::async_trait]
    impl Authenticator for Nobody {
        async fn authenticate(&self, _: &Credential, _: &RequestContext) -> roadstead_contracts::Result<Caller> {
            Err(roadstead_contracts::Code::InvalidCredential.into())
        }
    }

    let front = Arc::new(Front {
        ids: ids.clone(),
        clock: clock.clone(),
        trusted_proxies: Vec::new(),
        forwarded_by: Some(mesh_key),
        limits: Limits::default(),
        metrics: Arc::new(NoMetrics),
        authenticator: Arc::new(Nobody),
        limiter: Limiter::new(RateSettings { enabled: false, ..RateSettings::default() }, None),
    });
    let socket = roadstead_http_kit::bind("127.0.0.1", 0).unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    let options = ServeOptions {
        name: "fake-user",
        listeners: vec![Listener { socket, tls: None }],
        workers: 1,
        head_time: Duration::from_secs(5),
        grace: Duration::from_secs(1),
    };
    let shared = Arc::clone(&front);
    roadstead_http_kit::serve(tasks, options, front, move |config: &mut web::ServiceConfig| {
        let (signing, fetches) = (Arc::clone(&signing), Arc::clone(&fetches));
        let mut routes = Routes::new(Arc::clone(&shared)).add(
            Method::GET,
            "/.well-known/jwks.json",
            Access::Public,
            RateClass::Free,
            move || {
                fetches.fetch_add(1, Ordering::SeqCst);
                let shown = signing.lock().unwrap().shown.clone();
                async move { HttpResponse::Ok().json(shown) }
            },
        );
        for method in [Method::GET, Method::POST, Method::DELETE] {
            routes = routes.add(method, "/{tail:.*}", Access::Public, RateClass::Free, echo);
        }
        routes.mount(config);
    })
    .unwrap();
    format!("http://{address}")
}

async fn echo(request: HttpRequest, context: RequestContext, body: web::Bytes) -> HttpResponse {
    let headers: Vec<String> =
        request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    HttpResponse::Accepted().insert_header(("x-internal", "1")).insert_header(("location", "/next")).json(
        serde_json::json!({
            "method": request.method().as_str(),
            "target": request.uri().to_string(),
            "client": context.client.to_string(),
            "request_id": context.request_id,
            "headers": headers,
            "body": String::from_utf8_lossy(&body),
        }),
    )
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON in {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_else(|| panic!("no code in {self:?}")).to_owned()
    }

    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}
