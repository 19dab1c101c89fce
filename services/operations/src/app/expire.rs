//! Deadlines, and what is forgotten with time.

use chrono::TimeDelta;
use roadstead_contracts::Result;

use super::{App, conclude};
use crate::domain::life_cycle::{Input, Next};
use crate::limits::DEADLINE_GRACE;
use crate::store::Effects;

/// Ends what is over its deadline. An agent ends by itself at the deadline, so what runs is given a little longer to say so.
pub(crate) async fn sweep(app: &App) -> Result<()> {
    let now = app.clock.now();
    for id in app.store.overdue(now, now - DEADLINE_GRACE).await? {
        let change = app.own_change();
        let mut ended = false;
        let record = app
            .store
            .change(id, &[], &change, &mut |record, _| {
                let mut effects = Effects::default();
                // Looked at again under the lock.
                if record.doc.shown.deadline > change.at {
                    return effects;
                }
                if let (Next::To(..), step) = record.take(Input::Overdue, None, change.at) {
                    effects.touched = true;
                    effects.steps.extend(step);
                    conclude(app, record, &mut effects, &change);
                    ended = true;
                }
                effects
            })
            .await?;
        if let (true, Some(record)) = (ended, record) {
            app.committed();
            app.running.stop(id);
            app.ended(&record);
        }
    }
    Ok(())
}

impl App {
    /// Counts an ending and tells its rollout. After the commit.
    pub(crate) fn ended(&self, record: &crate::domain::Record) {
        let shown = &record.doc.shown;
        let label = roadstead_telemetry::metrics::labels::ClusterOperation {
            cluster_id: shown.cluster_id.to_string(),
            r#type: shown.kind.as_str(),
            status: shown.state.seed_word(),
        };
        self.metrics.operations.get_or_create(&label).inc();
        let took = shown.finished_at.map_or(TimeDelta::zero(), |end| end - shown.created_at);
        // Milliseconds of a week fit into a double.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let seconds = took.num_milliseconds().max(0) as f64 / 1e3;
        self.metrics.operation_duration.get_or_create(&label).observe(seconds);
        let outcome = roadstead_telemetry::metrics::labels::Outcome { outcome: shown.state.as_str() };
        self.metrics.operations_ended.get_or_create(&outcome).inc();
        tracing::info!(
            operation_id = %shown.id,
            cluster_id = %shown.cluster_id,
            state = shown.state.as_str(),
            "operation {} ended as {}",
            shown.id,
            shown.state.as_str()
        );
        // The next in its lane can go, and its rollout.
        self.work.notify_one();
        if shown.rollout_id.is_some() {
            self.rollouts.notify_one();
        }
    }
}
