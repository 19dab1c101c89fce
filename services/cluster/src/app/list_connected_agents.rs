//! The agents that are connected now, all of them: the seeds' list has no pages.

use roadstead_contracts::Result;
use roadstead_contracts::message::{Agent, ListAgents, PageRequest};
use roadstead_http_kit::{Caller, RequestContext};

use super::App;

/// Rows of a page.
const PAGE: u32 = 1_000;
/// Most pages: as many agents as one onboarding process takes.
const PAGES_MAX: usize = 20;

impl App {
    /// Lists the caller's agents, those connected now or all.
    pub(crate) async fn all_agents(
        &self,
        caller: &Caller,
        connected_only: bool,
        context: &RequestContext,
    ) -> Result<Vec<Agent>> {
        let mut agents = Vec::new();
        let mut page = PageRequest { limit: PAGE, offset: 0, cursor: None };
        for _ in 0..PAGES_MAX {
            let request =
                ListAgents { principal: caller.principal.as_ref().clone(), page: page.clone(), connected_only };
            let answer = self.look_up(&request, context).await?;
            agents.extend(answer.items);
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => break,
            }
        }
        Ok(agents)
    }
}
