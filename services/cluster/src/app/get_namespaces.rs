//! The namespaces of a cluster: find the agent, have the caller's identity signed for its cluster, ask.

use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{Agent, AgentTarget, GetNamespaces, Namespaces, Raise, ResolveAgent};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{Caller, RequestContext};

use super::{App, LOOKUP_DEADLINE, call};
use roadstead_relay::Answer;

/// How long a found agent is believed; only one that is connected is kept.
const FOUND_FOR: Duration = Duration::from_secs(2);

/// Namespaces, and the agent they came from.
pub(crate) struct CallerNamespaces {
    pub(crate) agent: Arc<Agent>,
    pub(crate) namespaces: Namespaces,
}

impl App {
    /// Asks the agent behind the target as the caller. Not visible is not found.
    pub(crate) async fn namespaces(
        &self,
        caller: &Caller,
        target: AgentTarget,
        context: &RequestContext,
    ) -> Result<CallerNamespaces> {
        let agent = self.agent(caller, target.clone(), context).await?;
        let Some(cluster) = agent.cluster_id.filter(|_| agent.connected) else {
            return Err(Error::new(Code::AgentOffline, "the agent is not connected").retry_after(5));
        };
        let assertion = self.identity_for_namespaces(caller, &agent, cluster, context).await?;
        let request = GetNamespaces {
            principal: caller.principal.as_ref().clone(),
            assertion: Some(assertion),
            target: AgentTarget::Agent(agent.agent_id.clone()),
        };
        let namespaces = self.bus.call(&request, &call(context, self.options.agent_deadline)).await?;
        Ok(CallerNamespaces { agent, namespaces })
    }

    /// Whoever may list them all does so in the caller's own name; for whoever may only see some, onboarding leaves the
    /// others out.
    async fn identity_for_namespaces(
        &self,
        caller: &Caller,
        agent: &Agent,
        cluster: ClusterId,
        context: &RequestContext,
    ) -> Result<String> {
        let facts = agent.facts_of_cluster().ok_or(Code::AgentOffline)?;
        match roadstead_policy::lists_namespaces_by(&caller.principal, &facts, self.clock.now()) {
            None => self.authentication.identity(caller, cluster, context).await,
            Some(request) => self.authentication.raised(caller, Raise { cluster: facts, request }, context).await,
        }
    }

    /// Finds the agent.
    pub(crate) async fn agent(
        &self,
        caller: &Caller,
        target: AgentTarget,
        context: &RequestContext,
    ) -> Result<Arc<Agent>> {
        let key = (caller.principal.user_id, target);
        if let Some(agent) = self.agents.known(&key) {
            return Ok(agent);
        }
        let (bus, clock, target) = (self.bus.clone(), Arc::clone(&self.clock), key.1.clone());
        let question = ResolveAgent { principal: caller.principal.as_ref().clone(), target };
        let context = call(context, LOOKUP_DEADLINE);
        let ask = move || -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move {
                let agent = bus.call(&question, &context).await?;
                let keep = if agent.connected { FOUND_FOR } else { Duration::ZERO };
                let until = clock.now() + chrono::Duration::from_std(keep).unwrap_or_default();
                Ok(Answer { value: Arc::new(agent), until })
            })
        };
        self.agents.get(key, ask).await
    }
}
