//! The policy as this replica knows it: read, compiled, and read again when it changed.
//!
//! Nobody waits for a reading: the set before it answers until the new one stands beside it. What cannot be read denies
//! everything, and so does a set of which nobody could tell for some seconds whether it still is the one.

pub mod casbin;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use roadstead_contracts::policy::Permissions;
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::{Policy, Who};
use roadstead_runtime::config::Strategy as Chosen;
use roadstead_runtime::{OnFailure, Readiness, ReadyPart, Tasks};
use tokio::time::Instant;

use crate::domain::StoredRule;
use crate::options::AuthorizationOptions;
use crate::store::Store;
use casbin::{Casbin, Files};

/// How often a replica looks whether another one changed the rules, should the event about it be lost. With the doors' own
/// three seconds a change is everywhere within five.
const LOOK: Duration = Duration::from_millis(500);
/// How long a set is believed that could not be looked after.
const BELIEVED: Duration = Duration::from_secs(4);

/// What the permission words of roles are asked of.
#[derive(Debug, Clone)]
pub enum Strategy {
    /// Nothing: everybody may do everything.
    NoAuth,
    /// The roles' own words.
    DatabaseRbac,
    /// Casbin.
    Casbin(Files),
}

impl Strategy {
    /// As the settings choose.
    pub fn of(options: &AuthorizationOptions) -> Self {
        match options.strategy {
            Chosen::NoAuth => Self::NoAuth,
            Chosen::DatabaseRbac => Self::DatabaseRbac,
            Chosen::Casbin => Self::Casbin(Files {
                model: options.casbin_model_file.clone(),
                lines: options.casbin_policy_file.clone(),
            }),
        }
    }

    fn files(&self) -> Option<&Files> {
        match self {
            Self::Casbin(files) => Some(files),
            Self::NoAuth | Self::DatabaseRbac => None,
        }
    }
}

/// A set of rules, compiled.
#[derive(Debug)]
pub struct Standing {
    version: i64,
    stamp: casbin::Stamp,
    rules: Vec<StoredRule>,
    policy: Policy,
    casbin: Option<Casbin>,
}

impl Standing {
    async fn compile(version: i64, rules: Vec<StoredRule>, files: Option<Files>) -> anyhow::Result<Self> {
        let stamp = files.as_ref().map(Files::stamp).unwrap_or_default();
        let casbin = match files {
            Some(files) => {
                let texts = files.read()?;
                Some(Casbin::compile(&texts, rules.iter().map(|stored| &stored.rule)).await?)
            }
            None => None,
        };
        let policy = Policy::compile(rules.iter().map(|stored| stored.rule.clone()).collect());
        Ok(Self { version, stamp, rules, policy, casbin })
    }

    /// Which set it is.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The rules, by name.
    pub fn rules(&self) -> &[StoredRule] {
        &self.rules
    }

    /// The rules, compiled.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The words that somebody holds, where Casbin says so.
    pub async fn words(&self, who: Who<'_>) -> Result<Option<Permissions>> {
        match &self.casbin {
            None => Ok(None),
            Some(casbin) => casbin.words(who).await.map(Some).map_err(|fault| {
                tracing::error!("Casbin could not decide: {fault:#}");
                broken()
            }),
        }
    }
}

/// What is known of the rules.
enum State {
    /// Not read yet, or it cannot be read: nothing is allowed.
    Broken,
    Read(Arc<Standing>),
}

/// Keeps the rules compiled.
pub struct Keeper {
    store: Arc<dyn Store>,
    strategy: Strategy,
    state: ArcSwap<State>,
    looked: Mutex<Option<Instant>>,
    turn: tokio::sync::Mutex<()>,
    ready: ReadyPart,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("strategy", &self.strategy).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Knows nothing yet.
    pub fn new(store: Arc<dyn Store>, strategy: Strategy, readiness: &Readiness) -> Self {
        Self {
            store,
            strategy,
            state: ArcSwap::from_pointee(State::Broken),
            looked: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
            ready: readiness.register("policy"),
        }
    }

    /// What the words of roles are asked of.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// The set that counts now.
    pub async fn now(&self) -> Result<Arc<Standing>> {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| at.elapsed() < BELIEVED) {
            return self.standing();
        }
        self.refresh().await
    }

    /// Looks whether there is another set, and takes it.
    pub async fn refresh(&self) -> Result<Arc<Standing>> {
        let _turn = self.turn.lock().await;
        let version = match self.store.policy_version().await {
            Ok(version) => version,
            Err(fault) => {
                if self.stale() {
                    self.ready.set(false, "the rules of the policy cannot be looked after");
                }
                return Err(fault.into());
            }
        };
        let stamp = self.strategy.files().map(Files::stamp).unwrap_or_default();
        let same = matches!(self.state.load().as_ref(), State::Read(known) if known.version == version && known.stamp == stamp);
        if !same {
            self.read().await?;
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.ready.set(true, "");
        self.standing()
    }

    async fn read(&self) -> Result<()> {
        let read = self.store.policy_rules().await;
        let fault = match read {
            Ok((version, rules)) => match Standing::compile(version, rules, self.strategy.files().cloned()).await {
                Ok(standing) => {
                    tracing::debug!("the policy has {} rules now", standing.rules.len());
                    self.state.store(Arc::new(State::Read(Arc::new(standing))));
                    return Ok(());
                }
                Err(fault) => fault,
            },
            Err(fault @ roadstead_store::Error::Corrupt(_)) => anyhow::Error::new(fault),
            Err(fault) => return Err(fault.into()),
        };
        let first = self.looked.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        if first || matches!(self.state.load().as_ref(), State::Read(_)) {
            tracing::error!("the policy cannot be read, so everything is denied: {fault:#}");
        }
        self.state.store(Arc::new(State::Broken));
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.ready.set(false, "the policy cannot be read: everything is denied");
        Err(broken())
    }

    fn standing(&self) -> Result<Arc<Standing>> {
        match self.state.load().as_ref() {
            State::Read(standing) => Ok(Arc::clone(standing)),
            State::Broken => Err(broken()),
        }
    }

    fn stale(&self) -> bool {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|at| at.elapsed() >= BELIEVED)
    }

    /// Reads the rules for the first time. What is wrong with them does not keep the service down: it denies, and says so.
    pub async fn begin(&self) -> anyhow::Result<()> {
        match self.refresh().await {
            Ok(_) => Ok(()),
            Err(error) if error.code == Code::Unavailable => Ok(()),
            Err(error) => Err(error).context("failed to read the policy"),
        }
    }

    /// Keeps looking until the process stops.
    pub fn watch(self: &Arc<Self>, tasks: &Tasks) {
        let (keeper, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("policy-watch", OnFailure::Restart, move || {
            let (keeper, stopping) = (Arc::clone(&keeper), stopping.clone());
            async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        () = tokio::time::sleep(LOOK) => {}
                    }
                    // Whoever asks hears of it; the log has it where it was found.
                    let _ = keeper.refresh().await;
                }
            }
        });
    }
}

fn broken() -> Error {
    Error::new(Code::Unavailable, "the policy cannot be read; everything is denied until it can")
}
