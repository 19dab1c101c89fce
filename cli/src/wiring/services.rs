//! The services, built from a process.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use roadstead_bus::Bus;
use roadstead_cluster::{AgentStreams, Handovers, KubernetesLink, Links};
use roadstead_contracts::agent::StreamHead;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::SessionFacts;
use roadstead_tunnel::{Class, Stream};

use super::Process;
use crate::args::hub::ServiceName;
use crate::up::Certificates;

/// All four in one process.
#[derive(Debug)]
pub struct All {
    /// Accounts, sessions, API keys.
    pub user: roadstead_user::Service,
    /// Clusters, agents, join tokens.
    pub onboarding: roadstead_onboarding::Service,
    /// Changes as operations.
    pub operations: roadstead_operations::Service,
    /// The front door.
    pub cluster: roadstead_cluster::Service,
    /// The front door's membership of the bus.
    pub bus: Bus,
    /// Where the front door listens.
    pub front_door: SocketAddr,
    /// Where the agents' door listens.
    pub agents_door: SocketAddr,
    /// Where clients reach the Kubernetes door.
    pub kubernetes_url: Option<String>,
}

/// Builds all four, from the inside out, so that each knows the addresses of those it asks.
pub async fn all(process: &Process, certificates: Certificates) -> Result<All> {
    let tls = process.settings.tls.enabled;
    let user = user(process, "user bus", "user database").await?;
    let process = process.with_settings(|settings| {
        settings.user.url = crate::up::reachable(user.address(), false);
    });
    let onboarding = onboarding(&process, "onboarding bus", "onboarding database").await?;
    let agents_door = onboarding.agent_address();
    let process = process.with_settings(|settings| {
        settings.server.agent_public_url.get_or_insert_with(|| crate::up::reachable(agents_door, tls));
    });
    let streams: Arc<dyn AgentStreams> = Arc::new(Local(onboarding.streams()));
    let operations = operations(&process, "operations bus", "operations database", Some(Arc::clone(&streams))).await?;
    let bus = process.bus(roadstead_cluster::NAME, "cluster bus");
    let kubernetes = KubernetesLink { streams, files: certificates.files, authority: certificates.authority };
    let handovers: Arc<dyn Handovers> = Arc::new(Local(onboarding.streams()));
    let links = Links {
        kubernetes: Some(kubernetes),
        bodies: Some(Arc::new(operations.stage())),
        handovers: Some(handovers),
        ..Links::default()
    };
    let cluster = cluster(&process, bus.clone(), links)?;
    let (front_door, kubernetes_url) = (cluster.address(), cluster.urls().kubernetes.clone());
    Ok(All { user, onboarding, operations, cluster, bus, front_door, agents_door, kubernetes_url })
}

/// Streams to the agents of the onboarding service in this process.
struct Local(roadstead_onboarding::Streams);

#[async_trait]
impl AgentStreams for Local {
    async fn open(&self, cluster: ClusterId, head: StreamHead, class: Class) -> roadstead_contracts::Result<Stream> {
        self.0.open(cluster, &head, class).await
    }

    async fn open_session(
        &self,
        session: SessionFacts,
        head: StreamHead,
        class: Class,
    ) -> roadstead_contracts::Result<Stream> {
        self.0.open_session(&session, &head, class).await
    }
}

#[async_trait]
impl Handovers for Local {
    async fn hand_over(
        &self,
        verb: &'static str,
        body: Bytes,
        _request_id: &str,
    ) -> roadstead_contracts::Result<Vec<u8>> {
        Ok(self.0.hand_over(verb, &body).await)
    }
}

impl All {
    /// Opens every door, the front door last.
    pub async fn start(&self) -> Result<()> {
        self.user.start().await.context("failed to start the user service")?;
        self.onboarding.start().await.context("failed to start the onboarding service")?;
        self.operations.start().await.context("failed to start the operations service")?;
        self.cluster.start().await.context("failed to start the front door")
    }
}

/// One service of a mesh.
#[derive(Debug)]
pub enum One {
    /// Accounts, sessions, API keys.
    User(roadstead_user::Service),
    /// Clusters, agents, join tokens.
    Onboarding(roadstead_onboarding::Service),
    /// Changes as operations.
    Operations(roadstead_operations::Service),
    /// The front door.
    Cluster(roadstead_cluster::Service),
}

/// Builds one service.
pub async fn one(process: &Process, service: ServiceName) -> Result<One> {
    process.watch_kv();
    Ok(match service {
        ServiceName::User => One::User(user(process, "bus", "database").await?),
        ServiceName::Onboarding => One::Onboarding(onboarding(process, "bus", "database").await?),
        ServiceName::Operations => One::Operations(operations(process, "bus", "database", None).await?),
        ServiceName::Cluster => {
            let bus = process.bus(roadstead_cluster::NAME, "bus");
            One::Cluster(cluster(process, bus, Links::default())?)
        }
    })
}

impl One {
    /// Opens its doors.
    pub async fn start(&self) -> Result<()> {
        match self {
            Self::User(service) => service.start().await,
            Self::Onboarding(service) => service.start().await,
            Self::Operations(service) => service.start().await,
            Self::Cluster(service) => service.start().await,
        }
    }

    /// Where it listens first of all.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::User(service) => service.address(),
            Self::Onboarding(service) => service.agent_address(),
            Self::Operations(service) => service.address(),
            Self::Cluster(service) => service.address(),
        }
    }
}

async fn user(process: &Process, bus: &'static str, database: &'static str) -> Result<roadstead_user::Service> {
    let deps = roadstead_user::Deps {
        bus: process.bus(roadstead_user::NAME, bus),
        database: process.database(roadstead_user::NAME, database).await?,
        kv: process.kv.clone(),
        clock: process.clock.clone(),
        ids: process.ids.clone(),
        tasks: process.tasks.clone(),
        metrics: process.metrics.clone(),
        readiness: process.readiness.clone(),
        mesh_key: process.mesh_key.clone(),
        settings: process.settings.clone(),
    };
    roadstead_user::build(deps).await.with_context(|| process.failed_to_build(roadstead_user::NAME))
}

async fn onboarding(
    process: &Process,
    bus: &'static str,
    database: &'static str,
) -> Result<roadstead_onboarding::Service> {
    let deps = roadstead_onboarding::Deps {
        bus: process.bus(roadstead_onboarding::NAME, bus),
        database: process.database(roadstead_onboarding::NAME, database).await?,
        kv: process.kv.clone(),
        clock: process.clock.clone(),
        ids: process.ids.clone(),
        tasks: process.tasks.clone(),
        metrics: process.metrics.clone(),
        readiness: process.readiness.clone(),
        mesh_key: process.mesh_key.clone(),
        settings: process.settings.clone(),
    };
    roadstead_onboarding::build(deps).await.with_context(|| process.failed_to_build(roadstead_onboarding::NAME))
}

async fn operations(
    process: &Process,
    bus: &'static str,
    database: &'static str,
    streams: Option<Arc<dyn AgentStreams>>,
) -> Result<roadstead_operations::Service> {
    let deps = roadstead_operations::Deps {
        bus: process.bus(roadstead_operations::NAME, bus),
        database: process.database(roadstead_operations::NAME, database).await?,
        clock: process.clock.clone(),
        ids: process.ids.clone(),
        tasks: process.tasks.clone(),
        metrics: process.metrics.clone(),
        readiness: process.readiness.clone(),
        settings: process.settings.clone(),
        streams,
        faults: roadstead_operations::Faults::default(),
    };
    roadstead_operations::build(deps).await.with_context(|| process.failed_to_build(roadstead_operations::NAME))
}

fn cluster(process: &Process, bus: Bus, links: Links) -> Result<roadstead_cluster::Service> {
    let deps = roadstead_cluster::Deps {
        bus,
        kv: process.kv.clone(),
        clock: process.clock.clone(),
        ids: process.ids.clone(),
        tasks: process.tasks.clone(),
        metrics: process.metrics.clone(),
        readiness: process.readiness.clone(),
        mesh_key: process.mesh_key.clone(),
        settings: process.settings.clone(),
    };
    roadstead_cluster::build(deps, links).context("failed to build the front door")
}
