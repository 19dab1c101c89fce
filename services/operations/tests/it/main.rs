//! The service as its neighbours see it.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod again;
mod agent;
mod cancellation;
mod crashes;
mod door;
mod drift;
mod forget;
mod life;
mod model;
mod overrides;
mod pages;
mod peers;
mod policy;
mod rig;
mod rollouts;
mod staging;
mod visibility;
mod webhooks;
