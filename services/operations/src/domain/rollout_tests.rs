use std::collections::{BTreeMap, BTreeSet};

use roadstead_contracts::identity::{CredentialKind, Reach, Role};
use roadstead_contracts::ids::{SessionId, TypedId as _};
use roadstead_contracts::operation::OperationState;
use uuid::Uuid;

use super::super::rollout_advance::{AWAY_GRACE, Known, advance};
use super::*;

fn principal(number: u128) -> Principal {
    Principal {
        user_id: UserId::from_uuid(Uuid::from_u128(number)),
        user_seq: 1,
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        roles: BTreeSet::from([Role::Operator]),
        reach: Reach::All,
        credential: CredentialKind::Session(SessionId::from_uuid(Uuid::from_u128(2))),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// A fleet whose operations end as the test says.
struct Fleet {
    doc: RolloutDoc,
    states: KnownOperations,
    /// Looks of the last step.
    looks: usize,
    next: u128,
}

impl Fleet {
    fn new(count: u128, plan: RolloutPlan) -> Self {
        let targets = (0..count)
            .map(|number| Target {
                cluster_id: ClusterId::from_uuid(Uuid::from_u128(100 + number)),
                cluster_name: ClusterName::parse(&format!("c{number}")).unwrap(),
                owner: None,
                labels: Labels::default(),
                body: None,
                operation_id: None,
                bakes_until: None,
                look_id: None,
            })
            .collect();
        check_plan(&plan).unwrap();
        let doc = RolloutDoc {
            id: RolloutId::from_uuid(Uuid::from_u128(1)),
            name: "r".to_owned(),
            state: RolloutState::Running,
            reason: String::new(),
            work: Work::Undo { force: false },
            waves: waves_of(targets, &plan.waves),
            plan: plan.into(),
            sealed_overrides: None,
            principal: principal(7),
            approved_by: None,
            cancelled_by: None,
            body: None,
            changes: Vec::new(),
            current: 0,
            forgiven: 0,
            created_at: at(0),
            updated_at: at(0),
            finished_at: None,
        };
        Self { doc, states: BTreeMap::new(), looks: 0, next: 1_000 }
    }

    /// The same with work that is looked at after its bake.
    fn watched(count: u128, plan: RolloutPlan) -> Self {
        let mut fleet = Self::new(count, plan);
        let work = serde_json::json!({"kind": "apply", "wait": true});
        fleet.doc.work = serde_json::from_value(work).unwrap();
        fleet
    }

    fn make(&mut self) -> OperationId {
        let id = OperationId::from_uuid(Uuid::from_u128(self.next));
        self.next += 1;
        self.states.insert(id, Known { state: OperationState::Running, away_since: None });
        id
    }

    /// Takes it on; answers how many were begun.
    fn step(&mut self, seconds: i64) -> usize {
        let progress = advance(&mut self.doc, &self.states, at(seconds));
        assert!(progress.look_at.is_some() || !matches!(self.doc.state, RolloutState::Running | RolloutState::Waiting));
        for (wave, index) in &progress.begin {
            self.doc.waves[*wave].targets[*index].operation_id = Some(self.make());
        }
        for (wave, index) in &progress.looks {
            self.doc.waves[*wave].targets[*index].look_id = Some(self.make());
        }
        self.looks = progress.looks.len();
        progress.begin.len()
    }

    fn known(&mut self, wave: usize, index: usize) -> &mut Known {
        let id = self.doc.waves[wave].targets[index].operation_id.unwrap();
        self.states.get_mut(&id).unwrap()
    }

    /// Ends what runs; what is away stays.
    fn end_all(&mut self, state: OperationState) {
        let running = self.states.values_mut().filter(|known| !known.state.is_terminal() && known.away_since.is_none());
        running.for_each(|known| known.state = state);
    }

    /// The agent of a cluster is away since then; or back.
    fn away(&mut self, wave: usize, index: usize, seconds: Option<i64>) {
        let state = if seconds.is_some() { OperationState::Queued } else { OperationState::Running };
        *self.known(wave, index) = Known { state, away_since: seconds.map(at) };
    }
}

fn plan(waves: &[u8]) -> RolloutPlan {
    serde_json::from_value(serde_json::json!({ "waves": waves })).unwrap()
}

#[test]
fn five_waves_over_a_hundred_clusters() {
    let mut fleet = Fleet::new(100, plan(&[1, 9, 20, 30, 40]));
    let mut begun = Vec::new();
    while fleet.doc.state == RolloutState::Running {
        begun.push(fleet.step(0));
        fleet.end_all(OperationState::Succeeded);
    }
    begun.retain(|count| *count > 0);
    assert_eq!(begun, [1, 9, 20, 30, 40]);
    assert_eq!(fleet.doc.state, RolloutState::Succeeded);
}

#[test]
fn a_broken_wave_halts_and_the_rest_is_untouched() {
    let mut fleet = Fleet::new(100, RolloutPlan { failure_budget: 2, ..plan(&[10, 40, 50]) });
    assert_eq!(fleet.step(0), 10);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(1), 40);
    fleet.end_all(OperationState::Failed);
    assert_eq!(fleet.step(2), 0);
    assert_eq!(fleet.doc.state, RolloutState::Halted);
    assert!(fleet.doc.waves[2].targets.iter().all(|target| target.operation_id.is_none()));
    // Nothing moves by itself from there.
    assert_eq!(fleet.step(1_000), 0);
    command(&mut fleet.doc, RolloutCommand::RetryFailed, &principal(7), &fleet.states, at(3)).unwrap();
    assert_eq!(fleet.step(4), 40);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(5), 50);
}

#[test]
fn a_resume_gives_the_budget_anew() {
    let mut fleet = Fleet::new(4, plan(&[50, 50]));
    fleet.step(0);
    fleet.end_all(OperationState::Failed);
    fleet.step(1);
    assert_eq!(fleet.doc.state, RolloutState::Halted);
    command(&mut fleet.doc, RolloutCommand::Resume, &principal(7), &fleet.states, at(2)).unwrap();
    assert_eq!(fleet.step(3), 2);
    fleet.end_all(OperationState::Succeeded);
    fleet.step(4);
    assert_eq!(fleet.doc.state, RolloutState::Failed, "two clusters do not have it");
}

#[test]
fn a_wave_bakes_and_few_go_at_once() {
    let mut fleet = Fleet::new(4, RolloutPlan { bake_seconds: 60, at_once: 1, ..plan(&[50, 50]) });
    assert_eq!(fleet.step(0), 1);
    assert_eq!(fleet.step(1), 0);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(2), 1);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(3), 0);
    assert_eq!(fleet.step(62), 0);
    assert_eq!(fleet.step(63), 1);
}

#[test]
fn nothing_begins_outside_the_window() {
    let window = serde_json::from_value(serde_json::json!({"from": "10:00", "to": "11:00"})).unwrap();
    let mut fleet = Fleet::new(1, RolloutPlan { window: Some(window), ..plan(&[]) });
    // 2027-01-15T08:00:00Z
    assert_eq!(fleet.step(0), 0);
    assert_eq!(fleet.doc.state, RolloutState::Waiting);
    assert_eq!(fleet.step(2 * 3_600 + 60), 1);
}

#[test]
fn two_people_and_what_may_follow_what() {
    let mut fleet = Fleet::new(1, plan(&[]));
    fleet.doc.state = RolloutState::AwaitingApproval;
    assert_eq!(fleet.step(0), 0);
    let approve = |fleet: &mut Fleet, by: u128| {
        command(&mut fleet.doc, RolloutCommand::Approve, &principal(by), &fleet.states, at(0))
    };
    assert_eq!(approve(&mut fleet, 7).unwrap_err().code, Code::Forbidden);
    approve(&mut fleet, 8).unwrap();
    assert_eq!(fleet.step(1), 1);
    assert_eq!(approve(&mut fleet, 8).unwrap_err().code, Code::Conflict);
    command(&mut fleet.doc, RolloutCommand::Cancel, &principal(7), &fleet.states, at(2)).unwrap();
    assert!(fleet.doc.cancelled_by.is_some());
    assert_eq!(fleet.step(3), 0);
    assert_eq!(fleet.doc.state, RolloutState::Cancelled);
}

/// A wave that had ended was passed after a sleep, whatever had become of it; the last was not even slept for.
#[test]
fn regression_a_wave_that_is_not_ready_after_its_bake_halts() {
    let mut fleet = Fleet::watched(4, RolloutPlan { bake_seconds: 60, ..plan(&[50, 50]) });
    assert_eq!(fleet.step(0), 2);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!((fleet.step(1), fleet.looks), (0, 0));
    assert_eq!(fleet.doc.reason, "wave 1 of 2 bakes");
    assert_eq!((fleet.step(61), fleet.looks), (0, 2));
    assert_eq!((fleet.step(62), fleet.looks), (0, 0), "each is looked at once");
    assert_eq!(fleet.doc.reason, "wave 1 of 2 is looked at once more");
    let look = fleet.doc.waves[0].targets[1].look_id.unwrap();
    fleet.states.get_mut(&look).unwrap().state = OperationState::Failed;
    assert_eq!(fleet.step(63), 0);
    assert_eq!(fleet.doc.state, RolloutState::Halted);
    assert_eq!(fleet.doc.reason, "1 clusters failed (1 of them were not ready after the bake), 0 may");
    let shown = shown(&fleet.doc, &fleet.states);
    assert_eq!(shown.waves[0].clusters[1].operation_id, Some(look));
    assert_eq!(shown.waves[0].clusters[1].state, Some(OperationState::Failed));

    // That one once more, with a bake and a look of its own.
    command(&mut fleet.doc, RolloutCommand::RetryFailed, &principal(7), &fleet.states, at(70)).unwrap();
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(71), 1);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!((fleet.step(72), fleet.looks), (0, 0));
    assert_eq!((fleet.step(132), fleet.looks), (0, 1));
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(133), 2);
    fleet.end_all(OperationState::Succeeded);
    // The last wave bakes, too.
    assert_eq!((fleet.step(134), fleet.doc.state), (0, RolloutState::Running));
    fleet.step(194);
    assert_eq!((fleet.looks, fleet.doc.state), (2, RolloutState::Running));
    fleet.end_all(OperationState::Succeeded);
    fleet.step(195);
    assert_eq!(fleet.doc.state, RolloutState::Succeeded);
}

#[test]
fn work_that_cannot_be_looked_at_waits_between_waves_only() {
    let mut fleet = Fleet::new(2, RolloutPlan { bake_seconds: 60, ..plan(&[50, 50]) });
    fleet.step(0);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!((fleet.step(1), fleet.step(60), fleet.step(61)), (0, 0, 1));
    fleet.end_all(OperationState::Succeeded);
    fleet.step(62);
    assert_eq!((fleet.doc.state, fleet.looks), (RolloutState::Succeeded, 0));
}

/// One cluster whose agent was away held every later wave up until its deadline.
#[test]
fn regression_clusters_that_are_away_hold_nothing_up_within_the_budget() {
    let mut fleet = Fleet::new(6, RolloutPlan { failure_budget: 1, at_once: 1, ..plan(&[50, 50]) });
    let grace = AWAY_GRACE.num_seconds();
    assert_eq!(fleet.step(0), 1);
    fleet.away(0, 0, Some(0));
    assert_eq!(fleet.step(grace - 1), 0, "it may be back in a moment");
    assert_eq!(fleet.step(grace), 1, "it takes no place");
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(grace), 1);
    fleet.end_all(OperationState::Succeeded);
    assert_eq!(fleet.step(grace), 1, "the second wave");
    // A second one is more than may fail.
    fleet.away(1, 0, Some(0));
    assert_eq!((fleet.step(grace), fleet.doc.reason.as_str()), (0, "wave 2 of 2 waits for agents that are away"));
    fleet.away(1, 0, None);
    for _ in 0..2 {
        fleet.end_all(OperationState::Succeeded);
        assert_eq!(fleet.step(grace), 1);
    }
    fleet.end_all(OperationState::Succeeded);
    assert_eq!((fleet.step(grace), fleet.doc.state), (0, RolloutState::Running));
    assert_eq!(fleet.doc.reason, "waits for 1 clusters that were away");
    fleet.away(0, 0, None);
    fleet.step(grace);
    fleet.end_all(OperationState::Failed);
    fleet.step(grace);
    assert_eq!(fleet.doc.state, RolloutState::Failed, "a failure as any");
}

#[test]
fn what_comes_late_bakes_on_its_own() {
    let mut fleet = Fleet::watched(2, RolloutPlan { failure_budget: 1, bake_seconds: 60, ..plan(&[]) });
    fleet.step(0);
    fleet.away(0, 0, Some(0));
    fleet.end_all(OperationState::Succeeded);
    fleet.step(40);
    assert_eq!(fleet.doc.waves[0].bakes_until, Some(at(100)));
    fleet.away(0, 0, None);
    fleet.end_all(OperationState::Succeeded);
    fleet.step(90);
    assert_eq!((fleet.step(100), fleet.looks), (0, 1));
    fleet.end_all(OperationState::Succeeded);
    fleet.step(101);
    assert_eq!((fleet.doc.state, fleet.looks), (RolloutState::Running, 0));
    fleet.step(150);
    assert_eq!(fleet.looks, 1);
    fleet.end_all(OperationState::Succeeded);
    fleet.step(151);
    assert_eq!(fleet.doc.state, RolloutState::Succeeded);
}

#[test]
fn an_operation_that_somebody_deleted_is_waited_for_no_more() {
    let mut fleet = Fleet::watched(2, RolloutPlan { bake_seconds: 60, ..plan(&[50, 50]) });
    fleet.step(0);
    fleet.end_all(OperationState::Succeeded);
    fleet.states.clear();
    assert_eq!(fleet.step(1), 0);
    assert_eq!(fleet.step(61), 1);
}

/// The values of a Secret lay in the plan: in messages, in the database and in every reader's list.
#[test]
fn regression_secrets_are_not_overridden_and_patches_are_not_shown() {
    let with = |object: serde_json::Value, patch: serde_json::Value| -> RolloutPlan {
        let patch = serde_json::json!({"cluster": "c0", "object": object, "patch": patch});
        serde_json::from_value(serde_json::json!({"overrides": [patch]})).unwrap()
    };
    let object = |version: &str, kind: &str| serde_json::json!({"api_version": version, "kind": kind, "name": "a"});
    let values = serde_json::json!({"data": {"password": "aHVudGVyMg=="}});
    for plan in [
        with(object("v1", "Secret"), values.clone()),
        with(object("", "Secret"), values.clone()),
        with(object("v1", "ConfigMap"), serde_json::json!({"kind": "Secret"})),
        with(object("v1", "ConfigMap"), serde_json::json!({"kind": "List", "items": []})),
        with(object("example.com/v1", "Secret"), serde_json::json!({"apiVersion": "v1"})),
    ] {
        let refused = check_plan(&plan).unwrap_err();
        assert_eq!((refused.code, refused.errors[0].loc.join(".").as_str()), (Code::Validation, "body.plan.overrides"));
    }
    let fleet = Fleet::new(1, with(object("v1", "ConfigMap"), values));
    let shown = serde_json::to_value(shown(&fleet.doc, &fleet.states)).unwrap();
    assert!(!shown.to_string().contains("aHVudGVyMg"), "{shown}");
    assert_eq!(shown["plan"]["overrides"][0]["patch"], serde_json::json!({"bytes": 36}));
    assert_eq!(shown["plan"]["overrides"][0]["object"]["name"], "a");
}
