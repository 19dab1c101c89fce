use super::*;

const USER: &str = "roadstead:owner";
const CONTROLLER: &str = "system:serviceaccount:kube-system:deployment-controller";

fn told(outcomes: &[(&str, &str)]) -> BTreeMap<String, String> {
    outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect()
}

fn wanted(states: &[&str]) -> Wanted {
    Wanted {
        key: "k".to_owned(),
        operation: Some("op".to_owned()),
        objects: vec!["a".to_owned(), "b".to_owned()],
        states: states.iter().map(|state| (*state).to_owned()).collect(),
        told: told(&[("a", "created"), ("b", "created")]),
        ..Wanted::default()
    }
}

/// A change of `a` that succeeded.
fn change(operation: &str, deed: Deed, outcome: &str) -> Wanted {
    Wanted {
        operation: Some(operation.to_owned()),
        workload: matches!(deed, Deed::Scale(_) | Deed::Restart | Deed::Rollback),
        deed,
        objects: vec!["a".to_owned()],
        told: told(&[("a", outcome)]),
        states: vec!["succeeded".to_owned()],
        ..Wanted::default()
    }
}

fn apply(value: &str) -> Deed {
    Deed::Apply { value: value.to_owned(), replicas: 0 }
}

fn call(verb: &str, below: &str, name: &str, code: u16) -> Effect {
    Effect {
        verb: verb.to_owned(),
        below: below.to_owned(),
        name: name.to_owned(),
        user: USER.to_owned(),
        code,
        at: DateTime::UNIX_EPOCH,
    }
}

fn effect(name: &str, code: u16) -> Effect {
    call("patch", "", name, code)
}

#[expect(clippy::unnecessary_wraps, reason = "a state as the watch has it, where `None` is another")]
fn state(value: &str, replicas: u32, restarted: &str) -> Option<State> {
    Some(State { value: value.to_owned(), replicas, restarted: restarted.to_owned() })
}

fn added(names: &[&str]) -> BTreeMap<String, Vec<Option<State>>> {
    names.iter().map(|name| ((*name).to_owned(), vec![state("1", 0, "")])).collect()
}

fn seen(states: &[Option<State>]) -> BTreeMap<String, Vec<Option<State>>> {
    [("a".to_owned(), states.to_vec())].into()
}

/// Faults of each kind: lost, twice, unexpected, backward, silent.
fn counts(verdict: &Verdict) -> [usize; 5] {
    [&verdict.lost, &verdict.twice, &verdict.unexpected, &verdict.backward, &verdict.silent].map(Vec::len)
}

#[test]
fn a_good_run_is_clean() {
    let one = [wanted(&["queued", "running", "succeeded", "succeeded"])];
    let effects = [effect("a", 201), effect("b", 201)];
    assert!(judge(&one, &effects, &added(&["a", "b"]), USER, 0).is_clean());
    // An agent died before it had written down that b was made.
    let effects = [effect("a", 201), effect("b", 201), effect("b", 200)];
    assert!(judge(&one, &effects, &added(&["a", "b"]), USER, 1).is_clean());
    assert_eq!(judge(&one, &effects, &added(&["a", "b"]), USER, 0).twice.len(), 1);
}

#[test]
fn each_fault_is_found() {
    let good = [effect("a", 201), effect("b", 201)];
    let both = added(&["a", "b"]);
    let of = |one: Wanted, effects: &[Effect], seen: &BTreeMap<_, _>| judge(&[one], effects, seen, USER, 0);
    assert_eq!(counts(&of(wanted(&["queued", "running"]), &good, &both)), [1, 0, 0, 0, 0]);
    assert_eq!(of(wanted(&["succeeded", "failed"]), &good, &both).backward.len(), 1);
    assert_eq!(counts(&of(wanted(&["succeeded"]), &[effect("a", 201)], &both)), [0, 0, 1, 0, 0]);
    assert_eq!(counts(&of(wanted(&["failed"]), &good, &both)), [0, 0, 1, 0, 0]);
    let stranger = [good[0].clone(), good[1].clone(), effect("c", 201)];
    assert_eq!(counts(&of(wanted(&["succeeded"]), &stranger, &both)), [0, 0, 1, 0, 0]);
    assert_eq!(counts(&of(wanted(&["succeeded"]), &good, &added(&["a", "b", "c"]))), [0, 0, 1, 0, 0]);
    let other = [effect("a", 201), Effect { user: "system:agent".to_owned(), ..effect("b", 201) }];
    assert_eq!(of(wanted(&["succeeded"]), &other, &both).unexpected.len(), 2);
    // To a ConfigMap no controller writes.
    let other = [good[0].clone(), good[1].clone(), Effect { user: CONTROLLER.to_owned(), ..effect("b", 200) }];
    assert_eq!(counts(&of(wanted(&["succeeded"]), &other, &both)), [0, 0, 1, 0, 0]);
    let again = [effect("a", 201), effect("a", 201), effect("b", 201)];
    assert!(!of(wanted(&["succeeded"]), &again, &both).twice.is_empty());
    let mut changed = both.clone();
    changed.entry("a".to_owned()).or_default().push(state("1", 0, ""));
    assert_eq!(counts(&of(wanted(&["succeeded"]), &good, &changed)), [0, 1, 0, 0, 0]);
    let quiet = Wanted { told: told(&[("a", "created")]), ..wanted(&["succeeded"]) };
    assert_eq!(counts(&of(quiet, &good, &both)), [0, 0, 0, 0, 1]);
    let wrong = Wanted { told: told(&[("a", "created"), ("b", "unchanged")]), ..wanted(&["succeeded"]) };
    assert_eq!(counts(&of(wrong, &good, &both)), [0, 0, 0, 0, 1]);
}

#[test]
fn a_cancelled_one_did_what_its_record_tells() {
    let told = told(&[("a", "created"), ("b", "skipped")]);
    let stopped = Wanted { cancelled: true, told, ..wanted(&["running", "cancelled"]) };
    let of = |effects: &[Effect], seen: &BTreeMap<_, _>| judge(std::slice::from_ref(&stopped), effects, seen, USER, 0);
    assert!(of(&[effect("a", 201)], &added(&["a"])).is_clean());
    assert!(!of(&[effect("a", 201), effect("b", 201)], &added(&["a", "b"])).silent.is_empty());
    assert!(!of(&[], &added(&[])).unexpected.is_empty());
}

#[test]
fn changes_of_one_object_happen_in_their_order() {
    let line = [
        change("1", apply("1"), "created"),
        change("2", Deed::Delete, "deleted"),
        change("3", apply("2"), "created"),
        change("4", apply("3"), "configured"),
    ];
    let removal = call("delete", "", "a", 200);
    let calls = [effect("a", 201), removal.clone(), effect("a", 201), effect("a", 200)];
    let (first, second, third) = (state("1", 0, ""), state("2", 0, ""), state("3", 0, ""));
    let good = [first.clone(), None, second.clone(), third.clone()];
    let of = |calls: &[Effect], states: &[Option<State>]| counts(&judge(&line, calls, &seen(states), USER, 0));
    assert_eq!(of(&calls, &good), [0; 5]);
    // The removal came once more, and took what a later change had made.
    let again = [calls.as_slice(), &[removal]].concat();
    assert_eq!(of(&again, &[good.as_slice(), &[None]].concat()), [0, 2, 0, 0, 0]);
    // The removal overtook the change behind it.
    assert_eq!(of(&calls, &[first.clone(), second.clone(), None, third]), [0, 0, 1, 0, 0]);
    // An old order came back.
    assert_eq!(of(&calls, &[good.as_slice(), &[first]].concat()), [0, 1, 0, 0, 0]);
    // Nothing of the removal is in the API server's log.
    assert_eq!(of(&[effect("a", 201), effect("a", 201), effect("a", 200)], &good)[2], 1);
}

#[test]
fn workloads_are_scaled_restarted_and_taken_back_once() {
    let made = Deed::Apply { value: "1".to_owned(), replicas: 1 };
    let line = [
        Wanted { workload: true, ..change("1", made, "created") },
        change("2", Deed::Restart, "configured"),
        change("3", Deed::Scale(2), "configured"),
        change("4", Deed::Rollback, "configured"),
        Wanted { workload: true, ..change("5", Deed::Delete, "deleted") },
    ];
    let calls = [
        effect("a", 201),
        effect("a", 200),
        call("patch", "scale", "a", 200),
        effect("a", 200),
        call("delete", "", "a", 200),
        Effect { user: CONTROLLER.to_owned(), ..call("update", "status", "a", 200) },
    ];
    let good = [state("1", 1, ""), state("1", 1, "2"), state("1", 2, "2"), state("1", 2, ""), None];
    let of = |calls: &[Effect], states: &[Option<State>]| counts(&judge(&line, calls, &seen(states), USER, 0));
    assert_eq!(of(&calls, &good), [0; 5]);
    // A restart whose mark is not its own operation's, as one would have that took the time for it.
    let mut restarted = good.clone();
    restarted[1] = state("1", 1, "now");
    assert_eq!(of(&calls, &restarted), [0, 0, 1, 0, 0]);
    // A restart that came once more, after the rollback.
    let again = [&good[..4], &[state("1", 2, "2")], &good[4..]].concat();
    assert_eq!(of(&calls, &again), [0, 1, 0, 0, 0]);
    // A scaling that was done twice without a death in between; and one that was never done.
    let twice = [calls.as_slice(), &[call("patch", "scale", "a", 200)]].concat();
    assert_eq!(of(&twice, &good), [0, 1, 0, 0, 0]);
    let never = calls.iter().filter(|call| call.below != "scale").cloned().collect::<Vec<_>>();
    assert_eq!(of(&never, &good), [0, 0, 1, 0, 0]);
    // Something that no change is made by.
    let other = [calls.as_slice(), &[call("update", "", "a", 200)]].concat();
    assert_eq!(of(&other, &good), [0, 0, 1, 0, 0]);
}
