//! Join tokens of the caller and of the clusters that were granted, newest first. Nothing secret is in them.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{JoinToken, ListJoinTokens, Page};
use roadstead_store::Window;

use super::{App, require, within_scope};
use crate::domain::View;

pub(crate) async fn list_join_tokens(app: &App, request: ListJoinTokens) -> Result<Page<JoinToken>> {
    require(&request.principal, Action::ClustersManage)?;
    let window = Window::of(&request.page)?;
    let (records, total) = app.store.list_tokens(&View::of(&request.principal), window).await?;
    let page = window.page(records, total, |(seq, _)| *seq);
    let page = within_scope(&request.principal, page, |(_, record)| record.visible_to(&request.principal));
    Ok(Page {
        items: page.items.into_iter().map(|(_, record)| record.token).collect(),
        total: page.total,
        next_cursor: page.next_cursor,
    })
}
