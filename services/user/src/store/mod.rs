//! The service's SQL; nothing else here speaks it. One body per method for PostgreSQL and SQLite.
//!
//! Every method that changes what others may have cached takes the event about it and writes both in one transaction.

mod api_keys;
mod audit;
mod grants;
mod hub;
mod local_accounts;
mod rows;
mod sessions;
mod sign_ins;
mod users;

pub use api_keys::{ApiKeyStore, KnownKey};
pub use audit::AuditStore;
pub use grants::GrantStore;
pub use hub::HubStore;
pub use local_accounts::LocalAccountStore;
pub use sessions::{KnownSession, Rotation, SessionStore, TurnIn};
pub use sign_ins::{ProviderLogout, SignInStore};
pub use users::{UserChange, UserStore};

/// All of it.
pub trait Store:
    UserStore + SessionStore + ApiKeyStore + GrantStore + HubStore + SignInStore + LocalAccountStore + AuditStore
{
}
impl<T: UserStore + SessionStore + ApiKeyStore + GrantStore + HubStore + SignInStore + LocalAccountStore + AuditStore>
    Store for T
{
}
