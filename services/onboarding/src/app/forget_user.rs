//! An account is gone: what it owned goes with it, as the seeds have it. Clusters are taken out of the hub,
//! nothing is done inside them; join tokens and agents without a cluster would otherwise let somebody in for nobody.
//!
//! Runs until nothing is left, and may run twice: what is gone already is passed over.

use roadstead_contracts::Result;
use roadstead_contracts::audit::{Actor, Origin, Resource};
use roadstead_contracts::ids::{TypedId as _, UserId};
use roadstead_contracts::message::{Cluster, PageRequest};
use roadstead_contracts::names::Labels;
use roadstead_store::Window;
use roadstead_store::audit::Deed;

use super::App;
use crate::domain::View;

/// Rows of one round.
const ROUND: u32 = 100;
/// Most rounds: an account with more is left to the next delivery of the message.
const ROUNDS_MAX: usize = 100;

pub(crate) async fn forget_user(app: &App, user: UserId) -> Result<()> {
    let view = View { all: false, owner: user, granted: Vec::new() };
    let clusters = forget_clusters(app, &view).await?;
    let (tokens, agents) = (forget_tokens(app, &view).await?, forget_agents(app, &view).await?);
    if clusters + tokens + agents > 0 {
        tracing::info!("{clusters} clusters, {tokens} join tokens and {agents} agents of a removed account are gone");
    }
    Ok(())
}

async fn forget_clusters(app: &App, view: &View) -> Result<usize> {
    let window = Window::of(&PageRequest { limit: ROUND, ..PageRequest::default() })?;
    let mut count = 0;
    for _ in 0..ROUNDS_MAX {
        let (records, _) = app.store.list_clusters(view, &Labels::default(), window, app.presence.cutoff()).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            app.trail.around(deed(view.owner, &record.cluster), forget_cluster(app, &record.cluster)).await?;
            count += 1;
        }
    }
    Ok(count)
}

async fn forget_cluster(app: &App, cluster: &Cluster) -> Result<()> {
    // The agents of other replicas are cut off by the events.
    for agent in app.store.delete_cluster(cluster, &app.own_change()).await?.unwrap_or_default() {
        app.sessions.revoke(agent);
    }
    app.relay.nudge();
    app.hosting.notify_one();
    Ok(())
}

async fn forget_tokens(app: &App, view: &View) -> Result<usize> {
    let (mut count, mut next) = (0, None);
    for _ in 0..ROUNDS_MAX {
        let window = Window::of(&PageRequest { limit: ROUND, offset: 0, cursor: next })?;
        let (rows, total) = app.store.list_tokens(view, window).await?;
        let page = window.page(rows, total, |(seq, _)| *seq);
        for (_, record) in page.items.into_iter().filter(|(_, record)| record.token.revoked_at.is_none()) {
            app.store.revoke_token(record.token.id, &app.own_change()).await?;
            count += 1;
        }
        next = page.next_cursor;
        if next.is_none() {
            break;
        }
    }
    Ok(count)
}

async fn forget_agents(app: &App, view: &View) -> Result<usize> {
    let (mut count, mut next) = (0, None);
    for _ in 0..ROUNDS_MAX {
        let window = Window::of(&PageRequest { limit: ROUND, offset: 0, cursor: next })?;
        let (rows, total) = app.store.list_agents(view, false, window, app.presence.cutoff()).await?;
        let page = window.page(rows, total, |(seq, _)| *seq);
        for (_, record) in page.items.into_iter().filter(|(_, record)| !record.agent.revoked) {
            app.store.revoke_agent(record.id, &app.own_change()).await?;
            app.sessions.revoke(record.id);
            count += 1;
        }
        next = page.next_cursor;
        if next.is_none() {
            break;
        }
    }
    if count > 0 {
        app.relay.nudge();
    }
    Ok(count)
}

fn deed(user: UserId, cluster: &Cluster) -> Deed {
    let resource = Resource::named("cluster", cluster.name.as_str()).in_cluster(cluster.id);
    Deed {
        origin: Origin::request(&user.uuid().to_string()),
        actor: Actor::system("user-removed"),
        action: "cluster.delete".to_owned(),
        resource,
    }
}
