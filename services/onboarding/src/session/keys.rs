//! The keys with which agents check identities: asked of the user service, handed to agents.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use roadstead_bus::CallContext;
use roadstead_contracts::agent::Notice;
use roadstead_contracts::message::{IdentityKeySet, IdentityKeys};
use roadstead_contracts::{Code, Error, Result};

use crate::app::App;
use crate::limits::{ASK_USER, KEYS_REFRESH, KEYS_RETRY, TURNED_AWAY_SECONDS};

/// The key set that is handed out now.
#[derive(Debug, Default)]
pub(crate) struct Keys(ArcSwapOption<IdentityKeySet>);

impl Keys {
    /// The key set, or "come back": nobody can be let in before the user service was heard.
    pub(crate) fn get(&self) -> Result<Arc<IdentityKeySet>> {
        self.0.load_full().ok_or_else(|| {
            Error::new(Code::Unavailable, "the user service has not been heard yet").retry_after(TURNED_AWAY_SECONDS)
        })
    }

    /// Takes a key set; answers whether it is new.
    fn set(&self, keys: IdentityKeySet) -> bool {
        if self.0.load().as_deref() == Some(&keys) {
            return false;
        }
        self.0.store(Some(Arc::new(keys)));
        true
    }
}

/// Keeps the key set fresh until the process stops.
pub(crate) async fn keep_keys(app: Arc<App>) {
    let stopping = app.tasks.stopping();
    loop {
        let asked = app.bus.call(&IdentityKeys {}, &CallContext::new(ASK_USER, "onboarding-keys")).await;
        let wait = match asked {
            Ok(keys) => {
                let notice = Notice::Keys { key_set: keys.key_set.clone() };
                let first = app.keys.get().is_err();
                if app.keys.set(keys) && !first {
                    tracing::info!("the identity keys changed, {} agents are told", app.sessions.len());
                    app.sessions.all().iter().for_each(|held| held.notify(&notice));
                }
                app.keys_ready.set(true, "ok");
                KEYS_REFRESH
            }
            Err(fault) if app.keys.get().is_ok() => {
                tracing::debug!("identity keys could not be refreshed: {fault}");
                KEYS_REFRESH
            }
            Err(_) => {
                app.keys_ready.set(false, "the user service has not been heard yet");
                KEYS_RETRY
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
