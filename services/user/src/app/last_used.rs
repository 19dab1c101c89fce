//! When keys and sessions were last used: gathered in memory, written at most once a minute for each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{ApiKeyId, SessionId};
use roadstead_runtime::{OnFailure, Tasks};

use super::App;
use crate::domain::{ApiKey, Session};

/// A use within this time of the stored one is not written.
const PRECISION: TimeDelta = TimeDelta::minutes(1);
/// How long a use may wait in memory. A crash loses that much; it is for people, not for decisions.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Most uses that wait; more than that many keys in two seconds lose a timestamp, not a request.
const WAITING_MAX: usize = 10_000;

/// Uses that wait to be written.
#[derive(Debug, Default)]
pub(super) struct LastUsed {
    api_keys: Waiting<ApiKeyId>,
    sessions: Waiting<SessionId>,
}

#[derive(Debug)]
struct Waiting<T>(Mutex<HashMap<T, DateTime<Utc>>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Eq + Hash> Waiting<T> {
    fn note(&self, id: T, stored: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        if stored.is_some_and(|stored| now - stored < PRECISION) {
            return;
        }
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.entry(id).or_insert(now);
        }
    }

    fn take(&self) -> Vec<(T, DateTime<Utc>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain().collect()
    }
}

impl LastUsed {
    pub(super) fn api_key(&self, key: &ApiKey, now: DateTime<Utc>) {
        self.api_keys.note(key.id, key.last_used_at, now);
    }

    pub(super) fn session(&self, session: &Session, now: DateTime<Utc>) {
        self.sessions.note(session.id, Some(session.last_used_at), now);
    }
}

impl App {
    /// Writes what waits.
    pub async fn write_last_used(&self) -> roadstead_store::Result<()> {
        let (keys, sessions) = (self.last_used.api_keys.take(), self.last_used.sessions.take());
        if !keys.is_empty() {
            self.store.touch_api_keys(&keys).await?;
        }
        if !sessions.is_empty() {
            self.store.touch_sessions(&sessions).await?;
        }
        Ok(())
    }

    /// Keeps writing until the process stops.
    pub fn keep_last_used(self: &Arc<Self>, tasks: &Tasks) {
        let (app, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("last-used", OnFailure::Restart, move || {
            let (app, stopping) = (Arc::clone(&app), stopping.clone());
            async move {
                loop {
                    let last = tokio::select! {
                        () = stopping.cancelled() => true,
                        () = tokio::time::sleep(WRITE_EVERY) => false,
                    };
                    app.write_last_used().await?;
                    if last {
                        return Ok(());
                    }
                }
            }
        });
    }
}
