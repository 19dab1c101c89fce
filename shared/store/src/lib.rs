//! Databases: PostgreSQL for the mesh, SQLite for one process. One Rust body per store method, stamped out for both
//! pools by [`for_pools!`]; SQL text is shared where the dialects agree and picked by [`Dialect::pick`] where they differ.
//!
//! Nothing but this crate and `services/*/store` speaks SQL, and nothing asks which database it is outside [`open()`].
//! Read [`dialect`] for how a store is written, [`migrate`] for schemas, [`outbox`] for events, [`audit`] for records
//! of the audit trail, [`receipts`] for messages that come twice, [`seal`] for master keys.
//!
//! Facts about both that a store may lean on: `$1` placeholders, `ON CONFLICT`, `RETURNING`, `uuid::Uuid`,
//! `chrono::DateTime<Utc>` (SQLite keeps RFC 3339 text whose order is the order of time) and `sqlx::types::Json` work
//! alike. SQLite column types: `BLOB` for a uuid, `TEXT` for times and JSON, `INTEGER` for whole numbers and booleans.

pub mod audit;
mod change;
pub mod dialect;
mod error;
pub mod migrate;
mod open;
pub mod outbox;
pub mod paging;
pub mod receipts;
pub mod relay;
pub mod seal;
mod transaction;

pub use async_trait::async_trait;
pub use audit::AuditRelay;
pub use change::Change;
pub use dialect::Dialect;
pub use error::{Error, Result};
pub use migrate::Migrator;
pub use open::{Opened, Options, open, place};
pub use outbox::OutboxRelay;
pub use paging::Window;
pub use receipts::Receipts;
/// The pools that [`for_pools!`] stamps for, and the rest of the driver for the stores.
pub use sqlx;
pub use sqlx::{PgPool, SqlitePool};
pub use transaction::{Turn, WriteTransaction};
