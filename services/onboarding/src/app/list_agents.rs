//! Agents that the caller can see, newest first.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Agent, ListAgents, Page};
use roadstead_store::Window;

use super::{App, require_somewhere, within_scope};

pub(crate) async fn list_agents(app: &App, request: ListAgents) -> Result<Page<Agent>> {
    require_somewhere(app, &request.principal, Action::ClustersRead)?;
    let window = Window::of(&request.page)?;
    let view = app.view(&request.principal).await?;
    let (records, total) = app.store.list_agents(&view, request.connected_only, window, app.presence.cutoff()).await?;
    let page = window.page(records, total, |(seq, _)| *seq);
    let page =
        within_scope(&request.principal, page, |(_, record)| record.visible_to(&request.principal, app.clock.now()));
    Ok(Page {
        items: page.items.into_iter().map(|(_, record)| record.agent).collect(),
        total: page.total,
        next_cursor: page.next_cursor,
    })
}
