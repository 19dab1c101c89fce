//! Row F15: the broker's disk is full, and it takes no messages. Who asks for something is told so in time, `/readyz` says
//! why, and once there is room everything that was accepted is done, once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadstead_mesh_tests::checker::Wanted;
use roadstead_testkit::wait::eventually;

use super::campaign::asking::settle;
use super::cluster::Log;
use super::rig::{CLUSTER, Rig, config_maps};

/// Objects of a change: enough that it runs while the disk fills.
const OBJECTS: usize = 60;
/// Nobody waits longer for an answer: a question's own deadline, and the front door's overhead.
const DEADLINE: Duration = Duration::from_secs(32);
/// How long it takes until everybody has noticed.
const NOTICED: Duration = Duration::from_secs(60);
/// Everything has ended so long after there is room again.
const QUIET: Duration = Duration::from_secs(60);

pub(super) async fn full_broker(rig: &mut Rig) -> Result<()> {
    let place = rig.made_place("alarm").await?;
    let log = Log::begin(rig, &place).await?;
    let running = wanted("running");
    let id = rig.apply("", &config_maps(&place, &running.objects)).await?;
    rig.objects(&id, 1).await?;
    tokio::task::block_in_place(|| rig.mesh.servers()?.fill_broker(true))?;

    let mut later = wanted("later");
    let path = format!("/api/v1/clusters/{CLUSTER}/manifests");
    let text = config_maps(&place, &later.objects);
    let api = rig.api.header("idempotency-key", &place);
    // The first messages are still taken: a broker stops listening to those who send.
    eventually("a change is refused", NOTICED, || async {
        let began = Instant::now();
        let answer = api.post_as(&path, "application/yaml", text.clone()).await?;
        ensure!(began.elapsed() < DEADLINE, "an answer took {:?}", began.elapsed());
        ensure!(answer.status == 503 && answer.code() == "unavailable", "{answer:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    eventually("it says why", NOTICED, || async {
        let answer = rig.mesh.readiness("cluster-1").await?;
        let said = answer.body.to_string().contains("takes no messages");
        ensure!(answer.status == 503 && said, "{answer:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;

    tokio::task::block_in_place(|| rig.mesh.servers()?.fill_broker(false))?;
    let ((), heard) = eventually("it is taken", QUIET, || async {
        let answer = api.post_as(&path, "application/yaml", text.clone()).await?;
        ensure!(answer.status == 202, "{answer:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    println!("taken {heard:?} after there was room");
    let answer = api.post_as(&path, "application/yaml", text.clone()).await?.expect(202)?;
    later.operation = answer["operation_id"].as_str().map(str::to_owned);
    let mut all = [Wanted { operation: Some(id), ..running }, later];
    for one in &mut all {
        settle(&rig.api, one, QUIET).await?;
    }
    log.judge(rig, &all, 0).await
}

fn wanted(what: &str) -> Wanted {
    let objects = (0..OBJECTS).map(|number| format!("{what}-{number:02}")).collect();
    Wanted { key: what.to_owned(), objects, ..Wanted::default() }
}
