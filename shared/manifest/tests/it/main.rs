//! Manifests as people and machines send them.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod diffs;
mod garbage;
mod objects;
mod rows;
