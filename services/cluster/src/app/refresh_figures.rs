//! The figures about clusters, asked of their owner when somebody scrapes; at most once in five seconds, because anybody
//! may scrape.

use std::time::Duration;

use chrono::{DateTime, Utc};
use roadstead_contracts::Result;
use roadstead_contracts::message::{Cluster, ClusterMode, ClusterStatus, CountClusters, ListClusters, PageRequest};
use roadstead_contracts::names::Labels;
use roadstead_http_kit::{Caller, RequestContext};
use roadstead_telemetry::metrics::ClusterSample;
use roadstead_telemetry::metrics::labels::ClusterState;

use super::App;

/// How old the figures may be.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// Rows of a page.
const PAGE: u32 = 1_000;
/// Most pages: beyond 20,000 clusters the series would not fit a scrape.
const PAGES_MAX: usize = 20;

/// When the figures were last asked for.
#[derive(Debug, Default)]
pub(crate) struct Refreshed {
    counts: Option<DateTime<Utc>>,
    clusters: Option<DateTime<Utc>>,
}

impl App {
    /// Brings the counts up to date. When nobody answers the old ones stay.
    pub(crate) async fn refresh_counts(&self, context: &RequestContext) {
        let mut refreshed = self.figures.lock().await;
        if !self.is_stale(refreshed.counts) {
            return;
        }
        refreshed.counts = Some(self.clock.now());
        match self.look_up(&CountClusters {}, context).await {
            Ok(counts) => {
                self.metrics.clusters.clear();
                for count in counts {
                    let state =
                        ClusterState { mode: mode(count.mode).to_owned(), status: count.status.as_str().to_owned() };
                    self.metrics.clusters.get_or_create(&state).set(i64::try_from(count.count).unwrap_or(i64::MAX));
                }
            }
            Err(error) => tracing::debug!("the figures about clusters are old: {error}"),
        }
    }

    /// Brings the figures of each cluster up to date, as a caller who sees every cluster.
    pub(crate) async fn refresh_clusters(&self, caller: &Caller, context: &RequestContext) {
        let mut refreshed = self.figures.lock().await;
        if !self.is_stale(refreshed.clusters) {
            return;
        }
        refreshed.clusters = Some(self.clock.now());
        match self.samples(caller, context).await {
            Ok(samples) => self.metrics.replace_clusters(&samples),
            Err(error) => tracing::debug!("the figures about clusters are old: {error}"),
        }
    }

    fn is_stale(&self, last: Option<DateTime<Utc>>) -> bool {
        let fresh = chrono::Duration::from_std(FRESH_FOR).unwrap_or_default();
        last.is_none_or(|last| self.clock.now() >= last + fresh)
    }

    async fn samples(&self, caller: &Caller, context: &RequestContext) -> Result<Vec<ClusterSample>> {
        let mut samples = Vec::new();
        let mut page = PageRequest { limit: PAGE, offset: 0, cursor: None };
        for _ in 0..PAGES_MAX {
            let principal = caller.principal.as_ref().clone();
            let request = ListClusters { principal, page: page.clone(), labels: Labels::default() };
            let answer = self.look_up(&request, context).await?;
            samples.extend(answer.items.iter().map(sample));
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => break,
            }
        }
        Ok(samples)
    }
}

/// The word for how a cluster is reached.
pub(crate) fn mode(mode: ClusterMode) -> &'static str {
    match mode {
        ClusterMode::Agent => "agent",
        ClusterMode::Hosted => "hosted",
        ClusterMode::Direct => "direct",
    }
}

fn sample(cluster: &Cluster) -> ClusterSample {
    let connected = matches!(cluster.status, ClusterStatus::Connected | ClusterStatus::Error);
    ClusterSample {
        id: cluster.id.to_string(),
        name: cluster.name.to_string(),
        mode: mode(cluster.mode).to_owned(),
        status: cluster.status.as_str().to_owned(),
        connected,
        healthy: cluster.facts.health.as_deref() == Some("healthy"),
        agent_version: cluster.facts.agent_version.clone(),
        last_seen: cluster.last_seen_at.map(|time| time.timestamp()),
    }
}
