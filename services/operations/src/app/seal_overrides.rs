//! Seals what the patches of a rollout say, as the manifests that they are for; reads it back when a cluster's turn comes.

use roadstead_contracts::message::RolloutOverride;
use roadstead_contracts::{Code, Error, Result};
use roadstead_seal::Sealed;

use super::App;
use crate::domain::RolloutDoc;

/// Where it lies.
const TABLE: &str = "rollouts";
/// See [`TABLE`].
const COLUMN: &str = "sealed_overrides";

impl App {
    /// Takes what the patches say out of the document and seals it; `false`: there is nothing in it to seal.
    pub(super) fn seal_overrides(&self, doc: &mut RolloutDoc) -> Result<bool> {
        let Some(patches) = doc.plan.clear_patches() else { return Ok(false) };
        let plain = serde_json::to_vec(&patches).map_err(|_| Error::of(Code::Internal))?;
        let sealed = self.sealer.seal(TABLE, COLUMN, doc.id, &plain)?;
        doc.sealed_overrides = Some(sealed.as_str().to_owned());
        doc.plan = doc.plan.clone().without_patches();
        Ok(true)
    }

    /// The overrides of a rollout with what they say.
    pub(super) fn overrides_of(&self, doc: &RolloutDoc) -> Result<Vec<RolloutOverride>> {
        let patches = match (doc.plan.clear_patches(), &doc.sealed_overrides) {
            // Stored before it was sealed, and not sealed yet.
            (Some(patches), _) => Some(patches),
            (None, Some(sealed)) => {
                let plain = self.sealer.unseal(TABLE, COLUMN, doc.id, &Sealed::parse(sealed)?)?;
                serde_json::from_slice(&plain).ok()
            }
            (None, None) => None,
        };
        let found = patches.and_then(|patches| doc.plan.overrides_with(patches));
        found.ok_or_else(|| {
            tracing::error!(rollout_id = %doc.id, "what the patches of rollout {} say is missing", doc.id);
            Error::of(Code::IntegrityError)
        })
    }
}

/// Seals plans that were stored before patches were sealed; answers how many. Several processes may: each is sealed under its
/// row's lock.
pub(super) async fn seal_plans(app: &App) -> Result<usize> {
    let mut count = 0;
    for id in app.store.unsealed_rollouts().await? {
        let sealed = app.store.seal_rollout(id, &mut |doc| app.seal_overrides(doc).unwrap_or(false)).await?;
        count += usize::from(sealed);
    }
    if count > 0 {
        tracing::info!("the patches of {count} rollouts are sealed now");
    }
    Ok(count)
}
