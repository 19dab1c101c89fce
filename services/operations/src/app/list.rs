//! Lists, newest first.

use roadstead_contracts::Result;
use roadstead_contracts::identity::{Action, Reach};
use roadstead_contracts::message::{ListOperations, ListRollouts, Operation, Page, PageRequest, Rollout};
use roadstead_store::Window;

use super::get::sees;
use super::{App, require};
use crate::domain::{View, shown};
use crate::limits::PAGE_MAX;
use crate::store::Filter;

pub(crate) async fn list_operations(app: &App, request: ListOperations) -> Result<Page<Operation>> {
    require(&request.principal, Action::OperationsRead)?;
    let window = Window::of(&short(request.page))?;
    let filter =
        Filter { cluster: request.cluster_id, states: request.states, kind: request.kind, rollout: request.rollout_id };
    let (records, total) = app.store.list_operations(&View::of(&request.principal), &filter, window).await?;
    let page = window.page(records, total, |record| record.doc.shown.seq);
    Ok(Page {
        items: page.items.into_iter().map(|record| record.doc.shown).collect(),
        total: page.total,
        next_cursor: page.next_cursor,
    })
}

pub(crate) async fn list_rollouts(app: &App, request: ListRollouts) -> Result<Page<Rollout>> {
    let principal = &request.principal;
    require(principal, Action::OperationsRead)?;
    let window = Window::of(&short(request.page))?;
    let everybody = principal.reach == Reach::All;
    let (found, total) = app.store.list_rollouts((!everybody).then_some(principal.user_id), window).await?;
    let page = window.page(found, total, |(seq, ..)| *seq);
    let items = page.items.into_iter().filter(|(_, doc, _)| sees(principal, doc));
    Ok(Page {
        items: items.map(|(_, doc, states)| shown(&doc, &states.into_iter().collect())).collect(),
        total: page.total,
        next_cursor: page.next_cursor,
    })
}

/// A page must fit into a message.
fn short(page: PageRequest) -> PageRequest {
    PageRequest { limit: if page.limit > 1_000 { page.limit } else { page.limit.min(PAGE_MAX) }, ..page }
}
