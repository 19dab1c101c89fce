//! Plain types and rules: no I/O, no `async`.

mod changes;
pub mod life_cycle;
mod overrides;
mod plan;
mod record;
mod rollout;
mod rollout_advance;
mod text;
mod view;
mod window;

pub(crate) use changes::changes_of;
pub(crate) use overrides::patched;
pub(crate) use plan::Plan;
pub(crate) use record::{Body, Doc, Lease, Record, lane, needs_body};
pub(crate) use rollout::{RolloutDoc, Target, check_plan, command, shown, waves_of};
pub(crate) use rollout_advance::{Known, KnownOperations, LOOK_SECONDS, Progress, advance, look_work, open};
pub(crate) use text::{cut, scrub};
pub(crate) use view::View;
