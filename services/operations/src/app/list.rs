//! Lists, newest first.

use roadstead_bus::CallContext;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::TypedId as _;
use roadstead_contracts::message::{ListClusters, ListOperations, ListRollouts, Operation, Page, PageRequest, Rollout};
use roadstead_contracts::names::Labels;
use roadstead_contracts::policy::{Effect, Rule};
use roadstead_contracts::{Code, Result};
use roadstead_store::Window;
use serde::Serialize;

use super::get::{require_of_rollout, sees};
use super::{App, require_of, require_somewhere};
use crate::domain::{Record, RolloutDoc, View, shown};
use crate::limits::{ASK, PAGE_BYTES_MAX, PAGE_MAX, RULED_CLUSTERS_MAX};
use crate::store::{Filter, States};

pub(crate) async fn list_operations(app: &App, request: ListOperations) -> Result<Page<Operation>> {
    let principal = &request.principal;
    require_somewhere(app, principal, Action::OperationsRead)?;
    let window = Window::of(&short(request.page))?;
    let filter =
        Filter { cluster: request.cluster_id, states: request.states, kind: request.kind, rollout: request.rollout_id };
    let view = view(app, principal).await?;
    let (records, total) = app.store.list_operations(&view, &filter, window).await?;
    let length = |record: &Record| length(&record.doc.shown);
    let mut page = window.page_within(records, total, |record| record.doc.shown.seq, (length, PAGE_BYTES_MAX));
    let found = page.items.len();
    if !principal.rules.is_empty() {
        page.items.retain(|record| require_of(app, principal, Action::OperationsRead, record).is_ok());
    }
    // How many there are that are not the caller's is not told either.
    let total = if page.items.len() == found { page.total } else { page.items.len() as u64 };
    Ok(Page {
        items: page.items.into_iter().map(|record| record.doc.shown).collect(),
        total,
        next_cursor: page.next_cursor,
    })
}

pub(crate) async fn list_rollouts(app: &App, request: ListRollouts) -> Result<Page<Rollout>> {
    let principal = &request.principal;
    require_somewhere(app, principal, Action::OperationsRead)?;
    let window = Window::of(&short(request.page))?;
    let view = view(app, principal).await?;
    let (found, total) = app.store.list_rollouts(&view, window).await?;
    let length = |(_, doc, states): &(i64, RolloutDoc, States)| length(&shown(doc, &states.iter().copied().collect()));
    let page = window.page_within(found, total, |(seq, ..)| *seq, (length, PAGE_BYTES_MAX));
    let may = |doc: &RolloutDoc| {
        sees(principal, doc, app.clock.now()) && require_of_rollout(app, principal, Action::OperationsRead, doc).is_ok()
    };
    let found = page.items.len();
    let items = page.items.into_iter().filter(|(_, doc, _)| may(doc));
    let items: Vec<Rollout> = items.map(|(_, doc, states)| shown(&doc, &states.into_iter().collect())).collect();
    let total = if items.len() == found { page.total } else { items.len() as u64 };
    Ok(Page { items, total, next_cursor: page.next_cursor })
}

/// Bytes of something in a message.
fn length(shown: &impl Serialize) -> usize {
    serde_json::to_vec(shown).map_or(0, |text| text.len())
}

/// The caller's view of the operations. Which clusters a rule shows, the registry knows.
async fn view(app: &App, principal: &Principal) -> Result<View> {
    let mut view = View::of(principal);
    let now = app.clock.now();
    let shows = |rule: &Rule| rule.effect == Effect::Allow && rule.stands(now) && !rule.clusters.is_every();
    if view.all || !principal.rules.iter().any(shows) {
        return Ok(view);
    }
    let page = PageRequest { limit: RULED_CLUSTERS_MAX, offset: 0, cursor: None };
    let request = ListClusters { principal: principal.clone(), page, labels: Labels::default() };
    match app.bus.call(&request, &CallContext::new(ASK, "list-operations")).await {
        Ok(found) => view.granted.extend(found.items.iter().map(|cluster| cluster.id.uuid().simple().to_string())),
        // Whoever may not list clusters sees the operations of its own.
        Err(error) if error.code == Code::Forbidden => {}
        Err(error) => return Err(error),
    }
    Ok(view)
}

/// A page must fit into a message.
fn short(page: PageRequest) -> PageRequest {
    PageRequest { limit: if page.limit > 1_000 { page.limit } else { page.limit.min(PAGE_MAX) }, ..page }
}
