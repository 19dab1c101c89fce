//! Joins what callers were told with the calls that the API server answered and the states that a watch saw.

use std::collections::BTreeMap;

use super::history::{Call, History, State};
use super::{Effect, TERMINAL, Verdict, Wanted};

/// Kubernetes' own controllers: of a workload they write revisions, conditions and finalizers. Whatever else they changed, the
/// watch saw.
pub(super) const CONTROLLERS: &str = "system:serviceaccount:kube-system:";

/// Joins the logs. `wanted` has the changes of each object in the order in which they were accepted; `seen` the states of each
/// object; `user` is whom the cluster must have seen; `deaths` is how often an agent or hub process died: each may have cost
/// one object its record, so that one call is made again and changes nothing.
pub fn judge(
    wanted: &[Wanted],
    effects: &[Effect],
    seen: &BTreeMap<String, Vec<Option<State>>>,
    user: &str,
    deaths: usize,
) -> Verdict {
    let mut verdict = Verdict::default();
    let changes = by_object(wanted);
    let mut calls: BTreeMap<&str, Calls> = BTreeMap::new();
    for effect in effects.iter().filter(|effect| (200..300).contains(&effect.code)) {
        let Some(own) = changes.get(effect.name.as_str()) else {
            verdict.unexpected.push(format!("{effect:?}, which nobody asked for"));
            continue;
        };
        if effect.user != user {
            if !(own.iter().any(|one| one.workload) && effect.user.starts_with(CONTROLLERS)) {
                verdict.unexpected.push(format!("{effect:?} by another than {user}"));
            }
            continue;
        }
        let Some(call) = Call::of(&effect.verb, &effect.below) else {
            verdict.unexpected.push(format!("{effect:?}, which no change is made by"));
            continue;
        };
        let calls = calls.entry(&effect.name).or_default();
        *calls.of.entry(call).or_default() += 1;
        calls.made += usize::from(effect.code == 201);
    }
    verdict.unexpected.extend(
        seen.keys().filter(|name| !changes.contains_key(name.as_str())).map(|name| format!("{name} changed by itself")),
    );
    let mut repeated = 0;
    for (name, changes) in &changes {
        let had = calls.remove(name).unwrap_or_default();
        let states = seen.get(*name).map(Vec::as_slice).unwrap_or_default();
        repeated += object(name, changes, &had, states, &mut verdict);
    }
    if repeated > deaths {
        verdict.twice.push(format!("{repeated} calls were made again, after {deaths} deaths"));
    }
    for one in wanted {
        ending(one, &mut verdict);
    }
    verdict
}

/// Successful calls that changed an object.
#[derive(Debug, Default)]
struct Calls {
    of: BTreeMap<Call, usize>,
    made: usize,
}

/// The changes of each object, in their order.
pub(super) fn by_object(wanted: &[Wanted]) -> BTreeMap<&str, Vec<&Wanted>> {
    let mut changes: BTreeMap<&str, Vec<&Wanted>> = BTreeMap::new();
    for one in wanted {
        for name in &one.objects {
            changes.entry(name).or_default().push(one);
        }
    }
    changes
}

/// Judges one object; answers how many calls were made again without effect.
fn object(name: &str, changes: &[&Wanted], had: &Calls, seen: &[Option<State>], verdict: &mut Verdict) -> usize {
    let (told, all) = (History::of(name, changes, false), History::of(name, changes, true));
    let history = if told.states != seen && all.states == seen {
        // An answer that was lost says nothing: the hub may have accepted it.
        let quiet = changes.iter().filter(|one| one.operation.is_some() && !one.has_done(name));
        verdict.silent.extend(quiet.map(|one| format!("{name}: its {} does not tell of it", one.deed.word())));
        all
    } else {
        told
    };
    let untold = changes.iter().filter(|one| one.has_done(name) && !one.told.contains_key(name));
    verdict.silent.extend(untold.map(|one| format!("{name}: its {} does not tell of it", one.deed.word())));
    verdict.silent.extend(history.misread.iter().cloned());
    if history.states != seen {
        differs(name, &history.states, seen, verdict);
    }
    let mut repeated = 0;
    for call in Call::ALL {
        let count = |of: &BTreeMap<Call, usize>| of.get(&call).copied().unwrap_or_default();
        let (had, due) = (count(&had.of), count(&history.calls));
        if had < due {
            verdict.unexpected.push(format!("{name}: {due} changes were told as done by {had} calls ({call:?})"));
        } else if call == Call::Delete && had > due {
            // Only what is there can be removed: there is no second removal without effect.
            verdict.twice.push(format!("{name}: removed {had} times instead of {due}"));
        } else {
            repeated += had - due;
        }
    }
    if had.made > history.made {
        verdict.twice.push(format!("{name}: made {} times instead of {}", had.made, history.made));
    }
    repeated
}

/// The first state that is not as it should be tells what went wrong.
fn differs(name: &str, due: &[Option<State>], seen: &[Option<State>], verdict: &mut Verdict) {
    let same = due.iter().zip(seen).take_while(|(due, seen)| due == seen).count();
    let line = format!("{name} was to be {due:?} and was {seen:?}");
    match seen.get(same) {
        // What it was before, once more.
        Some(state) if due.iter().take(same).any(|earlier| earlier == state) => verdict.twice.push(line),
        _ => verdict.unexpected.push(line),
    }
}

/// What a caller was told of one operation.
fn ending(one: &Wanted, verdict: &mut Verdict) {
    let Some(operation) = &one.operation else { return };
    let mut ended: Option<&str> = None;
    for state in &one.states {
        if let Some(before) = ended.filter(|before| before != state) {
            verdict.backward.push(format!("{operation}: {before}, then {state}"));
        }
        if TERMINAL.contains(&state.as_str()) {
            ended = Some(state);
        }
    }
    match ended {
        None => verdict.lost.push(format!("{operation} ({}) is {:?}", one.deed.word(), one.states.last())),
        Some("succeeded") => {}
        Some("cancelled") if one.cancelled => {}
        Some(other) => verdict.unexpected.push(format!("{operation} ({}) is {other}", one.deed.word())),
    }
}
