//! Whose a credential is: what is shown is turned into a proof that may ride a queue, and the user service is asked.
//! Answers are kept for three seconds, so that a revoked key is out within five even when its event is lost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use roadstead_auth::token;
use roadstead_bus::{Bus, CallContext, Subscriber};
use roadstead_contracts::agent::{IdentityClaims, RequestKind};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{CredentialKind, Principal, Role};
use roadstead_contracts::ids::{ClusterId, UserId};
use roadstead_contracts::message::{ActsAs, Authenticate, AuthenticateAs, Authenticated, CredentialProof, Raise};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{Authenticator, Caller, Credential, RequestContext};
use roadstead_relay::{Answer, Cache};
use roadstead_runtime::{SharedClock, Tasks};
use roadstead_telemetry::Metrics;
use roadstead_telemetry::metrics::labels::{Authentication as Label, CacheKey};

use super::keys::TokenKeys;
use super::{LOOKUP_DEADLINE, call};

/// How long an answer is believed.
const KNOWN_FOR: Duration = Duration::from_secs(3);
/// How long a signed identity is used again; it lives for a minute.
const IDENTITY_FOR: Duration = Duration::from_secs(30);
/// An identity must outlive the request that carries it to the agent.
const IDENTITY_SLACK: Duration = Duration::from_secs(15);

/// A signed identity is for one cluster and for the rights held when it was signed; where a rule gave more than those, for
/// one kind of request.
type IdentityKey = (CredentialProof, ClusterId, Vec<Role>, Option<RequestKind>);

/// Knows callers.
pub(crate) struct Authentication {
    bus: Bus,
    clock: SharedClock,
    keys: Arc<TokenKeys>,
    metrics: Metrics,
    known: Cache<CredentialProof, Caller>,
    identities: Cache<IdentityKey, (UserId, String)>,
    changes: tokio::sync::Notify,
}

impl Authentication {
    pub(crate) fn new(bus: Bus, clock: SharedClock, keys: Arc<TokenKeys>, metrics: Metrics, tasks: &Tasks) -> Self {
        let known = Cache::new(clock.clone(), tasks.clone());
        let identities = Cache::new(clock.clone(), tasks.clone());
        Self { bus, clock, keys, metrics, known, identities, changes: tokio::sync::Notify::new() }
    }

    /// Forgets callers as soon as the user service says that something changed.
    pub(crate) async fn follow_events(self: &Arc<Self>) -> roadstead_bus::Result<()> {
        let this = Arc::clone(self);
        self.bus
            .subscribe(Subscriber::Own, &["user.*", "policy.*"], move |event| {
                this.forget(&event.fact);
                this.changes.notify_one();
                std::future::ready(Ok(()))
            })
            .await
    }

    /// Fires when something about an account was changed. One waiter only.
    pub(crate) async fn changed(&self) {
        self.changes.notified().await;
    }

    /// The time by this process's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Who a credential that was good when a stream was opened stands for now.
    pub(crate) async fn standing(&self, proof: &CredentialProof) -> Result<Principal> {
        let context = RequestContext {
            request_id: "standing".to_owned(),
            client: std::net::IpAddr::from([0, 0, 0, 0]),
            traceparent: None,
            began: std::time::Instant::now(),
        };
        Ok(self.whose(proof.clone(), &context).await?.principal.as_ref().clone())
    }

    fn forget(&self, fact: &Fact) {
        match fact {
            Fact::UserChanged { user_id } | Fact::UserDeleted { user_id } => {
                self.known.evict(|_, known| known.principal.user_id == *user_id);
                self.identities.evict(|_, (owner, _)| owner == user_id);
            }
            Fact::PolicyChanged {} => {
                self.known.evict(|_, _| true);
                self.identities.evict(|(.., raised), _| raised.is_some());
            }
            Fact::SessionRevoked { session_id, .. } => {
                let is = |proof: &CredentialProof| matches!(proof, CredentialProof::Session { session_id: known, .. } if known == session_id);
                self.known.evict(|proof, _| is(proof));
                self.identities.evict(|(proof, ..), _| is(proof));
            }
            Fact::ApiKeyRevoked { user_id, api_key_id } => {
                // Keys of the seeds are known by digest: the answer tells whose and which they are.
                self.known.evict(|_, known| known.principal.credential == CredentialKind::ApiKey(*api_key_id));
                self.identities.evict(|_, (owner, _)| owner == user_id);
            }
            _ => {}
        }
    }

    /// What may be said to other services of a credential. Wrong ones end here: nobody is asked about a token whose signature
    /// does not hold.
    pub(crate) async fn proof(&self, credential: &Credential) -> Result<CredentialProof> {
        match credential {
            Credential::ApiKey(key) => {
                token::api_key_proof(key.expose()).ok_or_else(|| Error::of(Code::InvalidCredential))
            }
            Credential::Bearer(bearer) => Ok(self.keys.verify(bearer.expose()).await?.proof()),
        }
    }

    /// Whose a credential is, from its proof: the second half of [`Authenticator::authenticate`], for a door that counts by
    /// what the first half said.
    pub(crate) async fn accepted(
        &self,
        credential: &Credential,
        proof: Result<CredentialProof>,
        context: &RequestContext,
    ) -> Result<Caller> {
        let kind = match credential {
            Credential::ApiKey(_) => "api_key",
            Credential::Bearer(_) => "bearer",
        };
        let answer = match proof {
            Ok(proof) => self.whose(proof, context).await,
            Err(error) => Err(error),
        };
        let answer = answer.and_then(|caller| caller.principal.check_source(context.client).map(|()| caller));
        let outcome = match &answer {
            Ok(_) => "accepted",
            Err(error) if error.code.status() < 500 => "refused",
            Err(_) => "unavailable",
        };
        self.metrics.authentications.get_or_create(&Label { credential: kind, outcome }).inc();
        answer
    }

    async fn whose(&self, proof: CredentialProof, context: &RequestContext) -> Result<Caller> {
        let hit = self.known.known(&proof);
        self.count_cache(hit.is_some());
        if let Some(known) = hit {
            return Ok(known.as_ref().clone());
        }
        let (bus, clock, shown) = (self.bus.clone(), Arc::clone(&self.clock), Arc::new(proof.clone()));
        let source = Some(context.client.to_string());
        let question = Authenticate { credential: proof.clone(), cluster_id: None, source, raise: None };
        let context = call(context, LOOKUP_DEADLINE);
        let ask = move || -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move {
                let answer = ask_user(&bus, &question, &context).await?;
                let until = earliest(clock.now() + span(KNOWN_FOR), answer.expires_at);
                let caller = Caller { principal: Arc::new(answer.principal), proof: shown };
                Ok(Answer { value: Arc::new(caller), until })
            })
        };
        Ok(self.known.get(proof, ask).await?.as_ref().clone())
    }

    /// Who is asking, signed by the user service for this cluster.
    pub(crate) async fn identity(
        &self,
        caller: &Caller,
        cluster: ClusterId,
        context: &RequestContext,
    ) -> Result<String> {
        self.signed(caller, cluster, None, context).await
    }

    /// The same for one request for which a rule gives more than the caller's own roles.
    pub(crate) async fn raised(&self, caller: &Caller, raise: Raise, context: &RequestContext) -> Result<String> {
        self.signed(caller, raise.cluster.id, Some(raise), context).await
    }

    async fn signed(
        &self,
        caller: &Caller,
        cluster: ClusterId,
        raise: Option<Raise>,
        context: &RequestContext,
    ) -> Result<String> {
        let roles: Vec<Role> = caller.principal.cluster_roles().into_iter().collect();
        let request = raise.as_ref().map(|raise| raise.request.clone());
        let key: IdentityKey = (caller.proof.as_ref().clone(), cluster, roles, request);
        if let Some(known) = self.identities.known(&key) {
            return Ok(known.1.clone());
        }
        let (bus, clock) = (self.bus.clone(), Arc::clone(&self.clock));
        let question = Authenticate {
            credential: key.0.clone(),
            cluster_id: Some(cluster),
            source: Some(context.client.to_string()),
            raise,
        };
        let context = call(context, LOOKUP_DEADLINE);
        let ask = move || -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move {
                let answer = ask_user(&bus, &question, &context).await?;
                let assertion = answer.assertion.ok_or_else(|| Error::of(Code::Internal))?;
                let until = earliest(clock.now() + span(IDENTITY_FOR), good_until(&assertion));
                Ok(Answer { value: Arc::new((answer.principal.user_id, assertion)), until })
            })
        };
        Ok(self.identities.get(key, ask).await?.1.clone())
    }

    /// Somebody as whom the caller acts, signed by the user service for this request to a cluster. Not kept: it is rare, and asked with
    /// another somebody each time.
    pub(crate) async fn identity_of(
        &self,
        caller: &Caller,
        somebody: &ActsAs,
        raise: Raise,
        context: &RequestContext,
    ) -> Result<String> {
        let credential = caller.proof.as_ref().clone();
        let (cluster_id, raise) = (raise.cluster.id, Some(raise));
        let question = AuthenticateAs { credential, cluster_id, acts_as: somebody.clone(), raise };
        let answer = self.bus.call(&question, &call(context, LOOKUP_DEADLINE)).await?;
        answer.assertion.ok_or_else(|| Error::of(Code::Internal))
    }

    /// Whether a credential may still do this as somebody else: both are judged again. Nothing is kept of the answer.
    pub(crate) async fn acting(&self, proof: &CredentialProof, somebody: &ActsAs, raise: &Raise) -> Result<()> {
        let (credential, acts_as) = (proof.clone(), somebody.clone());
        let question = AuthenticateAs { credential, cluster_id: raise.cluster.id, acts_as, raise: Some(raise.clone()) };
        self.bus.call(&question, &CallContext::new(LOOKUP_DEADLINE, "standing")).await.map(drop)
    }

    fn count_cache(&self, hit: bool) {
        let key = CacheKey { cache_type: "memory", key_pattern: "credential" };
        let counters = if hit { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counters.get_or_create(&key).inc();
    }
}

fn span(time: Duration) -> chrono::Duration {
    chrono::Duration::from_std(time).unwrap_or_default()
}

fn earliest(one: DateTime<Utc>, two: Option<DateTime<Utc>>) -> DateTime<Utc> {
    two.map_or(one, |two| one.min(two))
}

/// When an identity should no longer be sent. Only its time is read: its signature is the agent's to check.
fn good_until(assertion: &str) -> Option<DateTime<Utc>> {
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
    let claims: IdentityClaims = serde_json::from_slice(&claims).ok()?;
    Some(DateTime::from_timestamp(claims.exp, 0)? - span(IDENTITY_SLACK))
}

async fn ask_user(bus: &Bus, question: &Authenticate, context: &CallContext) -> Result<Authenticated> {
    bus.call(question, context).await.map_err(|error| match error.code {
        Code::InvalidCredential | Code::Forbidden | Code::NotFound => error,
        // One answer for every way in which nobody answers: nothing is wrong with the caller.
        _ => Error::new(Code::Unavailable, "User authentication service unavailable").retry_after(1),
    })
}

#[async_trait]
impl Authenticator for Authentication {
    fn known(&self, credential: &Credential) -> Option<Caller> {
        // Checking a token's signature costs more than the look-up saves, so tokens take the other way.
        let Credential::ApiKey(key) = credential else { return None };
        let proof = token::api_key_proof(key.expose())?;
        // What is held to addresses takes the way on which the address is known.
        let known = self.known.known(&proof).filter(|known| !known.principal.has_sources())?;
        self.count_cache(true);
        Some(known.as_ref().clone())
    }

    async fn authenticate(&self, credential: &Credential, context: &RequestContext) -> Result<Caller> {
        let proof = self.proof(credential).await;
        self.accepted(credential, proof, context).await
    }
}
