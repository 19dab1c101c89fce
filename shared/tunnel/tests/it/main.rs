//! The tunnel over each of its transports, under a hostile scheduler, and against hostile peers.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    clippy::cast_possible_truncation,
    clippy::large_stack_arrays,
    clippy::decimal_bitwise_operands,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod cut;
mod door;
mod exchange;
mod hostile;
mod memory;
mod simulation;
mod suite;
mod transports;
