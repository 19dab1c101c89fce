//! Waiting for objects: looked at once, then watched.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use roadstead_contracts::operation::ObjectKey;
use tokio::time::Instant;

use super::ready::{Judge, Ready};
use super::work::Job;
use crate::kubernetes::Failure;
use crate::kubernetes::objects::{ASK_AGAIN, At, Objects, version_of};

/// Objects that are watched at once.
const WATCHES_MAX: usize = 16;

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waited {
    Done,
    /// It will not come by itself.
    Failed(String),
    /// Time is over.
    Late(String),
    /// Somebody asked for a stop.
    Stopped,
}

/// Waits for one object.
pub(super) async fn until(job: &Job, objects: &Objects, at: &At, limit: Instant, judge: Judge) -> Waited {
    let lacks = Mutex::new(String::new());
    let watched =
        watched(objects, at, judge, |text| text.clone_into(&mut lacks.lock().unwrap_or_else(PoisonError::into_inner)));
    tokio::select! {
        failed = watched => failed.map_or(Waited::Done, Waited::Failed),
        () = job.told_to_stop() => Waited::Stopped,
        () = tokio::time::sleep_until(limit) => {
            Waited::Late(named(&at.key, &lacks.lock().unwrap_or_else(PoisonError::into_inner)))
        }
    }
}

/// Waits for all of them, and says how many are left.
pub(super) async fn for_all(job: &Job, objects: &Objects, waited: Vec<At>, judge: Judge) -> Waited {
    if waited.is_empty() {
        return Waited::Done;
    }
    let left: BTreeMap<usize, String> =
        waited.iter().enumerate().map(|(number, at)| (number, named(&at.key, "is looked at"))).collect();
    let left = Mutex::new(left);
    let tell = || {
        let left = left.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = left.values().next().map(|first| (u32::try_from(left.len()).unwrap_or(u32::MAX), first.clone()));
        job.run.progress.send_if_modified(|progress| {
            let changed = waiting.is_some() && progress.waiting != waiting;
            if changed {
                progress.waiting = waiting;
            }
            changed
        });
    };
    let (left_ref, tell_ref) = (&left, &tell);
    let mut each: Vec<BoxFuture<'_, Option<String>>> = Vec::with_capacity(waited.len());
    for (number, at) in waited.iter().enumerate() {
        each.push(Box::pin(async move {
            let lacks = |text: &str| {
                left_ref.lock().unwrap_or_else(PoisonError::into_inner).insert(number, named(&at.key, text));
                tell_ref();
            };
            let failed = watched(objects, at, judge, lacks).await;
            left_ref.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            tell_ref();
            failed
        }));
    }
    let each = stream::iter(each).buffer_unordered(WATCHES_MAX);
    let mut each = pin!(each);
    loop {
        tokio::select! {
            next = each.next() => match next {
                Some(None) => {}
                Some(Some(failed)) => return Waited::Failed(failed),
                None => return Waited::Done,
            },
            () = job.told_to_stop() => return Waited::Stopped,
            () = tokio::time::sleep_until(job.deadline) => {
                let left = left.lock().unwrap_or_else(PoisonError::into_inner);
                return Waited::Late(left.values().next().cloned().unwrap_or_default());
            }
        }
    }
}

/// Looks at an object until it is ready; `Some` when it never will be. `lacks` is told what it waits for.
async fn watched(objects: &Objects, at: &At, judge: Judge, mut lacks: impl FnMut(&str)) -> Option<String> {
    loop {
        let state = match objects.get(at).await {
            Ok(state) => state,
            // The person may not look at what they may change: nothing can be waited for.
            Err(failure @ (Failure::Forbidden(_) | Failure::MayNotImpersonate(_))) => {
                return Some(named(&at.key, &format!("cannot be looked at: {failure}")));
            }
            Err(failure) => {
                lacks(&failure.to_string());
                tokio::time::sleep(ASK_AGAIN).await;
                continue;
            }
        };
        match judge(state.as_ref()) {
            Ready::Yes => return None,
            Ready::Failed(why) => return Some(named(&at.key, &why)),
            Ready::No(why) => lacks(&why),
        }
        let version = state.as_ref().map(version_of).unwrap_or_default().to_owned();
        if version.is_empty() {
            tokio::time::sleep(ASK_AGAIN).await;
            continue;
        }
        let Ok(states) = objects.watch(at, &version).await else {
            tokio::time::sleep(ASK_AGAIN).await;
            continue;
        };
        let mut states = pin!(states);
        while let Some(Ok(state)) = states.next().await {
            match judge(state.as_ref()) {
                Ready::Yes => return None,
                Ready::Failed(why) => return Some(named(&at.key, &why)),
                Ready::No(why) => lacks(&why),
            }
        }
        // A watch that breaks at once must not become a flood of lists.
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

pub(super) fn named(key: &ObjectKey, what: &str) -> String {
    match &key.namespace {
        Some(namespace) => format!("{} {namespace}/{}: {what}", key.kind, key.name),
        None => format!("{} {}: {what}", key.kind, key.name),
    }
}
