//! An owner of operations that holds everything in a list, and what keeps the manifests.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_bus::{Bus, Router, ServeOptions};
use roadstead_contracts::drift::{DriftCounts, DriftState, DriftedField, DriftedObject};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{OperationId, RolloutId, TypedId as _};
use roadstead_contracts::message::*;
use roadstead_contracts::operation::{Counts, ObjectKey, OperationState, Work};
use roadstead_contracts::{Code, Error, Result, queue};
use roadstead_relay::BodyStage;
use roadstead_runtime::Ids;

use crate::owners::noon;

/// What is known of operations, and what came with them.
pub struct Operations {
    ids: Ids,
    bus: Bus,
    pub rows: Mutex<Vec<(Operation, Vec<OperationStep>)>>,
    pub rollouts: Mutex<Vec<Rollout>>,
    pub asked: Mutex<Vec<CreateOperation>>,
    pub bodies: Mutex<Vec<Bytes>>,
    pub reads: Mutex<usize>,
}

#[async_trait]
impl BodyStage for Operations {
    async fn stage(&self, body: Bytes) -> Result<String> {
        self.bodies.lock().unwrap().push(body);
        Ok("ab".repeat(32))
    }
}

impl Operations {
    pub fn new(ids: Ids, bus: Bus) -> Arc<Self> {
        Arc::new(Self {
            ids,
            bus,
            rows: Mutex::default(),
            rollouts: Mutex::default(),
            asked: Mutex::default(),
            bodies: Mutex::default(),
            reads: Mutex::default(),
        })
    }

    fn create(&self, request: CreateOperation) -> Operation {
        let operation = Operation {
            id: self.ids.next(),
            seq: i64::try_from(self.rows.lock().unwrap().len()).unwrap() + 1,
            cluster_id: request.cluster_id,
            cluster_name: request.cluster_name.clone(),
            kind: request.work.kind(),
            state: OperationState::Queued,
            reason: String::new(),
            work: request.work.clone(),
            source: request.source.clone(),
            description: request.description.clone(),
            created_by: request.principal.user_id,
            created_by_name: request.principal.username.clone(),
            epoch: 0,
            priority: request.priority.unwrap_or(5),
            objects: 0,
            counts: Counts::default(),
            error: None,
            exit_code: None,
            rollout_id: None,
            origin_id: None,
            undoable: false,
            last_step: 1,
            deadline: noon() + chrono::Duration::hours(1),
            started_at: None,
            finished_at: None,
            created_at: noon(),
            updated_at: noon(),
        };
        self.asked.lock().unwrap().push(request);
        let what = StepKind::State { state: OperationState::Queued, reason: String::new() };
        let first = OperationStep { number: 1, at: noon(), what };
        self.rows.lock().unwrap().push((operation.clone(), vec![first]));
        operation
    }

    fn find(&self, principal: &Principal, id: OperationId) -> Result<(Operation, Vec<OperationStep>)> {
        let rows = self.rows.lock().unwrap();
        let found = rows.iter().find(|(operation, _)| operation.id == id && sees(principal, operation));
        found.cloned().ok_or_else(|| Error::not_found("no such operation"))
    }

    fn set(&self, id: OperationId, change: impl FnOnce(&mut Operation)) -> Operation {
        let mut rows = self.rows.lock().unwrap();
        let (operation, _) = rows.iter_mut().find(|(operation, _)| operation.id == id).unwrap();
        change(operation);
        operation.clone()
    }

    /// One more step, told of on the bus.
    pub async fn step(&self, id: OperationId, what: StepKind) {
        let (event, at) = {
            let mut rows = self.rows.lock().unwrap();
            let (operation, steps) = rows.iter_mut().find(|(operation, _)| operation.id == id).unwrap();
            operation.last_step += 1;
            if let StepKind::State { state, .. } = &what {
                operation.state = *state;
            }
            steps.push(OperationStep { number: operation.last_step, at: noon(), what });
            let fact = Fact::OperationUpdated {
                operation_id: id,
                cluster_id: operation.cluster_id,
                state: operation.state,
                step: operation.last_step,
            };
            (fact, noon())
        };
        self.bus.emit(&Event { id: self.ids.next(), at, fact: event }).await.unwrap();
    }

    /// The operation that was made last.
    pub fn last(&self) -> Operation {
        self.rows.lock().unwrap().last().unwrap().0.clone()
    }

    fn rollout(&self, request: CreateRollout) -> RolloutCreated {
        if !request.confirmed {
            let clusters = u32::try_from(request.targets.len()).unwrap();
            let destructive = matches!(request.work, Work::Delete { .. });
            return RolloutCreated::WouldTouch { clusters, objects: 1, destructive };
        }
        let cluster = |target: RolloutTarget| RolloutCluster {
            cluster_id: target.cluster_id,
            cluster_name: target.cluster_name,
            operation_id: None,
            state: None,
        };
        let clusters = request.targets.into_iter().map(cluster).collect();
        let rollout = Rollout {
            id: self.ids.next(),
            name: request.name,
            state: RolloutState::Running,
            reason: String::new(),
            work: request.work,
            plan: request.plan,
            created_by: request.principal.user_id,
            created_by_name: request.principal.username,
            approved_by: None,
            waves: vec![RolloutWave { number: 1, clusters, bakes_until: None }],
            created_at: noon(),
            updated_at: noon(),
            finished_at: None,
        };
        self.rollouts.lock().unwrap().push(rollout.clone());
        RolloutCreated::Rollout(Box::new(rollout))
    }

    fn find_rollout(&self, principal: &Principal, id: RolloutId) -> Result<Rollout> {
        let rows = self.rollouts.lock().unwrap();
        let seen = |rollout: &&Rollout| {
            let clusters = rollout.waves.iter().flat_map(|wave| &wave.clusters);
            rollout.created_by == principal.user_id
                || clusters.into_iter().any(|cluster| principal.can_see(cluster.cluster_id, None))
        };
        let found = rows.iter().find(|rollout| rollout.id == id).filter(seen);
        found.cloned().ok_or_else(|| Error::not_found("no such rollout"))
    }
}

fn sees(principal: &Principal, operation: &Operation) -> bool {
    operation.created_by == principal.user_id || principal.can_see(operation.cluster_id, None)
}

/// Rows in one answer: the owner has a limit of its own.
const ROWS_MAX: usize = 3;

fn page<T: Clone>(rows: Vec<T>, page: &PageRequest) -> Page<T> {
    let from = page.cursor.as_deref().map_or(page.offset, |cursor| cursor.parse().unwrap());
    let (from, total) = (usize::try_from(from).unwrap(), rows.len());
    let items: Vec<T> = rows.into_iter().skip(from).take((page.limit as usize).min(ROWS_MAX)).collect();
    let next = from + items.len();
    Page { items, total: total as u64, next_cursor: (next < total).then(|| next.to_string()) }
}

macro_rules! on {
    ($queue:expr, $world:expr, $($message:ty => |$request:ident, $state:ident| $body:expr;)*) => {{
        let mut router = Router::new($queue);
        $({
            let world = Arc::clone($world);
            router = router.on(move |$request: $message, _| {
                let $state = Arc::clone(&world);
                async move { $body }
            });
        })*
        router
    }};
}

/// Answers what the operations service answers.
pub async fn serve_operations(world: &Arc<Operations>) {
    let bus = world.bus.clone();
    let routers = [
        on!(queue::CLUSTER_MANIFEST, world,
            CreateOperation => |request, world| {
                let known = world.asked.lock().unwrap().iter()
                    .position(|asked| asked.idempotency_key.is_some() && asked.idempotency_key == request.idempotency_key);
                if let Some(known) = known {
                    let same = world.asked.lock().unwrap()[known].work == request.work;
                    return if same { Ok(world.rows.lock().unwrap()[known].0.clone()) } else { Err(Code::IdempotencyMismatch.into()) };
                }
                Ok(world.create(request))
            };
        ),
        on!(queue::CLUSTER_CANCELLATION, world,
            CancelOperation => |request, world| {
                let (operation, _) = world.find(&request.principal, request.id)?;
                match operation.state {
                    state if state.is_terminal() => {
                        let sentence = format!("operation cannot be cancelled, current status: {}", state.seed_word());
                        Err(Error::new(Code::OperationTerminal, sentence))
                    }
                    OperationState::Queued => {
                        Ok((Cancellation::Cancelled, world.set(request.id, |row| row.state = OperationState::Cancelled)))
                    }
                    _ => Ok((
                        Cancellation::Cancelling,
                        world.set(request.id, |row| {
                            row.state = OperationState::Cancelling;
                            row.reason = request.reason;
                        }),
                    )),
                }
            };
        ),
        on!(queue::OPERATION, world,
            GetOperation => |request, world| Ok(world.find(&request.principal, request.id)?.0);
            ListOperations => |request, world| {
                let rows = world.rows.lock().unwrap().iter().map(|(operation, _)| operation.clone())
                    .filter(|row| sees(&request.principal, row))
                    .filter(|row| request.cluster_id.is_none_or(|id| id == row.cluster_id))
                    .filter(|row| request.kind.is_none_or(|kind| kind == row.kind))
                    .filter(|row| request.states.is_empty() || request.states.contains(&row.state))
                    .collect();
                Ok(page(rows, &request.page))
            };
            ListOperationSteps => |request, world| {
                *world.reads.lock().unwrap() += 1;
                let (operation, steps) = world.find(&request.principal, request.id)?;
                let steps = steps.into_iter().filter(|step| step.number > request.after).take(request.limit as usize);
                Ok(OperationSteps { operation, steps: steps.collect() })
            };
            GetDrift => |request, world| {
                let asked = world.asked.lock().unwrap();
                let known = asked.iter().find(|asked| asked.cluster_id.to_string() == request.cluster);
                let known = known.ok_or_else(|| Error::not_found("Cluster not found"))?;
                Ok(drift_of(known))
            };
            GetRollout => |request, world| world.find_rollout(&request.principal, request.id);
            ListRollouts => |request, world| {
                let all: Vec<Rollout> = world.rollouts.lock().unwrap().clone();
                let rows = all.into_iter().filter(|row| world.find_rollout(&request.principal, row.id).is_ok()).collect();
                Ok(page(rows, &request.page))
            };
        ),
        on!(queue::OPERATION_CHANGE, world,
            RetryOperation => |request, world| {
                let (operation, _) = world.find(&request.principal, request.id)?;
                Ok(world.create(again(&request.principal, operation.clone(), operation.work)))
            };
            UndoOperation => |request, world| {
                let (operation, _) = world.find(&request.principal, request.id)?;
                Ok(world.create(again(&request.principal, operation, Work::Undo { force: request.force })))
            };
            DeleteOperation => |request, world| {
                let (operation, _) = world.find(&request.principal, request.id)?;
                if !operation.state.is_terminal() {
                    return Err(Code::Conflict.into());
                }
                world.rows.lock().unwrap().retain(|(row, _)| row.id != request.id);
                Ok(())
            };
            CreateRollout => |request, world| Ok(world.rollout(request));
            ChangeRollout => |request, world| {
                let mut rollout = world.find_rollout(&request.principal, request.id)?;
                rollout.state = match request.command {
                    RolloutCommand::Halt => RolloutState::Halted,
                    RolloutCommand::Cancel => RolloutState::Cancelled,
                    _ => RolloutState::Running,
                };
                Ok(rollout)
            };
        ),
    ];
    for router in routers {
        bus.serve(router, ServeOptions::default()).await.unwrap();
    }
}

/// One object that somebody changed.
fn drift_of(asked: &CreateOperation) -> ClusterDrift {
    let key = ObjectKey {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: Some("default".to_owned()),
        name: "shop".to_owned(),
    };
    let object = DriftedObject {
        key,
        state: DriftState::Changed,
        operation_id: OperationId::from_uuid(asked.cluster_id.uuid()),
        fields: vec![DriftedField { path: ".data.a".to_owned(), manager: Some("kubectl-edit".to_owned()) }],
        more_fields: 0,
    };
    ClusterDrift {
        cluster_id: asked.cluster_id,
        cluster_name: asked.cluster_name.clone(),
        reported_at: Some(noon()),
        counts: DriftCounts { remembered: 3, drifted: 1, ..DriftCounts::default() },
        objects: vec![Drifted { object, since: noon() }],
    }
}

fn again(principal: &Principal, operation: Operation, work: Work) -> CreateOperation {
    CreateOperation {
        principal: principal.clone(),
        cluster_id: operation.cluster_id,
        cluster_name: operation.cluster_name,
        work,
        body_sha256: None,
        source: operation.source,
        description: String::new(),
        idempotency_key: None,
        deadline_seconds: None,
        priority: None,
        webhook_url: None,
        webhook_sha256: None,
    }
}
