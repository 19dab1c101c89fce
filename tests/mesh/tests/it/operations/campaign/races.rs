//! A cancellation meets its operation at every step of it. There is one ending, and it says what was done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::Answer;
use roadstead_mesh_tests::checker::{Deed, Wanted};
use serde_json::json;
use tokio::time::sleep;

use super::super::cluster::{self, Log};
use super::super::rig::{CLUSTER, Rig};
use super::asking::{Asking, settle};
use super::callers::kinds;
use super::mix::{Change, Mix, Story};
use super::{Field, QUIET, TELL_EVERY};

/// ConfigMaps of one change.
const OBJECTS: usize = 12;
/// What is cancelled: of this story the change of this kind, the first or the second. What stands before it is done first, in
/// peace.
const RACED: [(Story, &str, usize); 8] = [
    (Story::Plain, "apply", 1),
    (Story::Plain, "apply", 1),
    (Story::Plain, "apply", 1),
    (Story::Changed, "apply", 2),
    (Story::Replaced, "delete", 1),
    (Story::Workload, "scale", 1),
    (Story::Workload, "restart", 1),
    (Story::Workload, "rollback", 1),
];

/// When a cancellation is sent.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Never,
    /// Once so many steps were told, and a little later.
    Step(usize, Duration),
    /// So long after the hub's answer: steps are told in batches, and this falls between them.
    Later(Duration),
}

/// The steps of a kind, and how long it takes.
type Whole = (usize, Duration);

pub(super) async fn run(field: &mut Field) -> Result<()> {
    let Field { rig, size, dice } = field;
    let place = rig.made_place("races").await?;
    let log = Log::begin(rig, &place).await?;
    let (asking, mix) = (Asking::of(rig, CLUSTER).await?, Mix::new(dice, &place, OBJECTS));
    let mut stories = 0_usize..;
    let mut next = || stories.next().unwrap_or_default();
    // Each once alone, to count its steps.
    let (mut wanted, mut wholes): (_, BTreeMap<&str, Whole>) = (Vec::new(), BTreeMap::new());
    for (story, word, nth) in [RACED[0], RACED[4], RACED[5], RACED[6], RACED[7]] {
        let change = prepared(rig, &asking, mix.tell(next(), story), (word, nth), &mut wanted).await?;
        let began = Instant::now();
        let (one, steps, _) = race(rig, &asking, change, Moment::Never).await?;
        wholes.insert(word, (steps, began.elapsed()));
        wanted.push(one);
    }
    let (most, _) = wholes["apply"];
    let mut ends = BTreeMap::new();
    let mut deck = Vec::new();
    for round in 0..size.races {
        for step in 0..=most {
            for timed in [false, true] {
                if deck.is_empty() {
                    deck = dice.some(RACED.to_vec(), usize::MAX);
                }
                let (story, word, nth) = deck.pop().unwrap_or(RACED[0]);
                let (steps, whole) = wholes[word];
                let moment = if timed {
                    Moment::Later(whole * u32::try_from(dice.below(1_000)).unwrap_or(0) / 1_000)
                } else {
                    // A kind with fewer steps is met at one of its own.
                    let pause = if round == 0 { 0 } else { dice.below(15) as u64 };
                    Moment::Step(step % (steps + 1), Duration::from_millis(pause))
                };
                let change = prepared(rig, &asking, mix.tell(next(), story), (word, nth), &mut wanted).await?;
                let (one, end) =
                    met(rig, &asking, change, moment).await.with_context(|| format!("{word} {moment:?}"))?;
                *ends.entry(format!("{word} {end}")).or_insert(0) += 1;
                wanted.push(one);
                let raced: usize = ends.values().sum();
                if raced.is_multiple_of(TELL_EVERY) {
                    println!("{raced} cancellations so far");
                }
            }
        }
    }
    println!("{} cancellations of {wholes:?}: {ends:?}; {}", ends.values().sum::<usize>(), kinds(&wanted));
    log.judge(rig, &wanted, 0).await
}

/// Has what stands in the story before the nth change of that kind done; answers that change.
async fn prepared(
    rig: &Rig,
    asking: &Asking,
    story: Vec<Change>,
    (word, nth): (&str, usize),
    wanted: &mut Vec<Wanted>,
) -> Result<Change> {
    let mut of_kind = 0;
    for mut change in story {
        of_kind += usize::from(change.wanted.deed.word() == word);
        if of_kind == nth {
            // Before the clock of the race runs.
            asking.stands(&change).await?;
            return Ok(change);
        }
        asking.accepted(&mut change, 0, || ()).await?;
        settle(&rig.api, &mut change.wanted, QUIET).await?;
        wanted.push(change.wanted);
    }
    anyhow::bail!("the story has no {word}")
}

/// A change that is cancelled at a moment. Answers how many steps there were, and what the caller heard.
async fn race(
    rig: &Rig,
    asking: &Asking,
    mut change: Change,
    moment: Moment,
) -> Result<(Wanted, usize, Option<Answer>)> {
    asking.accepted(&mut change, 0, || ()).await?;
    let mut one = Wanted { cancelled: true, ..change.wanted };
    let id = one.operation.clone().context("no operation")?;
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

/// A race, and whether what the caller heard, how it ended and what is there say the same.
async fn met(rig: &Rig, asking: &Asking, change: Change, moment: Moment) -> Result<(Wanted, String)> {
    let (place, objects) = (change.place.clone(), change.wanted.objects.clone());
    let before = cluster::states(rig, &place).await?;
    let (one, _, answer) = race(rig, asking, change, moment).await?;
    let answer = answer.context("nobody cancelled")?;
    let after = cluster::states(rig, &place).await?;
    let done = objects.iter().filter(|name| before.get(*name) != after.get(*name)).count();
    let end = judge(rig, &one, &answer, done).await?;
    Ok((one, end))
}

async fn judge(rig: &Rig, one: &Wanted, answer: &Answer, done: usize) -> Result<String> {
    let operation = rig.operation(one.operation.as_deref().context("no operation")?).await?;
    let state = operation["state"].as_str().context("no state")?.to_owned();
    let count = |name: &str| usize::try_from(operation["counts"][name].as_u64().unwrap_or(0)).unwrap_or(0);
    let told = count(match one.deed {
        Deed::Delete => "deleted",
        Deed::Apply { ref value, .. } if value == "1" => "created",
        _ => "configured",
    });
    let (all, skipped) = (one.objects.len(), count("skipped"));
    ensure!(done == told, "{done} objects are changed, {told} are told of: {operation}");
    let right = match (answer.status, state.as_str()) {
        // Nobody had it yet.
        (200, "cancelled") => done == 0,
        (202, "cancelled") => done < all && (told + skipped == all || done == 0),
        (202 | 409, "succeeded") => done == all,
        _ => false,
    };
    ensure!(right, "it answered {} {}, and then: {operation}", answer.status, answer.body);
    let path = format!("/api/v1/operations/{}/cancel", operation["id"].as_str().unwrap_or_default());
    let again = rig.api.post(&path, &json!({})).await?;
    ensure!(again.status == 409, "it can be cancelled after its end: {again:?}");
    Ok(format!("{} {state}", answer.status))
}
