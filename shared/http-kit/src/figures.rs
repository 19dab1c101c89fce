//! A listener of its own for figures and probes, by TLS. Where the settings ask for it, figures are shown here and at no other
//! door of the service, so that who sees them is decided in the handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::config::Metrics;
use roadstead_runtime::{Ids, SharedClock, Tasks};

use crate::mutual::Member;
use crate::probes::Probes;
use crate::{
    Authenticator, Caller, Credential, Front, Limiter, Limits, Listener, NoMetrics, RateSettings, RequestContext,
    Routes, ServeOptions, bind, serve, tls,
};

/// Threads of a listener that only scrapers ask.
const WORKERS: usize = 1;

/// Why the listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Its files.
    #[error(transparent)]
    Files(#[from] tls::Error),
    /// Its settings of TLS.
    #[error("failed to set up TLS for figures")]
    Tls(#[from] rustls::Error),
    /// Its address.
    #[error(transparent)]
    Address(#[from] io::Error),
}

/// The listener, bound and not yet served.
#[derive(Debug)]
pub struct Figures {
    listener: Listener,
    address: SocketAddr,
}

/// What it is served with.
#[derive(Debug)]
pub struct Served {
    /// Name of its task.
    pub name: &'static str,
    /// Makes request ids.
    pub ids: Ids,
    /// Tells the time.
    pub clock: SharedClock,
    /// What it shows.
    pub probes: Probes,
    /// Longest time for a request's head to arrive.
    pub head_time: Duration,
    /// Longest time for requests to end after the stop.
    pub grace: Duration,
}

impl Figures {
    /// Binds it, where the settings give it a certificate.
    pub fn bind(
        host: &str,
        metrics: &Metrics,
        clock: &SharedClock,
        tasks: &Tasks,
    ) -> std::result::Result<Option<Self>, Fault> {
        if !metrics.enabled {
            return Ok(None);
        }
        let Some(member) = Member::of_figures(metrics, clock, tasks)? else { return Ok(None) };
        let listener = Listener { socket: bind(host, metrics.port)?, tls: Some(member.server_config()?) };
        let address = listener.address()?;
        Ok(Some(Self { listener, address }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener itself, for a service that serves it with its own frame.
    pub fn into_listener(self) -> Listener {
        self.listener
    }

    /// Serves it until the process stops.
    pub fn serve(self, served: Served, tasks: &Tasks) -> io::Result<()> {
        let Served { name, ids, clock, probes, head_time, grace } = served;
        let front = Arc::new(Front {
            ids,
            clock,
            trusted_proxies: Vec::new(),
            forwarded_by: None,
            limits: Limits::default(),
            metrics: Arc::new(NoMetrics),
            authenticator: Arc::new(Nobody),
            limiter: Limiter::new(RateSettings::default(), None),
        });
        let options = ServeOptions { name, listeners: vec![self.listener], workers: WORKERS, head_time, grace };
        let routes = Arc::clone(&front);
        serve(tasks, options, front, move |config| probes.add_to(Routes::new(Arc::clone(&routes))).mount(config))
    }
}

/// No route here asks who is calling: the handshake did.
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &Credential, _: &RequestContext) -> Result<Caller> {
        Err(Error::of(Code::InvalidCredential))
    }
}
