//! What crosses a process boundary is pinned: the JSON of every message, and the seeds' own bodies.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod drift;
mod given;
mod golden;
mod messages;
mod operations;
mod policy;
