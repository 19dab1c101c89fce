//! `kill -9` of each process of the hub, of its servers and of the agent, at random times while changes are under way.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use roadstead_mesh_tests::{Layout, READY_LIMIT};
use roadstead_testkit::servers::Server;
use tokio::time::sleep;

use super::super::cluster::Log;
use super::super::rig::CLUSTER;
use super::callers::Callers;
use super::{Dice, Field};

/// Who dies next: everybody once before anybody dies again, in an order of the dice's.
struct Draw {
    all: Vec<String>,
    left: Vec<String>,
}

impl Draw {
    fn next(&mut self, dice: &mut Dice) -> String {
        if self.left.is_empty() {
            self.left = dice.some(self.all.clone(), usize::MAX);
        }
        self.left.pop().unwrap_or_default()
    }
}

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let Field { rig, size, dice } = field;
    let place = rig.made_place("deaths").await?;
    let log = Log::begin(rig, &place).await?;
    // As many as it takes: each death falls on some work.
    let callers = Callers::start(rig, dice, &place, usize::MAX).await?;
    let mut victims = rig.mesh.parts();
    if rig.mesh.layout == Layout::Mesh {
        victims.extend(Server::ALL.map(|server| server.name().to_owned()));
    }
    // As often as all others together: it is where the effects are.
    victims.extend(std::iter::repeat_n(format!("agent-{CLUSTER}"), victims.len()));
    let mut draw = Draw { all: victims, left: Vec::new() };
    let (mut deaths, mut died): (usize, BTreeMap<String, usize>) = (0, BTreeMap::new());
    while deaths < size.deaths {
        // Spread over the work.
        if callers.begun() < size.operations * deaths / size.deaths.max(1) {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        sleep(Duration::from_millis(dice.below(120) as u64)).await;
        let victim = draw.next(dice);
        let away = Duration::from_millis(dice.below(400) as u64);
        if let Some(server) = Server::from_name(&victim) {
            rig.mesh.kill_server(server)?;
            sleep(away).await;
            tokio::task::block_in_place(|| rig.mesh.servers()?.start(server))?;
        } else {
            rig.mesh.kill(&victim)?;
            sleep(away).await;
            if let Some(name) = victim.strip_prefix("agent-") {
                rig.mesh.restart_agent(name)?;
            } else {
                rig.mesh.start_part(&victim)?;
                rig.mesh.ready(&victim, READY_LIMIT).await?;
            }
        }
        deaths += 1;
        println!("{deaths}: {victim} died with {} begun", callers.begun());
        *died.entry(victim).or_default() += 1;
    }
    println!("deaths: {died:?}");
    let missed: Vec<&String> = draw.all.iter().filter(|name| !died.contains_key(*name)).collect();
    ensure!(missed.is_empty() || deaths < draw.all.len(), "these never died: {missed:?}");
    while callers.begun() < size.operations {
        sleep(Duration::from_millis(20)).await;
    }
    callers.judge(rig, log, deaths).await
}
