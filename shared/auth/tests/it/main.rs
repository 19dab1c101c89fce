//! Tokens from the outside: what is made by one side and checked by the other, and every forgery of reliability rows
//! A02 to A06 that concerns them.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod access;
mod agents;
mod audit;
mod forge;
mod identities;
mod orders;
mod passkeys;
mod provider_tokens;
