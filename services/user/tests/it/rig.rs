//! A running service: SQLite in a folder, the bus in memory, a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Method, RequestBuilder};
use roadstead_auth::mesh::MeshKey;
use roadstead_bus::memory::Memory;
use roadstead_bus::{Bus, CallContext, Counts, Member};
use roadstead_contracts::ids::ReplicaId;
use roadstead_kv::{Kv, MemoryKv, RedisKv};
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use roadstead_runtime::{Clock as _, Ids, ManualClock, Readiness, Secret, SharedClock, Tasks};
use roadstead_store::{Options, open};
use roadstead_telemetry::Metrics;
use roadstead_user::{Deps, FirstStart, Service, build};
use serde_json::{Value, json};

pub const BOOTSTRAP: &str = "bootstrap-token-of-the-tests-0123456789";

/// For a rig whose Redis is away; all others have one in memory.
pub const NO_REDIS: (&str, &str) = ("ROADSTEAD_REDIS_URL", "redis://127.0.0.1:1/");

pub struct Rig {
    pub service: Service,
    pub broker: Memory,
    /// Another service's place on the bus.
    pub bus: Bus,
    pub clock: ManualClock,
    pub tasks: Tasks,
    pub mesh_key: MeshKey,
    pub url: String,
    pub folder: tempfile::TempDir,
    client: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body)).to_owned()
    }
}

pub async fn rig() -> Rig {
    rig_with(&[]).await
}

/// Quotas are out of the way unless a test sets them.
pub async fn rig_with(env: &[(&str, &str)]) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    start(folder, env).await
}

pub async fn start(folder: tempfile::TempDir, env: &[(&str, &str)]) -> Rig {
    start_at(folder, env, ManualClock::at(DateTime::from_timestamp(1_800_000_000, 0).unwrap())).await
}

/// By a clock that others share.
pub async fn start_at(folder: tempfile::TempDir, env: &[(&str, &str)], clock: ManualClock) -> Rig {
    roadstead_runtime::install_crypto();
    let shared: SharedClock = Arc::new(clock.clone());
    let ids = Ids::system(SharedClock::clone(&shared));
    let (tasks, metrics, broker) = (Tasks::new(), Metrics::new(), Memory::new());
    let mesh_key = MeshKey::random(&ids).unwrap();
    let member = |service| Member {
        mesh_key: mesh_key.clone(),
        service,
        replica: ids.next::<ReplicaId>(),
        ids: ids.clone(),
        clock: SharedClock::clone(&shared),
        tasks: tasks.clone(),
        meter: Arc::new(Counts::default()),
    };
    let mut map = MapEnv::default()
        .with("ROADSTEAD_DATA_DIR", folder.path().display().to_string())
        .with("ROADSTEAD_RATE_LIMIT_REQUESTS_PER_MINUTE", "1000000")
        .with("ROADSTEAD_RATE_LIMIT_API_PER_MINUTE", "1000000")
        .with("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "1000")
        .with("ROADSTEAD_SEAL_MASTER_KEY", "cm9hZHN0ZWFkLXRlc3RzLW1hc3Rlci1rZXktMzItYnk=")
        .with("ROADSTEAD_BOOTSTRAP_TOKEN", BOOTSTRAP);
    for (name, value) in env {
        map = map.with(*name, *value);
    }
    let settings = Arc::new(Settings::load(ServiceRole::Up, None, &map).unwrap());
    let database = open(&settings.database.url_for("user"), &Options::new("user")).await.unwrap();
    let kv: Arc<dyn Kv> = if env.contains(&NO_REDIS) {
        Arc::new(RedisKv::open(&Secret::new(NO_REDIS.1)).unwrap())
    } else {
        Arc::new(MemoryKv::new(SharedClock::clone(&shared)))
    };
    let deps = Deps {
        bus: Bus::new(Arc::new(broker.clone()), member("user")),
        database,
        kv,
        clock: SharedClock::clone(&shared),
        ids: ids.clone(),
        tasks: tasks.clone(),
        metrics,
        readiness: Readiness::new(),
        mesh_key: mesh_key.clone(),
        settings,
    };
    let service = build(deps).await.unwrap();
    service.start().await.unwrap();
    let bus = Bus::new(Arc::new(broker.clone()), member("cluster"));
    let url = format!("http://{}", service.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Rig { service, broker, bus, clock, tasks, mesh_key, url, folder, client }
}

impl Rig {
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.url))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Answer { status, headers, body }
    }

    /// Without a credential.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", path).json(&body)).await
    }

    /// With a bearer.
    pub async fn as_bearer(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    /// With an API key.
    pub async fn as_key(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path).header("X-API-Key", key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.as_bearer(token, "GET", path, None).await
    }

    pub async fn register(&self, name: &str) -> Answer {
        let body = json!({"username": name, "email": format!("{name}@example.com"), "password": "password123"});
        let answer = self.post("/api/v1/auth/register", body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer
    }

    pub async fn login(&self, name: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login", json!({"username": name, "password": password})).await
    }

    /// A new account and its tokens.
    pub async fn account(&self, name: &str) -> Answer {
        self.register(name).await;
        let answer = self.login(name, "password123").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    }

    /// The owner of a first start.
    pub async fn owner(&self) -> FirstStart {
        self.service.first_start().await.unwrap().unwrap()
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub async fn stop(self) -> tempfile::TempDir {
        self.tasks.finish(Duration::from_secs(5)).await;
        self.folder
    }
}

/// What a call over the bus carries.
pub fn context() -> CallContext {
    CallContext::new(Duration::from_secs(5), "request-of-the-test")
}

/// Waits for a condition.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..200 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never: {what}");
}

/// Names of an object's members, in order.
pub fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}
