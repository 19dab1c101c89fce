//! What is sealed opens in its own place, with the right key, unchanged: reliability rows L04 and C03.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod keys;
mod values;
