//! A broker of either kind, and processes on it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use roadstead_auth::mesh::MeshKey;
use roadstead_bus::memory::Memory;
use roadstead_bus::rabbit::{Options, Rabbit};
use roadstead_bus::{
    Bus, CallContext, Counts, Deliveries, Destination, Member, Message, ReturnedHook, Subscription, Transport,
    dead_letter_queue,
};
use roadstead_runtime::client_tls::ClientTls;
use roadstead_runtime::{Ids, Secret, SystemClock, Tasks};
use tokio::sync::watch;

use crate::proxy::Proxy;

pub const MESH_SECRET: &str = "mesh-secret-for-tests-0123456789abcdef";

/// A broker.
pub struct Rig {
    kind: Kind,
}

enum Kind {
    Memory { memory: Memory, seen: Arc<Mutex<Vec<u8>>> },
    Rabbit { proxy: Proxy, direct: Arc<dyn Transport>, user: String },
}

/// One process on the bus.
pub struct Process {
    pub bus: Bus,
    pub tasks: Tasks,
    pub counts: Arc<Counts>,
    pub transport: Arc<dyn Transport>,
}

pub fn mesh_key() -> MeshKey {
    MeshKey::new(&Secret::new(MESH_SECRET)).unwrap()
}

pub fn ids() -> Ids {
    Ids::system(SystemClock::shared())
}

pub fn context(milliseconds: u64) -> CallContext {
    CallContext::new(Duration::from_millis(milliseconds), "request-1")
}

/// Waits until a condition holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Rig {
    pub fn memory() -> Self {
        Self { kind: Kind::Memory { memory: Memory::new(), seen: Arc::default() } }
    }

    pub async fn rabbit() -> Self {
        roadstead_runtime::install_crypto();
        let url = std::env::var("ROADSTEAD_TEST_RABBITMQ_URL").expect("ROADSTEAD_TEST_RABBITMQ_URL");
        let uri: lapin::uri::AMQPUri = url.parse().unwrap();
        let proxy = Proxy::start(&uri).await;
        let direct: Arc<dyn Transport> = Arc::new(open(&url, Tasks::new()));
        connected(&*direct).await;
        Self { kind: Kind::Rabbit { proxy, direct, user: uri.authority.userinfo.username } }
    }

    /// A process of a service, connected.
    pub async fn process(&self, service: &'static str) -> Process {
        self.process_with(service, mesh_key()).await
    }

    pub async fn process_with(&self, service: &'static str, mesh_key: MeshKey) -> Process {
        let tasks = Tasks::new();
        let process = Self::process_on(self.transport(&tasks), tasks, service, mesh_key);
        process.connected().await;
        process
    }

    /// A process with another broker user's address; nothing is waited for.
    pub fn process_at(url: &str, service: &'static str) -> Process {
        let tasks = Tasks::new();
        Self::process_on(Arc::new(open(url, tasks.clone())), tasks, service, mesh_key())
    }

    fn process_on(transport: Arc<dyn Transport>, tasks: Tasks, service: &'static str, mesh_key: MeshKey) -> Process {
        let counts = Arc::new(Counts::default());
        let member = Member {
            mesh_key,
            service,
            replica: ids().next(),
            ids: ids(),
            clock: SystemClock::shared(),
            tasks: tasks.clone(),
            meter: counts.clone(),
        };
        Process { bus: Bus::new(transport.clone(), member), tasks, counts, transport }
    }

    fn transport(&self, tasks: &Tasks) -> Arc<dyn Transport> {
        match &self.kind {
            Kind::Memory { memory, seen } => Arc::new(Recorder { inner: memory.clone(), seen: seen.clone() }),
            Kind::Rabbit { proxy, .. } => Arc::new(open(&proxy.url, tasks.clone())),
        }
    }

    /// A way to the broker that a cut does not reach.
    pub fn outside(&self) -> Arc<dyn Transport> {
        match &self.kind {
            Kind::Memory { memory, .. } => Arc::new(memory.clone()),
            Kind::Rabbit { direct, .. } => direct.clone(),
        }
    }

    /// Removes what an earlier run left: brokers outlive tests.
    pub async fn clean(&self, queues: &[&str]) {
        let Kind::Rabbit { .. } = &self.kind else { return };
        for queue in queues {
            for name in [(*queue).to_owned(), dead_letter_queue(queue)] {
                crate::broker::delete(&name).await;
            }
        }
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.kind, Kind::Memory { .. })
    }

    /// The broker user that messages can name.
    pub fn user(&self) -> String {
        match &self.kind {
            Kind::Memory { .. } => "guest".to_owned(),
            Kind::Rabbit { user, .. } => user.clone(),
        }
    }

    pub fn cut(&self) {
        match &self.kind {
            Kind::Memory { memory, .. } => memory.set_connected(false),
            Kind::Rabbit { proxy, .. } => proxy.cut(),
        }
    }

    pub fn restore(&self) {
        match &self.kind {
            Kind::Memory { memory, .. } => memory.set_connected(true),
            Kind::Rabbit { proxy, .. } => proxy.restore(),
        }
    }

    /// Every byte that went over the bus.
    pub fn captured(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Memory { seen, .. } => seen.lock().unwrap().clone(),
            Kind::Rabbit { proxy, .. } => proxy.captured(),
        }
    }

    /// Reasons of the dead letters of a queue, as they come, until there are so many.
    pub async fn dead_letters(&self, queue: &str, number: usize) -> Vec<Message> {
        let outside = self.outside();
        let dead = dead_letter_queue(queue);
        let found = Mutex::new(Vec::new());
        eventually("dead letters", || async {
            while let Some(letter) = outside.take(&dead).await.unwrap() {
                found.lock().unwrap().push(letter);
            }
            found.lock().unwrap().len() >= number
        })
        .await;
        let found = found.into_inner().unwrap();
        assert_eq!(found.len(), number, "{:?}", found.iter().map(Message::dead_reason).collect::<Vec<_>>());
        found
    }

    pub async fn dead_reasons(&self, queue: &str, number: usize) -> Vec<String> {
        let letters = self.dead_letters(queue, number).await;
        letters.iter().map(|letter| letter.dead_reason().unwrap_or_default().to_owned()).collect()
    }
}

impl Process {
    pub async fn connected(&self) {
        connected(&*self.transport).await;
        // Answers can be taken once this bus's own reply queue is read.
        let mut connected = self.bus.connected();
        connected.wait_for(|connected| *connected).await.unwrap();
    }
}

async fn connected(transport: &dyn Transport) {
    let mut connected = transport.connected();
    let waited = tokio::time::timeout(Duration::from_secs(15), connected.wait_for(|connected| *connected)).await;
    assert!(waited.is_ok_and(|state| state.is_ok()), "not connected: {}", transport.detail());
}

/// A process's own way to a broker.
pub fn open(url: &str, tasks: Tasks) -> Rabbit {
    let options =
        Options { url: Secret::new(url), tls: ClientTls::default(), name: "tests".to_owned(), ids: ids(), tasks };
    Rabbit::open(options).unwrap()
}

/// Remembers everything that is published.
struct Recorder {
    inner: Memory,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn publish(&self, to: Destination, message: Message) -> roadstead_bus::Result<()> {
        {
            let mut seen = self.seen.lock().unwrap();
            let headers: &BTreeMap<String, String> = &message.headers;
            seen.extend_from_slice(format!("{message:?} {headers:?} {:?}", message.reply_to).as_bytes());
            seen.extend_from_slice(&message.body);
        }
        self.inner.publish(to, message).await
    }
    fn consume(&self, subscription: Subscription) -> Deliveries {
        self.inner.consume(subscription)
    }
    fn connected(&self) -> watch::Receiver<bool> {
        self.inner.connected()
    }
    fn detail(&self) -> String {
        self.inner.detail()
    }
    async fn depth(&self, queue: &str) -> roadstead_bus::Result<Option<u64>> {
        self.inner.depth(queue).await
    }
    async fn take(&self, queue: &str) -> roadstead_bus::Result<Option<Message>> {
        self.inner.take(queue).await
    }
    fn on_returned(&self, hook: ReturnedHook) {
        self.inner.on_returned(hook);
    }
}
