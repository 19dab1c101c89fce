//! The door's wiring: with the parts of a hub in one process, or with the settings of a mesh.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_http_kit::tls::{Certificate, Files};
use roadstead_relay::{AgentStreams, MeshStreams};
use roadstead_runtime::Tasks;
use rustls::ServerConfig;

use super::breaker::Breakers;
use super::{Door, HubGate, Standing};
use crate::Deps;
use crate::app::App;
use crate::options::{KubernetesLink, Options};

/// A bound door.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Option<String>,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    streams: Arc<dyn AgentStreams>,
}

/// A door that can be opened.
pub(crate) struct Built {
    pub(crate) address: SocketAddr,
    pub(crate) door: Arc<Door>,
    standing: Arc<Standing>,
    waiting: Mutex<Option<(TcpListener, Arc<ServerConfig>)>>,
}

/// Binds the door where there is a certificate for it. Without one there is none: client-go sends no credentials over plain
/// HTTP.
pub(crate) fn bind(options: &Options, link: Option<KubernetesLink>, deps: &Deps) -> anyhow::Result<Option<Bound>> {
    let one_process = link.is_some();
    let authority = options.kubernetes_authority.as_ref().map(|file| {
        std::fs::read_to_string(file)
            .with_context(|| format!("failed to read tls.kubernetes_ca_file {}", file.display()))
    });
    let authority = authority.transpose()?;
    let (files, authority, streams): (Files, Option<String>, Arc<dyn AgentStreams>) =
        match (link, &options.kubernetes_tls) {
            (Some(link), Some(files)) => (files.clone(), authority, link.streams),
            (Some(link), None) => (link.files, Some(link.authority), link.streams),
            (None, Some(files)) => {
                let Some(secret) = &deps.settings.mesh.secret else { return Ok(None) };
                let tls = MeshTls::derive(secret).context("the mesh secret gives no certificates")?;
                let streams = MeshStreams::new(
                    deps.bus.clone(),
                    Arc::clone(&deps.clock),
                    deps.ids.clone(),
                    deps.tasks.clone(),
                    &tls,
                );
                (files.clone(), authority, Arc::new(streams))
            }
            (None, None) => return Ok(None),
        };
    let certificate = Certificate::watch(files, Arc::clone(&deps.clock), &deps.tasks)
        .context("failed to read the certificate of the Kubernetes door")?;
    let mut tls = certificate.server_config().context("failed to set up TLS of the Kubernetes door")?;
    tls.alpn_protocols = vec![super::HTTP_2.to_vec(), b"http/1.1".to_vec()];
    let host = options.kubernetes_host.to_string();
    let listener = match roadstead_http_kit::bind(&host, options.kubernetes_port) {
        // Somebody's desk: another hub may be running. The address in use is shown and given out.
        Err(fault) if one_process && fault.kind() == std::io::ErrorKind::AddrInUse => {
            tracing::warn!("port {} is taken, the Kubernetes door takes a free one", options.kubernetes_port);
            roadstead_http_kit::bind(&host, 0)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(Some(Bound { address, authority, listener, tls: Arc::new(tls), streams }))
}

impl Bound {
    /// Puts the door together.
    pub(crate) fn build(self, app: &Arc<App>, deps: &Deps) -> Built {
        let standing = Arc::new(Standing::default());
        let limited = app.options.rates.enabled;
        let gate = HubGate::new(Arc::clone(app), Arc::clone(&standing), Arc::clone(&deps.clock), limited);
        let door = Arc::new(Door {
            gate: Arc::new(gate),
            streams: self.streams,
            breakers: Breakers::default(),
            audit: Some(Arc::clone(&app.audit)),
            trusted_proxies: app.options.trusted_proxies.clone(),
            ids: deps.ids.clone(),
            tasks: deps.tasks.clone(),
        });
        Built { address: self.address, door, standing, waiting: Mutex::new(Some((self.listener, self.tls))) }
    }
}

impl Built {
    /// Opens the door. A second call does nothing.
    pub(crate) fn start(&self, app: &Arc<App>, tasks: &Tasks) -> anyhow::Result<()> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((listener, tls)) = waiting else { return Ok(()) };
        let listener = tokio::net::TcpListener::from_std(listener).context("failed to serve the Kubernetes door")?;
        self.standing.start(Arc::clone(&app.authentication), tasks);
        Arc::clone(&self.door).serve(listener, tls);
        Ok(())
    }
}
