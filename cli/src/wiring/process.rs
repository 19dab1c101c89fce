//! What the services of one process share.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use roadstead_auth::mesh::MeshKey;
use roadstead_bus::memory::Memory;
use roadstead_bus::{Bus, Member, Transport};
use roadstead_contracts::ids::ReplicaId;
use roadstead_kv::{Kv, MemoryKv};
use roadstead_runtime::config::{KEYRING, Settings};
use roadstead_runtime::{Ids, Readiness, SharedClock, SystemClock, Tasks};
use roadstead_seal::source::KeyringFile;
use roadstead_store::Opened;
use roadstead_telemetry::Metrics;

use super::{bus, database, kv};

/// One process: its settings and what its services share.
#[derive(Clone)]
pub struct Process {
    /// Settings.
    pub settings: Arc<Settings>,
    /// Time.
    pub clock: SharedClock,
    /// Ids and randomness.
    pub ids: Ids,
    /// Its tasks.
    pub tasks: Tasks,
    /// What it counts.
    pub metrics: Metrics,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// Signs messages and forwarded requests.
    pub mesh_key: MeshKey,
    /// The broker.
    pub transport: Arc<dyn Transport>,
    /// Small values and quotas.
    pub kv: Arc<dyn Kv>,
    /// This process of its service.
    pub replica: ReplicaId,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl Process {
    /// What could not be built, and on which database: often it is that which is in the way.
    pub(crate) fn failed_to_build(&self, service: &'static str) -> String {
        let place = roadstead_store::place(&self.settings.database.url, service);
        format!("failed to build the {service} service on the {place}")
    }

    /// For `up`: a bus and small values in memory. Inside the runtime.
    pub fn embedded(settings: Settings) -> Result<Self> {
        let (clock, ids) = sources();
        // A key of its own for each start: nothing that it signs outlives the process.
        let mesh_key = match &settings.mesh.secret {
            Some(secret) => MeshKey::new(secret),
            None => MeshKey::random(&ids),
        };
        let kv = Arc::new(MemoryKv::new(clock.clone()));
        Self::new(settings, clock, ids, Tasks::new(), mesh_key.context("the mesh key cannot be used")?, |_, _, _| {
            Ok((Arc::new(Memory::new()), kv))
        })
    }

    /// For `serve`: RabbitMQ and Redis. Inside the runtime; nothing is waited for, `/readyz` tells how they are.
    pub fn mesh(settings: Settings, service: &'static str) -> Result<Self> {
        let (clock, ids) = sources();
        let secret = settings.mesh.secret.as_ref().context("mesh.secret is not set")?;
        let mesh_key = MeshKey::new(secret).context("the mesh key cannot be used")?;
        Self::new(settings, clock, ids, Tasks::new(), mesh_key, |settings, ids, tasks| {
            Ok((bus::rabbit(settings, service, ids, tasks)?, kv::redis(settings)?))
        })
    }

    fn new(
        settings: Settings,
        clock: SharedClock,
        ids: Ids,
        tasks: Tasks,
        mesh_key: MeshKey,
        servers: impl FnOnce(&Settings, &Ids, &Tasks) -> Result<(Arc<dyn Transport>, Arc<dyn Kv>)>,
    ) -> Result<Self> {
        make_own_keyring(&settings)?;
        let (transport, kv) = servers(&settings, &ids, &tasks)?;
        let replica = ids.next::<ReplicaId>();
        Ok(Self {
            settings: Arc::new(settings),
            clock,
            ids,
            tasks,
            metrics: Metrics::new(),
            readiness: Readiness::new(),
            mesh_key,
            transport,
            kv,
            replica,
        })
    }

    /// A service's membership of the bus; whether it is connected becomes part of the readiness.
    pub fn bus(&self, service: &'static str, part: &'static str) -> Bus {
        let member = Member {
            mesh_key: self.mesh_key.clone(),
            service,
            replica: self.replica,
            ids: self.ids.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            meter: Arc::new(self.metrics.clone()),
        };
        let bus = Bus::new(Arc::clone(&self.transport), member);
        bus.report_to(self.readiness.register(part));
        bus::watch(&bus, &self.metrics, &self.tasks);
        bus
    }

    /// A service's own database, its schema up to date; whether it answers becomes that part of the readiness.
    pub async fn database(&self, service: &'static str, part: &'static str) -> Result<Opened> {
        let opened = database::open_database(&self.settings, service).await?;
        opened.watch(self.readiness.register(part), &self.tasks);
        database::watch(&opened, &self.metrics, &self.tasks);
        Ok(opened)
    }

    /// Whether the store of small values answers becomes part of the readiness.
    pub fn watch_kv(&self) {
        kv::watch(Arc::clone(&self.kv), self.readiness.register("redis"), &self.tasks);
    }

    /// The same process with other settings: what is only known after a door was bound.
    #[must_use]
    pub fn with_settings(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::clone(&self.settings);
        change(&mut settings);
        Self { settings: Arc::new(settings), ..self.clone() }
    }
}

/// A hub that has its folder to itself (`up`, development) makes its own master keys there; anywhere else the file that is
/// named must be there.
fn make_own_keyring(settings: &Settings) -> Result<()> {
    match &settings.seal.keyring_file {
        Some(path) if *path == settings.data_dir.join(KEYRING) => {
            KeyringFile::new(path).make_if_absent().context("failed to make the file of master keys")
        }
        _ => Ok(()),
    }
}

fn sources() -> (SharedClock, Ids) {
    let clock = SystemClock::shared();
    let ids = Ids::system(clock.clone());
    (clock, ids)
}
