//! Proofs of identity: passwords ([`password`]), API keys and other two-part secrets ([`token`]), access tokens
//! ([`jwt`]), identities signed for clusters ([`identity`]), the agents' key pairs ([`agent_key`]), tokens of identity
//! providers ([`oidc`]), passkeys ([`webauthn`]), and the signature that services put on what they say to each other
//! ([`mesh`]). [`keyfile`] is where the private keys live.
//!
//! Pure: time, ids and keys come in as parameters, nothing here does I/O. What an identity may do is not decided here
//! but by `contracts::identity` and the services.

pub mod agent_key;
pub mod audit;
pub mod authority;
pub mod ed25519;
mod error;
mod hex;
pub mod identity;
mod jws;
pub mod jwt;
pub mod keyfile;
pub mod mesh;
pub mod mesh_tls;
pub mod oidc;
pub mod password;
pub mod token;
pub mod totp;
pub mod webauthn;

pub use error::{Error, Result};
