//! What an agent of the seeds sees, asked by its own commands.

use roadstead_contracts::Result;
use roadstead_contracts::message::{AgentTarget, AskSeedAgent, SeedView};
use roadstead_http_kit::{Caller, RequestContext};
use serde_json::Value;

use super::{App, call};

impl App {
    /// Asks the agent behind the target. Onboarding decides who may see what.
    pub(crate) async fn ask_seed_agent(
        &self,
        caller: &Caller,
        target: AgentTarget,
        view: SeedView,
        context: &RequestContext,
    ) -> Result<Value> {
        let request = AskSeedAgent { principal: caller.principal.as_ref().clone(), target, view };
        self.bus.call(&request, &call(context, self.options.agent_deadline)).await
    }
}
