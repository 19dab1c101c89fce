//! A cancellation meets its operation at every step of it. There is one ending, and it says what was done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::Answer;
use roadstead_mesh_tests::checker::Wanted;
use serde_json::json;
use tokio::time::sleep;

use super::super::cluster::{self, Log};
use super::super::rig::{CLUSTER, Rig, config_maps};
use super::callers::settle;
use super::{Field, QUIET, TELL_EVERY};

/// Objects of one change.
const OBJECTS: usize = 12;

/// When a cancellation is sent.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Never,
    /// Once so many steps were told, and a little later.
    Step(usize, Duration),
    /// So long after the hub's answer: steps are told in batches, and this falls between them.
    Later(Duration),
}

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let Field { rig, size, dice } = field;
    let place = rig.made_place("races").await?;
    let log = Log::begin(rig, &place).await?;
    // Once alone, to count its steps.
    let began = Instant::now();
    let (one, steps, _) = race(rig, &place, 0, Moment::Never).await?;
    let whole = began.elapsed();
    let mut moments = Vec::new();
    for round in 0..size.races {
        for step in 0..=steps {
            let pause = Duration::from_millis(if round == 0 { 0 } else { dice.below(15) as u64 });
            moments.push(Moment::Step(step, pause));
            moments.push(Moment::Later(whole * u32::try_from(dice.below(1_000)).unwrap_or(0) / 1_000));
        }
    }
    let (mut wanted, mut ends) = (vec![one], BTreeMap::new());
    for (number, moment) in moments.into_iter().enumerate() {
        let before = cluster::count(rig, &place).await?;
        let (one, _, answer) = race(rig, &place, number + 1, moment).await.with_context(|| format!("{moment:?}"))?;
        let made = cluster::count(rig, &place).await? - before;
        let end = judge(rig, &one, answer.context("nobody cancelled")?, made).await;
        *ends.entry(end.with_context(|| format!("{moment:?}"))?).or_insert(0) += 1;
        wanted.push(one);
        if wanted.len().is_multiple_of(TELL_EVERY) {
            println!("{} cancellations so far", wanted.len());
        }
    }
    println!("{} cancellations of {steps} steps in {whole:?}: {ends:?}", wanted.len() - 1);
    log.judge(rig, &wanted, 0).await
}

/// A change that is cancelled at a moment. Answers how many steps there were, and what the caller heard.
async fn race(rig: &Rig, place: &str, number: usize, moment: Moment) -> Result<(Wanted, usize, Option<Answer>)> {
    let objects: Vec<String> = (0..OBJECTS).map(|object| format!("race-{number:04}-{object}")).collect();
    let path = format!("/api/v1/clusters/{CLUSTER}/manifests");
    let answer = rig.api.post_as(&path, "application/yaml", config_maps(place, &objects)).await?.expect(202)?;
    let id = answer["operation_id"].as_str().context("no operation")?.to_owned();
    let mut one = Wanted { operation: Some(id.clone()), objects, cancelled: true, ..Wanted::default() };
    let cancel = async |pause: Duration| {
        sleep(pause).await;
        rig.api.post(&format!("/api/v1/operations/{id}/cancel"), &json!({})).await
    };
    let mut heard = match moment {
        Moment::Later(pause) | Moment::Step(0, pause) => Some(cancel(pause).await?),
        _ => None,
    };
    let mut stream = rig.api.stream(&format!("/api/v1/operations/{id}/events")).await?;
    ensure!(stream.status() == 200, "{}", stream.status());
    let (mut text, mut told) = (String::new(), 0);
    while let Some(chunk) = stream.chunk().await.context("the events broke off")? {
        text.push_str(&String::from_utf8_lossy(&chunk));
        told = text.lines().filter(|line| *line == "event: step").count();
        if let Moment::Step(step, pause) = moment
            && heard.is_none()
            && told >= step
        {
            heard = Some(cancel(pause).await?);
        }
    }
    // It had fewer steps than the one before: then after its end.
    if heard.is_none() && !matches!(moment, Moment::Never) {
        heard = Some(cancel(Duration::ZERO).await?);
    }
    settle(&rig.api, &mut one, QUIET).await?;
    Ok((one, told, heard))
}

/// What the caller heard, how it ended and what is there say the same.
async fn judge(rig: &Rig, one: &Wanted, answer: Answer, made: usize) -> Result<String> {
    let operation = rig.operation(one.operation.as_deref().context("no operation")?).await?;
    let state = operation["state"].as_str().context("no state")?.to_owned();
    let count = |name: &str| usize::try_from(operation["counts"][name].as_u64().unwrap_or(0)).unwrap_or(0);
    let (created, skipped) = (count("created"), count("skipped"));
    ensure!(made == created, "{made} objects are there, {created} are told of: {operation}");
    let right = match (answer.status, state.as_str()) {
        // Nobody had it yet.
        (200, "cancelled") => made == 0,
        (202, "cancelled") => made < OBJECTS && (created + skipped == OBJECTS || made == 0),
        (202 | 409, "succeeded") => made == OBJECTS,
        _ => false,
    };
    ensure!(right, "it answered {} {}, and then: {operation}", answer.status, answer.body);
    let path = format!("/api/v1/operations/{}/cancel", operation["id"].as_str().unwrap_or_default());
    let again = rig.api.post(&path, &json!({})).await?;
    ensure!(again.status == 409, "it can be cancelled after its end: {again:?}");
    Ok(format!("{} {state}", answer.status))
}
