//! The agent's WebSocket is cut behind every frame, in either direction, and in the middle of frames, while a change runs.
//! Nobody dies, so no call at all may be made again.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::checker::Wanted;
use roadstead_mesh_tests::{Break, Direction, Wire};

use super::super::cluster::Log;
use super::super::rig::{Rig, config_maps};
use super::callers::BACK;
use super::callers::settle;
use super::{Field, QUIET, TELL_EVERY};

/// The cluster whose agent is at the end of the wire.
const FAR: &str = "buoy";
/// Objects of one change.
const OBJECTS: usize = 4;

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let Field { rig, size, dice } = field;
    let backend: SocketAddr = rig.mesh.agent_url.trim_start_matches("http://").parse().context("no agents' door")?;
    let wire = Wire::start(backend).await?;
    rig.mesh.start_agent_at(FAR, &wire.url()).await?;
    rig.mesh.status(FAR, "connected", BACK).await?;
    let place = rig.made_place("frames").await?;
    let log = Log::begin(rig, &place).await?;
    // Once uncut, to count its frames.
    let before = wire.frames();
    let mut wanted = vec![change(rig, &place, 0).await?];
    let frames: Vec<u64> = wire.frames().iter().zip(before).map(|(after, before)| after - before).collect();
    let mut places = Vec::new();
    for direction in Direction::ALL {
        for frame in 0..=frames[direction as usize] {
            places.extend(Break::LOUD.map(|how| (direction, frame, how)));
        }
    }
    // A silent one is noticed after twenty seconds: some of them, in the long form.
    if size.cuts > places.len() {
        places.extend(Direction::ALL.map(|direction| (direction, frames[direction as usize] / 2, Break::Silent)));
    }
    let (all, places) = (places.len(), dice.some(places, size.cuts));
    println!("{frames:?} frames, {} of {all} places to cut", places.len());
    for (number, (direction, frame, how)) in places.into_iter().enumerate() {
        rig.mesh.status(FAR, "connected", BACK).await?;
        wire.cut_after(direction, frame, how);
        let one = change(rig, &place, number + 1).await?;
        // Where this change had fewer frames, the next one must not meet its cut.
        wire.mend();
        let end = one.states.last().cloned().unwrap_or_default();
        ensure!(end == "succeeded", "cut {how:?} after {frame} frames {direction:?}: it is {end}");
        wanted.push(one);
        if wanted.len().is_multiple_of(TELL_EVERY) {
            println!("cut {} times so far", wire.cuts());
        }
    }
    println!("cut {} times", wire.cuts());
    rig.mesh.kill(&format!("agent-{FAR}"))?;
    log.judge(rig, &wanted, 0).await
}

async fn change(rig: &Rig, place: &str, number: usize) -> Result<Wanted> {
    let objects: Vec<String> = (0..OBJECTS).map(|object| format!("cut-{number:04}-{object}")).collect();
    let path = format!("/api/v1/clusters/{FAR}/manifests");
    let answer = rig.api.post_as(&path, "application/yaml", config_maps(place, &objects)).await?.expect(202)?;
    let operation = answer["operation_id"].as_str().map(str::to_owned);
    let mut one = Wanted { key: format!("{place}-{number}"), operation, objects, ..Wanted::default() };
    settle(&rig.api, &mut one, QUIET).await?;
    Ok(one)
}
