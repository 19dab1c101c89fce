//! The commands that change clusters, and those on operations and rollouts.

mod apply;
mod colour;
mod confirm;
mod drift;
mod files;
mod follow;
mod helm;
mod model;
mod ops;
mod progress;
mod rollout;
mod submit;
mod workload;

pub(super) use apply::{apply, delete, diff};
pub(super) use drift::run as drift;
pub(super) use helm::run as helm;
pub(super) use ops::run as ops;
pub(super) use rollout::run as rollout;
pub(super) use workload::{restart, rollback, scale};

use roadstead_runtime::{Ids, SystemClock};

/// A key for one change that is sent at most twice.
fn fresh_key() -> String {
    format!("cli-{}", Ids::system(SystemClock::shared()).uuid())
}
