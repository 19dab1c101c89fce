//! What was given for a while ends: by itself at its time, or before.
//!
//! Nothing waits for this: a rule whose time is over does not exist for whoever decides, and the doors cut what was opened
//! under it by their own clocks. Here the rule is removed, and it is written down and told.

use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::Result;
use roadstead_contracts::audit::{Actor, AuditRecord, Origin, Outcome, Resource};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::Principal;
use roadstead_runtime::{OnFailure, Tasks};

use super::App;
use super::ask_access::{no_such_request, not_any_more};
use crate::domain::{AccessEnd, AccessRequest, AccessState};

/// How often it is looked for what is over; replicas doing it at once do no harm.
const LOOK: Duration = Duration::from_secs(1);
/// Ended at a time.
const BATCH: i64 = 64;

impl App {
    /// Ends what was given before its time: its holder may, and whoever decides on requests.
    pub async fn end_access(&self, by: &Principal, which: &str) -> Result<AccessRequest> {
        let request = self.visible_access(by, which).await?;
        let now = self.clock.now();
        if request.state_at(now) != AccessState::Approved {
            return Err(not_any_more(&request, now));
        }
        let end = AccessEnd { id: request.id, at: now, by_name: Some(by.username.clone()) };
        let ended = self.ended(&request, &end).await?;
        if let Some(ended) = ended {
            return Ok(ended);
        }
        let there = self.store.access_request(request.id).await?.ok_or_else(no_such_request)?;
        Err(not_any_more(&there, now))
    }

    /// Removes the rules of what is over; answers how many.
    pub async fn end_access_in_time(&self) -> Result<usize> {
        let now = self.clock.now();
        let mut count = 0;
        for request in self.store.access_over(now, BATCH).await? {
            let end = AccessEnd { id: request.id, at: now, by_name: None };
            let Some(ended) = self.ended(&request, &end).await? else { continue };
            count += 1;
            let resource = Resource::id("access_request", ended.id);
            let (origin, actor) = (Origin::request(""), Actor::system("time"));
            let outcome = Outcome::succeeded();
            let record = AuditRecord::outcome(self.ids.next(), now, origin, actor, "access.end", resource, outcome);
            let record = record.with("user", &ended.username);
            if self.trail.write(&record).await.is_err() {
                tracing::error!("the end of access request {} is not recorded", ended.id);
            }
        }
        Ok(count)
    }

    async fn ended(&self, request: &AccessRequest, end: &AccessEnd) -> Result<Option<AccessRequest>> {
        let event = self.event(Fact::PolicyChanged {}, end.at);
        let notice = self.notice_of_end(request, end);
        let ended = self.store.end_access(end, &event, notice.as_ref()).await?;
        if ended.is_some() {
            self.policy_changed().await;
        }
        Ok(ended)
    }

    /// Ends and tells until the process stops. A chat that does not answer holds up nothing but itself.
    pub fn keep_access(self: &Arc<Self>, tasks: &Tasks) {
        let (app, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("access-over", OnFailure::Restart, move || {
            let (app, stopping) = (Arc::clone(&app), stopping.clone());
            async move {
                while !stops(stopping.cancelled()).await {
                    app.end_access_in_time().await?;
                }
                Ok(())
            }
        });
        if self.chat.is_none() {
            return;
        }
        let (app, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("access-chat", OnFailure::Restart, move || {
            let (app, stopping) = (Arc::clone(&app), stopping.clone());
            async move {
                while !stops(stopping.cancelled()).await {
                    app.tell_chat().await?;
                }
                Ok(())
            }
        });
    }
}

/// Waits until it is time to look; whether the process stops instead.
async fn stops(stopping: impl Future<Output = ()>) -> bool {
    tokio::select! {
        () = stopping => true,
        () = tokio::time::sleep(LOOK) => false,
    }
}
