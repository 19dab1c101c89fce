//! What a decision promises, whatever the rules are.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod arbitrary;
mod examples;
mod properties;
mod sets;
