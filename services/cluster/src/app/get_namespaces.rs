//! The namespaces of a cluster: find the agent, have the caller's identity signed for its cluster, ask.

use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::message::{Agent, AgentTarget, GetNamespaces, Namespaces, ResolveAgent};
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
        let assertion = self.authentication.identity(caller, cluster, context).await?;
        let request = GetNamespaces {
            principal: caller.principal.as_ref().clone(),
            assertion: Some(assertion),
            target: AgentTarget::Agent(agent.agent_id.clone()),
        };
        let namespaces = self.bus.call(&request, &call(context, self.options.agent_deadline)).await?;
        Ok(CallerNamespaces { agent, namespaces })
    }

    /// Finds the agent.
    pub(crate) async fn agent(
        &self,
        caller: &Caller,
        target: AgentTarget,
        context: &RequestContext,
    ) -> Result<Arc<Agent>> {
        let (bus, clock) = (self.bus.clone(), Arc::clone(&self.clock));
        let question = ResolveAgent { principal: caller.principal.as_ref().clone(), target: target.clone() };
        let context = call(context, LOOKUP_DEADLINE);
        let ask = move || -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move {
                let agent = bus.call(&question, &context).await?;
                let keep = if agent.connected { FOUND_FOR } else { Duration::ZERO };
                let until = clock.now() + chrono::Duration::from_std(keep).unwrap_or_default();
                Ok(Answer { value: Arc::new(agent), until })
            })
        };
        self.agents.get((caller.principal.user_id, target), ask).await
    }
}
