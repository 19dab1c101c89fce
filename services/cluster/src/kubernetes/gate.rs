//! Who may go through to which cluster with what: the front door's own authentication, a quota, the registry's answer, the
//! policy's verdict about this request, and an identity signed for that cluster.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::header::USER_AGENT;
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::audit::Actor;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{ActsAs, AgentTarget, CredentialProof, Raise};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::{Authenticator as _, Caller, Credential, RequestContext};
use roadstead_kv::{Kv, MemoryKv, Quota};
use roadstead_policy::{As, Judgement};
use roadstead_runtime::SharedClock;

use super::nobody::{Nobody, Refusal};
use super::standing::Standing;
use super::{Admitted, Asked, Gate, credential};
use crate::app::App;

/// Requests of one credential in a second; a stream counts when it is opened.
const RATE: u32 = 200;
/// The same at once: a client's discovery of a cluster with many kinds is some hundred requests.
const BURST: u32 = 1_000;

/// The gate of the hub.
pub(crate) struct HubGate {
    app: Arc<App>,
    standing: Arc<Standing>,
    /// Counts of this process: a shared count would cost each request a round trip to Redis, and what the quota guards is
    /// this process and one agent.
    counts: MemoryKv,
    nobody: Nobody,
    limited: bool,
}

impl HubGate {
    pub(crate) fn new(app: Arc<App>, standing: Arc<Standing>, clock: SharedClock, limited: bool) -> Self {
        let (counts, nobody) = (MemoryKv::new(Arc::clone(&clock)), Nobody::new(clock, limited));
        Self { app, standing, counts, nobody, limited }
    }

    async fn caller(&self, shown: &Credential, context: &RequestContext, recorded: bool) -> Result<Caller, Refusal> {
        let authentication = &self.app.authentication;
        // Somebody who is known already is not held up by others that guess behind the same address.
        if let Some(caller) = authentication.known(shown) {
            return Ok(caller);
        }
        // Neither is one whose credential cannot be a guess: what can be checked here is checked first.
        let proof = authentication.proof(shown).await;
        let held = proof.as_ref().ok().cloned();
        let whose = self.nobody.showing(held.as_ref(), context.client).await;
        self.nobody.check(&whose, recorded).await?;
        match (authentication.accepted(shown, proof, context).await, held) {
            (Ok(caller), held) => {
                if let Some(proof) = held {
                    self.nobody.was_good(&proof).await;
                }
                Ok(caller)
            }
            (Err(error), held) if error.code == Code::InvalidCredential => {
                if let Some(proof) = held {
                    self.nobody.was_bad(&proof).await;
                }
                Err(self.nobody.refused(&whose, error, recorded).await)
            }
            // A key in the wrong place: whoever has it there must not be in the way of the one whose it is.
            (Err(error), _) if error.code == Code::SourceNotAllowed => {
                Err(self.nobody.refused(&Nobody::at(context.client), error, recorded).await)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    async fn spend(&self, caller: &Caller) -> Result<(), Error> {
        if !self.limited {
            return Ok(());
        }
        let key = match caller.proof.as_ref() {
            CredentialProof::ApiKey { id, .. } => format!("k{id}"),
            CredentialProof::LegacyApiKey { digest } => format!("l{digest}"),
            CredentialProof::Session { session_id, .. } => format!("s{session_id}"),
        };
        match self.counts.take(&key, Quota::per_second(RATE, BURST), 1).await {
            Ok(taken) if !taken.allowed => {
                let seconds = u32::try_from(taken.retry_after.as_millis().div_ceil(1_000)).unwrap_or(1).max(1);
                let words = format!("Rate limit exceeded. Maximum {RATE} requests per second, {BURST} at once.");
                Err(Error::new(Code::RateLimited, words).retry_after(seconds))
            }
            // A full memory of counts is no reason to refuse whoever is known.
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Gate for HubGate {
    async fn admit(&self, asked: Asked<'_>) -> Result<Admitted, Refusal> {
        let context = RequestContext {
            request_id: asked.request_id.to_owned(),
            client: asked.source,
            traceparent: None,
            began: std::time::Instant::now(),
        };
        let caller = match credential::read(asked.headers) {
            Ok(shown) => self.caller(&shown, &context, asked.recorded).await?,
            Err(error) => {
                let whose = Nobody::without(asked.source);
                self.nobody.check(&whose, asked.recorded).await?;
                return Err(self.nobody.refused(&whose, error, asked.recorded).await);
            }
        };
        let admitted = self.admit_known(&caller, asked, &context).await;
        admitted.map_err(|error| Refusal { actor: Some(Actor::of(&caller.principal)), ..Refusal::from(error) })
    }
}

impl HubGate {
    async fn admit_known(
        &self,
        caller: &Caller,
        asked: Asked<'_>,
        context: &RequestContext,
    ) -> Result<Admitted, Error> {
        self.spend(caller).await?;
        let somewhere = |action| roadstead_policy::gate(&caller.principal, action, self.app.clock.now());
        if !somewhere(Action::OperationsWrite).allowed {
            somewhere(Action::ClustersRead).check(&caller.principal)?;
        }
        let user_agent = asked.headers.get(USER_AGENT).cloned();
        let admitted = self.admit_caller(caller, asked.cluster, asked.acts_as, asked.request, context).await?;
        Ok(Admitted { user_agent, ..admitted })
    }

    /// For a caller who is known and counted: which cluster, whether with this request, and as whom.
    async fn admit_caller(
        &self,
        caller: &Caller,
        cluster: &str,
        acts_as: Option<ActsAs>,
        request: RequestKind,
        context: &RequestContext,
    ) -> Result<Admitted, Error> {
        let app = &self.app;
        if acts_as.is_some() && !caller.principal.may_impersonate() {
            let denied = "the hub acts as you at the cluster; to act as somebody else takes an admin's API key with the \
                          permission clusters:impersonate";
            return Err(Error::new(Code::ImpersonationDenied, denied));
        }
        let agent = app.agent(caller, AgentTarget::Cluster(cluster.to_owned()), context).await?;
        let cluster_id = agent.cluster_id.ok_or(Code::AgentOffline)?;
        let facts = match &agent.cluster {
            Some(facts) => Cow::Borrowed(facts),
            None => Cow::Owned(agent.facts_of_cluster().ok_or(Code::AgentOffline)?),
        };
        let Judgement { verdict, goes_as } =
            roadstead_policy::judge(&caller.principal, &facts, &request, app.clock.now());
        verdict.check(&caller.principal)?;
        let under = verdict.rule().map(|(id, _)| id);
        // What is done as somebody else ends with their right to it as well.
        let acting = acts_as
            .clone()
            .map(|somebody| (somebody, Raise { cluster: facts.clone().into_owned(), request: request.clone() }));
        let assertion = match (&acts_as, goes_as) {
            (None, As::Own) => app.authentication.identity(caller, cluster_id, context).await?,
            (None, As::Raised(_)) => {
                app.authentication.raised(caller, Raise { cluster: facts.into_owned(), request }, context).await?
            }
            (Some(somebody), _) => {
                // The user service asks the same again, and what denies it to whom is acted as.
                let now = app.clock.now();
                roadstead_policy::judge_acting(&caller.principal, &facts, &request, now).check(&caller.principal)?;
                app.authentication
                    .identity_of(caller, somebody, Raise { cluster: facts.into_owned(), request }, context)
                    .await?
            }
        };
        Ok(Admitted {
            cluster_id,
            cluster_name: agent.cluster_name.clone().map(String::from).unwrap_or_default(),
            principal: Arc::clone(&caller.principal),
            source: context.client,
            user_agent: None,
            acts_as,
            assertion,
            right: self.standing.of(caller, under, acting, app.clock.now()),
        })
    }
}
