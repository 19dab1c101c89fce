//! A real listener, a small table of routes, and everything a client may do wrong.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod bodies;
mod catalogue;
mod door;
mod framing;
mod gate;
mod limits;
mod mutual;
mod tls;
