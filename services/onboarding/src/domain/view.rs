//! What part of the registry a caller can see.

use roadstead_contracts::identity::{Principal, Reach};
use roadstead_contracts::ids::{TypedId as _, UserId};

/// A caller's reach in the form that the store filters by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Everything.
    pub all: bool,
    /// Owned by this account.
    pub owner: UserId,
    /// Granted clusters, as 32 hex digits: both databases read that form of a UUID.
    pub granted: Vec<String>,
}

impl View {
    /// The view of a caller.
    pub(crate) fn of(principal: &Principal) -> Self {
        let (all, granted) = match &principal.reach {
            Reach::All => (true, Vec::new()),
            Reach::Granted(clusters) => (false, clusters.iter().map(|id| id.uuid().simple().to_string()).collect()),
        };
        Self { all, owner: principal.user_id, granted }
    }
}
