//! Keeps what an agent says has drifted.

use roadstead_contracts::Result;
use roadstead_contracts::drift::{DRIFTED_MAX, DriftedObject, FIELD_TEXT_MAX, FIELDS_MAX};
use roadstead_contracts::message::{Drifted, ReportDrift};

use super::App;
use crate::domain::cut;
use crate::store::{Change, DriftDoc, NewDrift};

pub(crate) async fn report_drift(app: &App, request: ReportDrift, change: Change) -> Result<()> {
    let ReportDrift { cluster_id, agent_id, epoch, report } = request;
    let objects = report.objects.into_iter().take(DRIFTED_MAX);
    let doc = DriftDoc {
        counts: report.counts,
        objects: objects.map(|object| Drifted { object: bounded(object), since: change.at }).collect(),
    };
    let revision = i64::try_from(report.revision).unwrap_or(i64::MAX);
    let new = NewDrift { cluster: cluster_id, agent: agent_id, epoch, revision, doc };
    if app.store.report_drift(&new, &change).await? {
        let drifted = report.counts.drifted;
        tracing::info!(cluster_id = %cluster_id, drifted, "{drifted} objects have drifted in cluster {cluster_id}");
        app.committed();
    }
    Ok(())
}

/// What an agent says is no longer than ours say it.
fn bounded(mut object: DriftedObject) -> DriftedObject {
    object.fields.truncate(FIELDS_MAX);
    for field in &mut object.fields {
        field.path = cut(&field.path, FIELD_TEXT_MAX);
        field.manager = field.manager.take().map(|manager| cut(&manager, FIELD_TEXT_MAX));
    }
    object
}
