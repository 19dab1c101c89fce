use roadstead_contracts::identity::{CredentialKind, Reach, Role};
use roadstead_contracts::ids::{SessionId, TypedId as _};
use uuid::Uuid;

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
    states: BTreeMap<OperationId, OperationState>,
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
            plan,
            principal: principal(7),
            approved_by: None,
            body: None,
            changes: Vec::new(),
            current: 0,
            forgiven: 0,
            created_at: at(0),
            updated_at: at(0),
            finished_at: None,
        };
        Self { doc, states: BTreeMap::new(), next: 1_000 }
    }

    /// Takes it on; answers how many were begun.
    fn step(&mut self, seconds: i64) -> usize {
        let progress = advance(&mut self.doc, &self.states, at(seconds));
        for (wave, index) in &progress.begin {
            let id = OperationId::from_uuid(Uuid::from_u128(self.next));
            self.next += 1;
            self.doc.waves[*wave].targets[*index].operation_id = Some(id);
            self.states.insert(id, OperationState::Running);
        }
        progress.begin.len()
    }

    fn end_all(&mut self, state: OperationState) {
        self.states.values_mut().filter(|known| !known.is_terminal()).for_each(|known| *known = state);
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
    command(&mut fleet.doc, RolloutCommand::RetryFailed, principal(7).user_id, &fleet.states, at(3)).unwrap();
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
    command(&mut fleet.doc, RolloutCommand::Resume, principal(7).user_id, &fleet.states, at(2)).unwrap();
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
        command(&mut fleet.doc, RolloutCommand::Approve, principal(by).user_id, &fleet.states, at(0))
    };
    assert_eq!(approve(&mut fleet, 7).unwrap_err().code, Code::Forbidden);
    approve(&mut fleet, 8).unwrap();
    assert_eq!(fleet.step(1), 1);
    assert_eq!(approve(&mut fleet, 8).unwrap_err().code, Code::Conflict);
    let stopped = command(&mut fleet.doc, RolloutCommand::Cancel, principal(7).user_id, &fleet.states, at(2)).unwrap();
    assert_eq!(stopped.cancel.len(), 1);
    assert_eq!(fleet.step(3), 0);
    assert_eq!(fleet.doc.state, RolloutState::Cancelled);
}
