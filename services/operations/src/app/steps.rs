//! What happened in an operation.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{ListOperationSteps, OperationSteps};
use roadstead_contracts::{Error, Result};

use super::{App, require_of, require_somewhere};
use crate::limits::{STEPS_BYTES_MAX, STEPS_MAX};

pub(crate) async fn list_steps(app: &App, request: ListOperationSteps) -> Result<OperationSteps> {
    require_somewhere(app, &request.principal, Action::OperationsRead)?;
    if request.limit == 0 || request.limit > STEPS_MAX || request.after < 0 {
        return Err(Error::field(&["query", "limit"], "value_error", "limit must be 1 to 1000, after 0 or more"));
    }
    // The operation first: a step that is stored between the two look-ups is read again, none is missed.
    let record = app.visible(&request.principal, request.id).await?;
    require_of(app, &request.principal, Action::OperationsRead, &record)?;
    let mut steps = app.store.list_steps(request.id, request.after, request.limit).await?;
    // An answer must fit into a message; the reader asks on from the last step it got.
    let mut bytes = 0;
    let fits = steps.iter().position(|step| {
        bytes += serde_json::to_vec(step).map_or(0, |text| text.len());
        bytes > STEPS_BYTES_MAX
    });
    if let Some(fits) = fits {
        steps.truncate(fits.max(1));
    }
    Ok(OperationSteps { operation: record.doc.shown, steps })
}
