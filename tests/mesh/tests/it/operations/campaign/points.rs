//! Each process dies at each of its named points while changes are under way, and is started again. A run in which a point
//! was not passed has failed: what nothing passes any more is no point.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
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

/// What came of one point in one part of the hub.
struct Fired {
    point: &'static str,
    part: &'static str,
    /// Deaths there, by the processes' own last words.
    times: usize,
    /// Changes that were under way meanwhile.
    changes: usize,
}

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let mut turns = turns(field.rig.mesh.layout);
    let named = &field.size.point;
    if !named.is_empty() {
        turns.retain(|(point, _)| named.iter().any(|name| name == point.name));
        ensure!(!turns.is_empty(), "nobody passes {named:?} in this layout");
    }
    let turns = field.dice.some(turns, field.size.points);
    let (planned, mut fired, mut failures) = (turns.len(), Vec::new(), Vec::new());
    for (number, (point, part)) in turns.into_iter().enumerate() {
        let began = Instant::now();
        // The others are gone through all the same; the run has failed.
        match turn(field, number, point, part).await {
            Ok(one) => {
                println!("{number}: {part} died {} times at {}, in {:?}", one.times, point.name, began.elapsed());
                fired.push(one);
            }
            Err(fault) => {
                let fault = format!("{part} at {}: {fault:#}", point.name);
                println!("{number}: failed: {fault}");
                failures.push(fault);
                heal(&mut field.rig, part).await.context("nothing can be gone on with")?;
            }
        }
    }
    table(field.rig.mesh.layout, &fired);
    ensure!(failures.is_empty(), "{} of {planned} points failed:\n{}", failures.len(), failures.join("\n"));
    ensure!(fired.len() == planned && fired.iter().all(|one| one.times > 0), "a point was not passed");
    Ok(())
}

/// For the report: how often each point was died at.
fn table(layout: Layout, fired: &[Fired]) {
    let order = |one: &Fired| POINTS.iter().position(|point| point.name == one.point);
    let mut rows: Vec<&Fired> = fired.iter().collect();
    rows.sort_by_key(|one| (order(one), one.part));
    println!("| {layout:?}: point | who died | deaths there | changes meanwhile |\n|---|---|---|---|");
    for Fired { point, part, times, changes } in rows {
        println!("| `{point}` | {part} | {times} | {changes} |");
    }
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

async fn turn(field: &mut Field, number: usize, point: Point, part: &'static str) -> Result<Fired> {
    let Field { rig, size, dice } = field;
    let place = rig.made_place(&format!("point-{number}")).await?;
    let log = Log::begin(rig, &place).await?;
    let players = players(rig, part);
    for name in &players {
        rig.mesh.kill(name)?;
    }
    let mut deaths = players.len();
    // How often each that is armed had died there before; a replica may be one that nothing passes the point in.
    let mut armed = BTreeMap::new();
    let there = |rig: &Rig| players.iter().map(|name| rig.mesh.died_at(name, point.name)).sum::<usize>();
    let before = there(rig);
    for name in &players {
        let (at_start, died) = arm(rig, name, point, dice).await?;
        deaths += at_start;
        armed.insert(name, died);
    }
    let callers = Callers::start(rig, dice, &place, usize::MAX).await?;
    let (began, mut fired) = (Instant::now(), 0);
    while fired == 0 || callers.begun() < size.operations {
        for name in &players {
            if rig.mesh.is_alive(name) {
                continue;
            }
            let died = rig.mesh.died_at(name, point.name);
            ensure!(armed.get(name).is_some_and(|before| died > *before), "{name} ended elsewhere");
            (fired, deaths) = (fired + 1, deaths + 1);
            if fired < DEATHS {
                let (at_start, died) = arm(rig, name, point, dice).await?;
                deaths += at_start;
                armed.insert(name, died);
            } else {
                start(rig, name, None)?;
                armed.remove(name);
            }
        }
        ensure!(fired > 0 || began.elapsed() < PASSED, "it is not passed: {} changes were sent", callers.begun());
        sleep(Duration::from_millis(10)).await;
    }
    for name in armed.into_keys() {
        rig.mesh.kill(name)?;
        start(rig, name, None)?;
        deaths += 1;
    }
    ready(rig, &players, part).await?;
    let times = there(rig) - before;
    let changes = callers.begun();
    callers.judge(rig, log, deaths).await?;
    Ok(Fired { point: point.name, part, times, changes })
}

/// Whoever played a part in a turn that failed is started once more, without a point to die at.
async fn heal(rig: &mut Rig, part: &str) -> Result<()> {
    let players = players(rig, part);
    for name in &players {
        rig.mesh.kill(name)?;
        start(rig, name, None)?;
    }
    ready(rig, &players, part).await
}

async fn ready(rig: &Rig, players: &[String], part: &str) -> Result<()> {
    for name in players.iter().filter(|_| part != "agent") {
        rig.mesh.ready(name, READY).await?;
    }
    Ok(())
}

/// Starts a dead process so that it dies at the point; answers how often it did so before it was ready, and how often it had
/// died there before the start that was the last: it may be dead again when this is read.
async fn arm(rig: &mut Rig, name: &str, point: Point, dice: &mut Dice) -> Result<(usize, usize)> {
    let mut passing = 1 + dice.below(PASSINGS);
    for deaths in 0..8 {
        let died = rig.mesh.died_at(name, point.name);
        start(rig, name, Some(&format!("{}:{passing}", point.name)))?;
        if name.starts_with("agent-") || rig.mesh.ready_or_dead(name, READY).await? {
            return Ok((deaths, died));
        }
        // Its start passes it as well, and often.
        passing *= 2;
    }
    bail!("{name} does not get ready")
}

fn start(rig: &mut Rig, name: &str, kill: Option<&str>) -> Result<()> {
    let variable = kill.map(|value| (KILL, value));
    match name.strip_prefix("agent-") {
        Some(cluster) => rig.mesh.restart_agent_with(cluster, variable),
        None => rig.mesh.start_part_with(name, variable),
    }
}
