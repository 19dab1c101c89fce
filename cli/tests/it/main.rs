//! The program as its users see it.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod fake;
mod fleets;
mod matrix;
mod places;
mod program;
mod up;
