//! Each process dies at each of its named points while changes are under way, and is started again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::{KILL, Layout};
use roadstead_runtime::kill::{POINTS, Point};
use tokio::time::sleep;

use super::super::cluster::Log;
use super::super::rig::{CLUSTER, Rig};
use super::callers::Callers;
use super::{Dice, Field};

/// A process passes each of its points within this time, its start included, or nothing passes it any more.
const PASSED: Duration = Duration::from_secs(90);
/// Points are passed so often before a process dies at one: any operation of the first few.
const PASSINGS: usize = 6;
/// Deaths of one process at one point: after that it lives, so that the work gets on.
const DEATHS: usize = 4;
/// A process that is started again is ready, or dead again, within this time.
const READY: Duration = Duration::from_secs(60);

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let turns = turns(field.rig.mesh.layout);
    let turns = field.dice.some(turns, field.size.points);
    for (number, (point, part)) in turns.into_iter().enumerate() {
        turn(field, number, point, part).await.with_context(|| format!("{part} at {}", point.name))?;
    }
    Ok(())
}

/// Every point with who passes it; the services of one process are one.
fn turns(layout: Layout) -> Vec<(Point, &'static str)> {
    let all = POINTS.iter().flat_map(|point| point.parts.iter().map(move |part| (*point, *part)));
    match layout {
        Layout::Mesh => all.collect(),
        Layout::OneProcess => {
            all.filter(|(point, part)| point.one_process && point.parts.first() == Some(part)).collect()
        }
    }
}

/// The processes that play a part.
fn players(rig: &Rig, part: &str) -> Vec<String> {
    if part == "agent" {
        return vec![format!("agent-{CLUSTER}")];
    }
    match rig.mesh.layout {
        Layout::OneProcess => vec!["up".to_owned()],
        Layout::Mesh => rig.mesh.parts().into_iter().filter(|name| name.starts_with(part)).collect(),
    }
}

async fn turn(field: &mut Field, number: usize, point: Point, part: &str) -> Result<()> {
    let Field { rig, size, dice } = field;
    let place = rig.made_place(&format!("point-{number}")).await?;
    let log = Log::begin(rig, &place).await?;
    let players = players(rig, part);
    for name in &players {
        rig.mesh.kill(name)?;
    }
    let mut deaths = players.len();
    // A replica may be one that nothing passes the point in; some other then does.
    for name in &players {
        deaths += arm(rig, name, point, dice).await?;
    }
    let callers = Callers::start(rig, &place, usize::MAX)?;
    let (began, mut fired) = (Instant::now(), 0);
    let mut armed: BTreeSet<&String> = players.iter().collect();
    while fired == 0 || callers.begun() < size.operations {
        for name in &players {
            if rig.mesh.is_alive(name) {
                continue;
            }
            (fired, deaths) = (fired + 1, deaths + 1);
            if fired < DEATHS {
                deaths += arm(rig, name, point, dice).await?;
            } else {
                start(rig, name, None)?;
                armed.remove(name);
            }
        }
        ensure!(fired > 0 || began.elapsed() < PASSED, "it is not passed: {} changes were sent", callers.begun());
        sleep(Duration::from_millis(10)).await;
    }
    for name in armed {
        rig.mesh.kill(name)?;
        start(rig, name, None)?;
        deaths += 1;
    }
    for name in players.iter().filter(|_| part != "agent") {
        rig.mesh.ready(name, READY).await?;
    }
    println!("{number}: {part} died {fired} times at {}", point.name);
    callers.judge(rig, log, deaths).await
}

/// Starts a dead process so that it dies at the point; answers how often it did so before it was ready.
async fn arm(rig: &mut Rig, name: &str, point: Point, dice: &mut Dice) -> Result<usize> {
    let mut passing = 1 + dice.below(PASSINGS);
    for deaths in 0..8 {
        start(rig, name, Some(&format!("{}:{passing}", point.name)))?;
        if name.starts_with("agent-") || rig.mesh.ready_or_dead(name, READY).await? {
            return Ok(deaths);
        }
        // Its start passes it as well, and often.
        passing *= 2;
    }
    anyhow::bail!("{name} does not get ready")
}

fn start(rig: &mut Rig, name: &str, kill: Option<&str>) -> Result<()> {
    let variable = kill.map(|value| (KILL, value));
    match name.strip_prefix("agent-") {
        Some(cluster) => rig.mesh.restart_agent_with(cluster, variable),
        None => rig.mesh.start_part_with(name, variable),
    }
}
