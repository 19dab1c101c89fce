//! The service's SQL; nothing else here speaks it. One body per method for PostgreSQL and SQLite.
//!
//! Every method that changes what others may have cached takes the event about it and writes both in one transaction.

mod access_requests;
mod api_keys;
mod audit;
mod audit_exports;
mod grants;
mod hub;
mod local_accounts;
mod passkeys;
mod policy;
mod registrations;
mod rows;
mod sessions;
mod sign_ins;
mod users;

pub use access_requests::{AccessFilter, AccessStore};
pub use api_keys::{ApiKeyStore, KnownKey};
pub use audit::AuditStore;
pub use audit_exports::AuditExportStore;
pub use grants::GrantStore;
pub use hub::HubStore;
pub use local_accounts::LocalAccountStore;
pub use passkeys::{PasskeyAdded, PasskeyStore};
pub use policy::PolicyStore;
pub use registrations::RegistrationStore;
pub use sessions::{KnownSession, Rotation, SessionStore, TurnIn};
pub use sign_ins::{ProviderLogout, SignInStore};
pub use users::{UserChange, UserStore};

/// All of it.
pub trait Store:
    AccessStore
    + RegistrationStore
    + UserStore
    + SessionStore
    + ApiKeyStore
    + GrantStore
    + HubStore
    + SignInStore
    + LocalAccountStore
    + PasskeyStore
    + PolicyStore
    + AuditStore
    + AuditExportStore
{
}
impl<
    T: AccessStore
        + RegistrationStore
        + UserStore
        + SessionStore
        + ApiKeyStore
        + GrantStore
        + HubStore
        + SignInStore
        + LocalAccountStore
        + PasskeyStore
        + PolicyStore
        + AuditStore
        + AuditExportStore,
> Store for T
{
}
