//! The agent's WebSocket is cut behind every frame, in either direction, and in the middle of frames, while a change runs.
//! Nobody dies, so no call at all may be made again.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::checker::Wanted;
use roadstead_mesh_tests::{Break, Direction, Wire};

use super::super::cluster::Log;
use super::super::rig::Rig;
use super::asking::{Asking, settle};
use super::callers::{BACK, kinds};
use super::mix::{Change, Mix, Story};
use super::{Field, QUIET, TELL_EVERY};

/// The cluster whose agent is at the end of the wire.
const FAR: &str = "buoy";
/// ConfigMaps of one change.
const OBJECTS: usize = 4;

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let Field { rig, size, dice } = field;
    let backend: SocketAddr = rig.mesh.agent_url.trim_start_matches("http://").parse().context("no agents' door")?;
    let wire = Wire::start(backend).await?;
    rig.mesh.start_agent_at(FAR, &wire.url()).await?;
    rig.mesh.status(FAR, "connected", BACK).await?;
    let place = rig.made_place("frames").await?;
    let log = Log::begin(rig, &place).await?;
    let (asking, mix) = (Asking::of(rig, FAR).await?, Mix::new(dice, &place, OBJECTS));
    // Once uncut, to count the frames of each kind.
    let (mut wanted, mut frames) = (Vec::new(), BTreeMap::new());
    let mut stories = 0_usize..;
    for story in [Story::Plain, Story::Replaced, Story::Workload] {
        for one in mix.tell(stories.next().unwrap_or_default(), story) {
            let (before, kind) = (wire.frames(), kind(&one));
            wanted.push(ended(rig, &asking, one).await?);
            let after = wire.frames();
            frames.insert(kind, [after[0] - before[0], after[1] - before[1]]);
        }
    }
    let most = frames[&("apply", false)];
    let mut places = Vec::new();
    for direction in Direction::ALL {
        for frame in 0..=most[direction as usize] {
            places.extend(Break::LOUD.map(|how| (direction, frame, how)));
        }
    }
    // A silent one is noticed after twenty seconds: some of them, in the long form.
    if size.cuts > places.len() {
        places.extend(Direction::ALL.map(|direction| (direction, most[direction as usize] / 2, Break::Silent)));
    }
    let (all, places) = (places.len(), dice.some(places, size.cuts));
    println!("{frames:?} frames, {} of {all} places to cut", places.len());
    let mut changes = stories.flat_map(|story| mix.story(story));
    for (direction, frame, how) in places {
        let Some(change) = changes.next() else { break };
        rig.mesh.status(FAR, "connected", BACK).await?;
        // Where this kind has fewer frames, at another of its own.
        let kind = kind(&change);
        let frame = frame % (frames[&kind][direction as usize] + 1);
        wire.cut_after(direction, frame, how);
        let one = ended(rig, &asking, change).await?;
        // What came with fewer frames this time must not leave its cut to the next one.
        wire.mend();
        let end = one.states.last().cloned().unwrap_or_default();
        ensure!(end == "succeeded", "{kind:?} cut {how:?} after {frame} frames {direction:?}: it is {end}");
        wanted.push(one);
        if wanted.len().is_multiple_of(TELL_EVERY) {
            println!("cut {} times so far", wire.cuts());
        }
    }
    println!("cut {} times; {}", wire.cuts(), kinds(&wanted));
    rig.mesh.kill(&format!("agent-{FAR}"))?;
    log.judge(rig, &wanted, 0).await
}

/// What frames are counted by: a Deployment alone is told with fewer than some ConfigMaps.
fn kind(change: &Change) -> (&'static str, bool) {
    (change.wanted.deed.word(), change.wanted.workload)
}

/// Asks for a change, and waits for its end.
async fn ended(rig: &Rig, asking: &Asking, mut change: Change) -> Result<Wanted> {
    asking.accepted(&mut change, 0, || ()).await?;
    ensure!(change.wanted.operation.is_some(), "{} was never accepted", change.wanted.key);
    settle(&rig.api, &mut change.wanted, QUIET).await?;
    Ok(change.wanted)
}
