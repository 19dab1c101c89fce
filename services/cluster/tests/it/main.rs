//! The front door against an in-process bus and owners that are not real.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod audit;
mod authentication;
mod authorization;
mod catalogue;
mod charts;
mod clusters;
mod direct;
mod docs;
mod forwarding;
mod join;
mod kubernetes_door;
mod listeners;
mod metrics;
mod operation_events;
mod operations;
mod operations_owner;
mod owners;
mod played;
mod policy;
mod quotas;
mod rig;
mod seed_004;
mod seed_onboarding;
mod seed_views;
mod seeds;
