//! Every message between the services may come twice or five times, and later than others that were sent after it.

use std::time::Duration;

use anyhow::Result;
use roadstead_mesh_tests::UNRULY;
use tokio::time::sleep;

use super::super::cluster::Log;
use super::Field;
use super::callers::Callers;

/// A process is ready within this time although its own questions are doubled.
const READY: Duration = Duration::from_secs(60);

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let Field { rig, size, dice } = field;
    let parts = rig.mesh.parts();
    for name in &parts {
        rig.mesh.kill(name)?;
        rig.mesh.start_part_with(name, Some((UNRULY, &dice.below(usize::MAX).to_string())))?;
    }
    for name in &parts {
        rig.mesh.ready(name, READY).await?;
    }
    let place = rig.made_place("messages").await?;
    let log = Log::begin(rig, &place).await?;
    let callers = Callers::start(rig, dice, &place, size.operations).await?;
    while !callers.is_done() {
        sleep(Duration::from_millis(20)).await;
    }
    callers.judge(rig, log, 0).await
}
