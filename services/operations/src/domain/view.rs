//! What part of the operations a caller can see.

use roadstead_contracts::identity::{Principal, Reach};
use roadstead_contracts::ids::{ClusterId, TypedId as _, UserId};

/// A caller's reach in the form that the store filters by. Ids are 32 hex digits: both databases read that form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Every cluster, as far as [`View::bound`] goes.
    pub all: bool,
    /// Clusters that this account owns.
    pub owner: UserId,
    /// Granted clusters.
    pub granted: Vec<String>,
    /// Whether the credential is held to [`View::within`].
    pub bound: bool,
    /// The clusters that it is held to.
    pub within: Vec<String>,
}

impl View {
    /// The view of a caller.
    pub(crate) fn of(principal: &Principal) -> Self {
        let hex = |clusters: &std::collections::BTreeSet<ClusterId>| {
            clusters.iter().map(|id| id.uuid().simple().to_string()).collect::<Vec<_>>()
        };
        let (all, granted) = match &principal.reach {
            Reach::All => (true, Vec::new()),
            Reach::Granted(clusters) => (false, hex(clusters)),
        };
        let within = principal.scope.as_ref().and_then(|scope| scope.clusters.as_ref());
        Self {
            all,
            owner: principal.user_id,
            granted,
            bound: within.is_some(),
            within: within.map(hex).unwrap_or_default(),
        }
    }
}
