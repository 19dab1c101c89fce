//! `/api/v1`: seed 000's shapes, and our own beside them.

pub(super) mod agents;
mod apply_query;
pub(super) mod can;
pub(super) mod charts;
pub(super) mod clusters;
pub(super) mod connection;
pub(super) mod drift;
mod duplex;
pub(super) mod grants;
pub(super) mod health;
pub(super) mod join_tokens;
pub(super) mod manifests;
pub(super) mod metrics;
pub(super) mod namespaces;
pub(super) mod operation_events;
pub(super) mod operations;
pub(super) mod proxy;
pub(super) mod recordings;
pub(super) mod resources;
pub(super) mod rollouts;
mod socket;
pub(super) mod terminal;
mod upload;
mod work;

use roadstead_contracts::{Code, Error, Result};

/// Longest path parameter that can be anything: a DNS label has 63, a UUID 36 characters.
const REFERENCE_MAX: usize = 128;

/// A cluster, agent or account as named in a path: anything else cannot exist.
pub(super) fn reference<'a>(text: &'a str, missing: &'static str) -> Result<&'a str> {
    let plain = !text.is_empty() && text.len() <= REFERENCE_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { Ok(text) } else { Err(Error::not_found(missing)) }
}

/// The owner's "not found" in the words of seed 000.
pub(super) fn named(missing: &'static str) -> impl Fn(Error) -> Error {
    move |error| if error.code == Code::NotFound { Error::not_found(missing) } else { error }
}

/// No such cluster, or not the caller's.
pub(super) const NO_CLUSTER: &str = "Cluster not found";
