//! Somebody decides on a request: who may, what that takes, and what comes of it. One decision counts, whoever is quicker.

use std::time::Duration;

use chrono::TimeDelta;
use roadstead_bus::CallContext;
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal, Reach};
use roadstead_contracts::message::GetCluster;
use roadstead_contracts::policy::{RULES_MAX, Rule};
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::Policy;

use super::App;
use super::ask_access::{no_such_request, not_any_more};
use super::change_policy::next_set;
use crate::domain::{AccessDecision, AccessRequest, AccessState, SECONDS_MIN, Wanted, check_words};

/// How long the registry may take to say which clusters are meant.
const REGISTRY_DEADLINE: Duration = Duration::from_secs(5);

impl App {
    /// Gives what is asked for, for the time that was asked for or a shorter one.
    pub async fn approve_access(
        &self,
        by: &Principal,
        which: &str,
        seconds: Option<u32>,
        note: Option<&str>,
        request_id: &str,
    ) -> Result<AccessRequest> {
        let request = self.to_decide_on(by, which).await?;
        let note = read_note(note)?;
        let wanted = &request.wanted;
        let seconds = seconds.unwrap_or(wanted.seconds);
        if !(SECONDS_MIN..=wanted.seconds).contains(&seconds) {
            let message =
                format!("duration_seconds must be {SECONDS_MIN} to the {} that were asked for", wanted.seconds);
            return Err(Error::field(&["body", "duration_seconds"], "value_error", message));
        }
        // By roles alone: what somebody was given for a while is not passed on (reliability row Z02).
        if !wanted.is_within(|action| by.is_granted(action) && by.in_scope(action)) {
            return Err(Error::new(Code::Escalation, "you do not hold what is asked for"));
        }
        let clusters = self.clusters_of(by, wanted, request_id).await?;
        // From here on: the registry may have taken its time.
        let now = self.clock.now();
        let until = now + TimeDelta::seconds(i64::from(seconds));
        let rule = wanted.rule(request.id, self.ids.next(), &request.username, clusters, until)?;
        self.check_room(&rule).await?;
        let decision = AccessDecision {
            id: request.id,
            state: AccessState::Approved,
            at: now,
            by: by.user_id,
            by_name: by.username.clone(),
            note,
            rule: Some(rule),
        };
        self.decided(&request, decision).await
    }

    /// Does not give it.
    pub async fn deny_access(&self, by: &Principal, which: &str, note: Option<&str>) -> Result<AccessRequest> {
        let request = self.to_decide_on(by, which).await?;
        self.decided(&request, self.without(&request, by, AccessState::Denied, read_note(note)?)).await
    }

    /// Takes one's own question back.
    pub async fn withdraw_access(&self, by: &Principal, which: &str) -> Result<AccessRequest> {
        let request = self.visible_access(by, which).await?;
        if request.user_id != by.user_id {
            return Err(Error::new(Code::Forbidden, "only who asked takes a question back; deny it instead"));
        }
        self.decided(&request, self.without(&request, by, AccessState::Withdrawn, None)).await
    }

    fn without(
        &self,
        request: &AccessRequest,
        by: &Principal,
        state: AccessState,
        note: Option<String>,
    ) -> AccessDecision {
        let (at, by_name) = (self.clock.now(), by.username.clone());
        AccessDecision { id: request.id, state, at, by: by.user_id, by_name, note, rule: None }
    }

    /// The request, for somebody who decides on others' requests and not on its own.
    async fn to_decide_on(&self, by: &Principal, which: &str) -> Result<AccessRequest> {
        let request = self.visible_access(by, which).await?;
        self.require(by, Action::AccessApprove)?;
        if request.user_id == by.user_id {
            return Err(Error::new(Code::Forbidden, "nobody decides on what they ask for themselves"));
        }
        Ok(request)
    }

    async fn decided(&self, request: &AccessRequest, decision: AccessDecision) -> Result<AccessRequest> {
        let event = decision.rule.as_ref().map(|_| self.event(Fact::PolicyChanged {}, decision.at));
        let notice = self.notice_of_decision(request, &decision);
        let decided = self.store.decide_access(&decision, event.as_ref(), notice.as_ref()).await?;
        if let Some(decided) = decided {
            if event.is_some() {
                self.policy_changed().await;
            }
            return Ok(decided);
        }
        // Somebody was quicker, or it lapsed, or the account is gone.
        let there = self.store.access_request(request.id).await?.ok_or_else(no_such_request)?;
        Err(not_any_more(&there, decision.at))
    }

    /// Refuses one rule more than a hub has, or than travel with one account.
    async fn check_room(&self, rule: &Rule) -> Result<()> {
        let standing = self.policy.refresh().await?;
        let set = next_set(&standing, std::slice::from_ref(rule), &[]);
        if set.len() > RULES_MAX || Policy::compile(set).overfull().is_some() {
            return Err(Error::new(Code::Conflict, "there are as many rules as there may be; end or remove some"));
        }
        Ok(())
    }

    /// Here at once; other replicas, and whoever keeps answers, hear of it.
    pub(super) async fn policy_changed(&self) {
        if let Err(error) = self.policy.refresh().await {
            // It is done, and found by whoever looks next.
            tracing::warn!("the policy was changed and could not be read again yet: {error}");
        }
        self.outbox.nudge();
    }

    /// The ids of the clusters that are meant, as the approver sees them: nobody gives what they cannot see.
    async fn clusters_of(&self, by: &Principal, wanted: &Wanted, request_id: &str) -> Result<Vec<String>> {
        if wanted.clusters.is_empty() && by.reach != Reach::All {
            let words = "without named clusters only somebody who sees every cluster may give it";
            return Err(Error::new(Code::Escalation, words));
        }
        let mut ids = Vec::with_capacity(wanted.clusters.len());
        for cluster in &wanted.clusters {
            let question = GetCluster { principal: by.clone(), cluster: cluster.clone() };
            let context = CallContext::new(REGISTRY_DEADLINE, request_id);
            let found = self.bus.call(&question, &context).await.map_err(|error| match error.code {
                Code::NotFound => Error::new(Code::Conflict, format!("cluster {cluster} is not there, or not yours")),
                _ => error,
            })?;
            ids.push(found.id.to_string());
        }
        Ok(ids)
    }
}

fn read_note(note: Option<&str>) -> Result<Option<String>> {
    let note = note.map(|note| check_words("note", note)).transpose()?;
    Ok(note.filter(|note| !note.is_empty()))
}
