//! Join tokens of the caller and of the clusters that were granted, newest first. Nothing secret is in them.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{JoinToken, ListJoinTokens, Page};
use roadstead_store::Window;

use super::{App, require_of, require_somewhere, within_scope};
use crate::domain::TokenRecord;

pub(crate) async fn list_join_tokens(app: &App, request: ListJoinTokens) -> Result<Page<JoinToken>> {
    require_somewhere(app, &request.principal, Action::ClustersManage)?;
    let window = Window::of(&request.page)?;
    let (records, total) = app.store.list_tokens(&app.view(&request.principal).await?, window).await?;
    let page = window.page(records, total, |(seq, _)| *seq);
    let mut page =
        within_scope(&request.principal, page, |(_, record)| record.visible_to(&request.principal, app.clock.now()));
    if !request.principal.rules.is_empty() {
        // A rule for something in a cluster shows the cluster, not who joins it.
        let manages = |record: &TokenRecord| {
            require_of(app, &request.principal, Action::ClustersManage, record.cluster().as_ref()).is_ok()
        };
        let found = page.items.len();
        page.items.retain(|(_, record)| record.owner_id == request.principal.user_id || manages(record));
        page.total = if page.items.len() == found { page.total } else { page.items.len() as u64 };
    }
    Ok(Page {
        items: page.items.into_iter().map(|(_, record)| record.token).collect(),
        total: page.total,
        next_cursor: page.next_cursor,
    })
}
