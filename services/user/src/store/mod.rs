//! The service's SQL; nothing else here speaks it. One body per method for PostgreSQL and SQLite.
//!
//! Every method that changes what others may have cached takes the event about it and writes both in one transaction.

mod api_keys;
mod grants;
mod hub;
mod rows;
mod sessions;
mod users;

pub use api_keys::{ApiKeyStore, KnownKey};
pub use grants::GrantStore;
pub use hub::HubStore;
pub use sessions::{KnownSession, Rotation, SessionStore, TurnIn};
pub use users::{UserChange, UserStore};

/// All of it.
pub trait Store: UserStore + SessionStore + ApiKeyStore + GrantStore + HubStore {}
impl<T: UserStore + SessionStore + ApiKeyStore + GrantStore + HubStore> Store for T {}
