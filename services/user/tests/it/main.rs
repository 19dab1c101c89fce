//! The service as its clients and neighbours see it, and its store on both databases.
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
mod access_requests;
mod accounts;
mod api_keys;
mod audit;
mod audit_export;
mod bus_doors;
mod canaries;
mod catalogue;
mod first_admin;
mod keys;
mod kubesage;
mod kubesage_registration;
mod local_accounts;
mod login;
mod mckmt;
mod oidc;
mod orders;
mod passkeys;
mod policies;
mod policy_store;
mod policy_strategies;
mod raised;
mod replicas;
mod rig;
mod scopes;
mod second_factors;
mod secrets;
mod sessions;
mod store;
mod store_access;
mod store_logins;
mod store_passkeys;
mod store_suite;
