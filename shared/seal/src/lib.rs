//! Secrets at rest: envelope encryption. Each value gets a data key of its own (AES-256-GCM), which is wrapped by a master
//! key that never is in the database ([`KeySource`]). What is stored is one text, [`Sealed`].
//!
//! A sealed text opens in one place only: purpose (the service, or a tenant of it), table, column, row and version of the row
//! are bound to it, so that it cannot be moved to another row, nor an older one be put back where rows have versions
//! ([`Sealer::seal_version`]).
//!
//! How a store uses it: name the column `sealed_<what>` (type TEXT), which is how `roadstead admin rewrap` finds it; call
//! `sealer.seal("clusters", "sealed_token", cluster_id, bytes)` and bind `sealed.as_str()`; read the text back with
//! `Sealed::parse` and `sealer.unseal("clusters", "sealed_token", cluster_id, &sealed)`. `roadstead_store::seal::guard`
//! keeps a check value in the service's own database, so that a wrong master key refuses to start.
//!
//! No database and no async here. Read [`sealer`] for the scheme, [`source`] for where master keys come from.

mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod keys;
mod sealed;
pub mod sealer;
pub mod source;

pub use error::{Error, Result};
pub use keys::{KeyVersion, MasterKeys};
pub use sealed::Sealed;
pub use sealer::{Check, Sealer};
pub use source::{KeySource, Kms};
