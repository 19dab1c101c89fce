//! The hub as a client of identity providers: what they publish about themselves, kept and fetched again when it must be;
//! codes turned into tokens, tokens checked. Who somebody is here is decided in `app::sign_in`.

mod document;
mod provider;

use std::sync::Arc;

use anyhow::Context as _;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::outgoing::Outgoing;
use roadstead_runtime::SharedClock;
use roadstead_runtime::outgoing::Policy;

pub(crate) use provider::{CODE_MAX, refused};
pub(crate) use provider::{DeviceStart, Polled, Provider};

use crate::domain::ProviderSettings;

/// The providers of the hub.
#[derive(Debug, Default)]
pub struct Providers(Vec<Arc<Provider>>);

impl Providers {
    /// Providers as the settings describe them. Nothing is fetched yet: a provider that is away must not keep a hub down.
    pub fn new(settings: Vec<ProviderSettings>, policy: &Policy, clock: &SharedClock) -> anyhow::Result<Self> {
        let build = |settings: ProviderSettings| {
            let client = Outgoing::new(policy.clone(), [settings.issuer.as_str()])
                .context("failed to set up a client for an identity provider")?;
            anyhow::Ok(Arc::new(Provider::new(settings, client, SharedClock::clone(clock))))
        };
        Ok(Self(settings.into_iter().map(build).collect::<anyhow::Result<_>>()?))
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Provider>] {
        &self.0
    }

    /// One by name; the only or first one when none is named.
    pub fn find(&self, name: Option<&str>) -> Result<&Arc<Provider>> {
        let missing = || Error::new(Code::NotFound, "there is no such identity provider");
        match name.filter(|name| !name.is_empty()) {
            Some(name) => self.0.iter().find(|provider| provider.settings.name == name).ok_or_else(missing),
            None => self.0.first().ok_or_else(missing),
        }
    }

    /// Those that a token may be from.
    pub fn of_issuer<'a>(&'a self, issuer: &'a str) -> impl Iterator<Item = &'a Arc<Provider>> {
        self.0.iter().filter(move |provider| provider.settings.issuer == issuer)
    }
}
