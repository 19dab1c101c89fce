//! Plain types and rules: no I/O, no `async`.

mod changes;
pub mod life_cycle;
mod overrides;
mod record;
mod rollout;
mod text;
mod view;
mod window;

pub(crate) use changes::changes_of;
pub(crate) use overrides::patched;
pub(crate) use record::{Body, Doc, Lease, Record, lane, needs_body};
pub(crate) use rollout::{Command, Progress, RolloutDoc, Target, advance, check_plan, command, shown, waves_of};
pub(crate) use text::{cut, scrub};
pub(crate) use view::View;
