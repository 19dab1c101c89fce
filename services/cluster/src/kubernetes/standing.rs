//! Whether callers with open streams still may have them. A stream is checked when it opens; when an account, a session or
//! a key changes, or at the latest within five seconds, it is checked again and cut when the right is gone or changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::message::CredentialProof;
use roadstead_contracts::{Code, Result};
use roadstead_http_kit::Caller;
use roadstead_runtime::Tasks;
use tokio_util::sync::CancellationToken;

use crate::app::Authentication;

/// Between two looks. Answers are believed for three seconds, so five remain even when an event is lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Questions at once: each credential is asked about once, however many streams it has.
const AT_ONCE: usize = 64;

/// The right to streams of one credential. It is looked after while any clone lives.
#[derive(Debug, Clone)]
pub(crate) struct Right(Arc<CancellationToken>);

impl Right {
    /// A right that ends with the token.
    #[cfg(test)]
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self(Arc::new(token))
    }

    /// Runs until the right ends; `None` when it did.
    pub(crate) async fn during<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }
}

#[derive(Debug)]
struct Entry {
    right: Weak<CancellationToken>,
    principal: Arc<Principal>,
}

/// The credentials that have streams now.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    entries: Mutex<HashMap<CredentialProof, Entry>>,
}

impl Standing {
    /// The right of a caller who was just let in.
    pub(crate) fn of(&self, caller: &Caller) -> Right {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.get(caller.proof.as_ref()).and_then(|entry| {
            let right = entry.right.upgrade()?;
            (same_rights(&entry.principal, &caller.principal) && !right.is_cancelled()).then_some(right)
        });
        if let Some(right) = known {
            return Right(right);
        }
        let right = Arc::new(CancellationToken::new());
        let entry = Entry { right: Arc::downgrade(&right), principal: Arc::clone(&caller.principal) };
        let replaced = entries.insert(caller.proof.as_ref().clone(), entry);
        // Streams with the rights of before end: their identity says what is no longer true.
        if let Some(older) = replaced.and_then(|entry| entry.right.upgrade()) {
            older.cancel();
        }
        Right(right)
    }

    /// Looks after the rights until the process stops.
    pub(crate) fn start(self: &Arc<Self>, authentication: Arc<Authentication>, tasks: &Tasks) {
        let (this, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.spawn("kubernetes-standing", async move {
            loop {
                // A process that stops ends this with its last stream, not before.
                if stopping.is_cancelled() && this.is_idle() {
                    return;
                }
                tokio::select! {
                    () = stopping.cancelled(), if !stopping.is_cancelled() => {}
                    () = authentication.changed() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                this.look(&authentication).await;
            }
        });
    }

    fn is_idle(&self) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().all(|entry| entry.right.strong_count() == 0)
    }

    async fn look(&self, authentication: &Authentication) {
        let open: Vec<_> = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|_, entry| entry.right.strong_count() > 0);
            let live = entries.iter().filter_map(|(proof, entry)| {
                Some((proof.clone(), Arc::clone(&entry.principal), entry.right.upgrade()?))
            });
            live.collect()
        };
        let looks = stream::iter(open).map(|(proof, principal, right)| async move {
            if has_ended(&principal, authentication.standing(&proof).await) {
                right.cancel();
            }
        });
        looks.buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// When nobody answers, what was open stays open: an outage of the user service is no revocation.
fn has_ended(principal: &Principal, now: Result<Principal>) -> bool {
    match now {
        Ok(now) => !same_rights(principal, &now),
        Err(error) => matches!(error.code, Code::InvalidCredential | Code::Forbidden | Code::NotFound),
    }
}

fn same_rights(one: &Principal, two: &Principal) -> bool {
    one.username == two.username && one.roles == two.roles && one.reach == two.reach && one.scope == two.scope
}
