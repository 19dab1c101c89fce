//! One suite on both databases.

mod faults;
mod forget;
mod lanes;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::audit::Actor;
use roadstead_contracts::drift::{DriftCounts, DriftState, DriftedObject};
use roadstead_contracts::ids::{AgentId, ClusterId, OperationId, ReplicaId, UserId};
use roadstead_contracts::message::{Drifted, Operation, PageRequest, StepKind};
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::operation::{Counts, ObjectKey, ObjectOutcome, OperationKind, OperationState, Work};
use roadstead_runtime::{Clock as _, Ids, Secret, SystemClock};
use roadstead_store::sqlx::query_scalar;
use roadstead_store::{Opened, Options, Window, open};

use self::faults::f14_clocks_apart;
use self::forget::{
    bodies_go_when_nothing_names_them, f14_a_clock_that_is_ahead_deletes_nothing, replicas_delete_an_operation_once,
    rollouts_go_whole_and_last, what_is_old_goes_in_batches_with_all_that_is_its_own,
    what_is_still_needed_is_not_deleted,
};
use self::lanes::{clusters_take_turns, regression_no_change_overtakes_another_of_the_same_namespace};
use super::{
    Change, Claim, Created, DriftDoc, Effects, Filter, Key, NewDrift, NewObject, NewOperation, NewWebhook, Store,
};
use crate::domain::life_cycle::Input;
use crate::domain::{Body, Doc, Lease, Record, View};
use crate::limits::REST_MAX;

struct Rig {
    store: Arc<dyn Store>,
    ids: Ids,
    now: DateTime<Utc>,
    user: UserId,
    opened: Opened,
    /// Where a file of SQLite lies.
    folder: Option<tempfile::TempDir>,
}

async fn sqlite() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let url = Secret::new(format!("sqlite:{}", folder.path().display()));
    Rig::of(open(&url, &Options::new("operations")).await.unwrap(), Some(folder)).await
}

async fn postgres() -> Rig {
    Rig::of(postgres_database().await, None).await
}

async fn postgres_database() -> Opened {
    use roadstead_store::sqlx::{AssertSqlSafe, PgPool, raw_sql};
    let base = std::env::var("ROADSTEAD_TEST_POSTGRES_URL").expect("ROADSTEAD_TEST_POSTGRES_URL");
    let name = format!("operations_{}", Ids::system(SystemClock::shared()).uuid().simple());
    let pool = PgPool::connect(&base).await.unwrap();
    raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.unwrap();
    let (server, _) = base.rsplit_once('/').unwrap();
    let url = Secret::new(format!("{server}/{name}"));
    open(&url, &Options::new("operations")).await.unwrap()
}

impl Rig {
    async fn of(opened: Opened, folder: Option<tempfile::TempDir>) -> Self {
        let migrator = roadstead_store::migrations!("operations");
        migrator.up(&opened).await.unwrap();
        let ids = Ids::system(SystemClock::shared());
        let store: Arc<dyn Store> = roadstead_store::share!(opened => dyn Store);
        Self { store, user: ids.next(), ids, now: SystemClock.now(), opened, folder }
    }

    /// What a query counts.
    async fn count(&self, sql: &'static str) -> i64 {
        match &self.opened {
            Opened::Postgres(pool) => query_scalar(sql).fetch_one(pool).await.unwrap(),
            Opened::Sqlite(pool) => query_scalar(sql).fetch_one(pool).await.unwrap(),
        }
    }

    fn change(&self) -> Change {
        Change { message: None, at: self.now, ids: self.ids.clone() }
    }

    fn record(&self, cluster: ClusterId) -> Record {
        let work = Work::Apply {
            namespace: None,
            dry_run: false,
            prune: None,
            inventory: None,
            force_conflicts: false,
            wait: false,
        };
        let shown = Operation {
            id: self.ids.next(),
            seq: 0,
            cluster_id: cluster,
            cluster_name: ClusterName::parse("alpha").unwrap(),
            kind: OperationKind::Apply,
            state: OperationState::Queued,
            reason: "with \0 inside".to_owned(),
            work,
            source: "test".to_owned(),
            description: String::new(),
            created_by: self.user,
            created_by_name: "ada".to_owned(),
            epoch: 0,
            priority: 5,
            objects: 0,
            counts: Counts::default(),
            error: None,
            exit_code: None,
            rollout_id: None,
            origin_id: None,
            undoable: false,
            last_step: 1,
            deadline: self.now + TimeDelta::hours(1),
            started_at: None,
            finished_at: None,
            created_at: self.now,
            updated_at: self.now,
        };
        let doc = Doc {
            shown,
            cluster: None,
            changes: Vec::new(),
            cluster_owner: Some(self.user),
            body: None,
            only: None,
            actor: Actor::system("test"),
            scope: None,
            request_id: String::new(),
            accepted: false,
            stored: 0,
            ended_by_agent: false,
            output: 0,
            intent: None,
        };
        Record { doc, lease: Lease::default(), next_try_at: self.now, sealed_webhook: None, settle_at: None }
    }

    async fn make(&self, record: Record) -> Record {
        let new = NewOperation { record, key: None, audit: Vec::new() };
        match self.store.create_operation(&new, &self.change()).await.unwrap() {
            Created::New(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    fn claim(&self, holder: ReplicaId) -> Claim {
        Claim { holder, at: self.now, most: 10, per_lane: 1 }
    }

    async fn take(&self, id: OperationId, input: Input) -> Record {
        let change = self.change();
        let mut decide = |record: &mut Record, _: &BTreeSet<u32>| {
            let (_, step) = record.take(input, None, change.at);
            if record.state().is_terminal() {
                record.lease.holder = None;
                record.lease.until = None;
                record.settle_at = Some(change.at);
            }
            Effects { touched: true, steps: step.into_iter().collect(), ..Effects::default() }
        };
        self.store.change(id, &[], &change, &mut decide).await.unwrap().unwrap()
    }
}

async fn an_operation_lives(rig: Rig) {
    let cluster: ClusterId = rig.ids.next();
    let made = rig.make(rig.record(cluster)).await;
    let id = made.doc.shown.id;
    assert!(made.doc.shown.seq > 0);
    let found = rig.store.find_operation(id).await.unwrap().unwrap();
    assert_eq!(found.doc.shown.reason, "with \u{fffd} inside", "PostgreSQL keeps no NUL in JSON");
    rig.take(id, Input::Dispatched).await;
    let key =
        ObjectKey { api_version: "v1".to_owned(), kind: "Secret".to_owned(), namespace: None, name: "a".to_owned() };
    let change = rig.change();
    let mut known = BTreeSet::new();
    for _ in 0..2 {
        let mut decide = |record: &mut Record, seen: &BTreeSet<u32>| {
            known.clone_from(seen);
            let mut effects = Effects { touched: true, ..Effects::default() };
            for position in [3, 7].into_iter().filter(|position| !seen.contains(position)) {
                effects.objects.push(NewObject {
                    position,
                    key: key.clone(),
                    outcome: ObjectOutcome::Configured,
                    undoable: true,
                    existed: position == 3,
                    left_version: Some("12".to_owned()),
                    sealed_before: if position == 3 { vec!["s1.a".to_owned(), "s1.b".to_owned()] } else { Vec::new() },
                });
                effects.steps.push(StepKind::Waiting { left: position, on: "x".to_owned() });
            }
            if seen.is_empty() {
                effects.webhook = Some(NewWebhook { id: rig.ids.uuid(), body: serde_json::json!({"a": 1}) });
            }
            record.doc.shown.objects = 9;
            effects
        };
        rig.store.change(id, &[3, 7], &change, &mut decide).await.unwrap().unwrap();
    }
    assert_eq!(known, BTreeSet::from([3, 7]), "the second time they were known");
    let objects = rig.store.objects(id, 1).await.unwrap();
    assert_eq!(
        objects.iter().map(|object| (object.position, object.existed)).collect::<Vec<_>>(),
        [(3, true), (7, false)]
    );
    assert_eq!(objects[0].left_version.as_deref(), Some("12"));
    assert_eq!(rig.store.before(id, 1, 3).await.unwrap(), ["s1.a", "s1.b"]);
    let steps = rig.store.list_steps(id, 0, 100).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(rig.store.list_steps(id, 3, 100).await.unwrap().len(), 1);
    let ended = rig.take(id, Input::Overdue).await;
    assert_eq!(ended.state(), OperationState::TimedOut);
    let due = rig.store.claim_settlements(rig.now, rig.now + TimeDelta::seconds(9)).await.unwrap();
    assert_eq!(due.len(), 1);
    assert!(rig.store.claim_settlements(rig.now, rig.now).await.unwrap().is_empty());
    rig.store.settled(id).await.unwrap();
    assert!(rig.store.find_operation(id).await.unwrap().unwrap().settle_at.is_none());
}

async fn leases_pass_on(rig: Rig) {
    let cluster: ClusterId = rig.ids.next();
    let first = rig.make(rig.record(cluster)).await.doc.shown.id;
    let second = rig.make(rig.record(cluster)).await.doc.shown.id;
    let elsewhere = rig.make(rig.record(rig.ids.next())).await.doc.shown.id;
    let (one, two): (ReplicaId, ReplicaId) = (rig.ids.next(), rig.ids.next());
    let claimed = rig.store.claim(&rig.claim(one)).await.unwrap();
    let ids: BTreeSet<_> = claimed.iter().map(|record| record.doc.shown.id).collect();
    assert_eq!(ids, BTreeSet::from([first, elsewhere]), "the second of its lane waits");
    let third = rig.make(rig.record(cluster)).await.doc.shown.id;
    for (waiting, at_once, before) in [
        (second, 1, Some(first)),
        (third, 1, Some(first)),
        (first, 1, None),
        (elsewhere, 1, None),
        (second, 2, None),
        (third, 2, Some(second)),
    ] {
        let found = rig.store.waited_for(waiting, at_once).await.unwrap();
        assert_eq!(found.map(|record| record.doc.shown.id), before, "{at_once} at once");
    }
    rig.take(third, Input::CancelAsked).await;
    assert!(rig.store.claim(&rig.claim(two)).await.unwrap().is_empty());
    let renewed = rig.store.renew(one, &[first, elsewhere], rig.now).await.unwrap();
    assert_eq!(renewed.len(), 2);
    assert!(rig.store.renew(two, &[first], rig.now).await.unwrap().is_empty());
    // Laid aside, and woken.
    let token = claimed.iter().find(|record| record.doc.shown.id == first).unwrap().lease.token;
    rig.store.rest(first, token, rig.now, REST_MAX).await.unwrap();
    assert!(rig.store.claim(&rig.claim(two)).await.unwrap().is_empty(), "its lane waits with it");
    assert!(rig.store.wake(cluster, rig.now).await.unwrap());
    let again = rig.store.claim(&rig.claim(two)).await.unwrap();
    assert_eq!(again.iter().map(|record| (record.doc.shown.id, record.lease.token)).collect::<Vec<_>>(), [(first, 2)]);
    // An old token says nothing any more.
    rig.store.rest(first, 1, rig.now, REST_MAX).await.unwrap();
    assert_eq!(rig.store.renew(two, &[first], rig.now).await.unwrap().len(), 1);
    rig.take(first, Input::Dispatched).await;
    rig.take(first, Input::Ended(roadstead_contracts::operation::Ending::Succeeded)).await;
    let next = rig.store.claim(&rig.claim(one)).await.unwrap();
    assert_eq!(next.iter().map(|record| record.doc.shown.id).collect::<Vec<_>>(), [second]);
    rig.store.free().await.unwrap();
    assert!(rig.store.renew(one, &[second], rig.now).await.unwrap().is_empty(), "free for anybody");
    assert_eq!(rig.store.claim(&rig.claim(two)).await.unwrap()[0].doc.shown.id, second);
    let overdue = rig.now + TimeDelta::hours(2);
    assert_eq!(rig.store.overdue(overdue, overdue).await.unwrap().len(), 2);
}

async fn keys_bodies_and_lists(rig: Rig) {
    let cluster: ClusterId = rig.ids.next();
    let key = |digest: &str| Key { user: rig.user, key: "operation:k".to_owned(), digest: digest.to_owned() };
    let mut record = rig.record(cluster);
    record.doc.body = Some(Body { sha256: "aa".to_owned(), length: 3 });
    let new = NewOperation { record, key: Some(key("d")), audit: Vec::new() };
    assert!(matches!(rig.store.create_operation(&new, &rig.change()).await.unwrap(), Created::NoBody));
    assert!(rig.store.stage("aa", 3, &["s1.x".to_owned()], rig.now).await.unwrap());
    assert!(rig.store.stage("aa", 3, &["s1.y".to_owned()], rig.now).await.unwrap());
    assert_eq!(rig.store.body("aa").await.unwrap(), Some((3, vec!["s1.x".to_owned()])));
    assert_eq!(rig.store.body_length("bb").await.unwrap(), None);
    assert!(matches!(rig.store.create_operation(&new, &rig.change()).await.unwrap(), Created::New(_)));
    assert!(matches!(rig.store.create_operation(&new, &rig.change()).await.unwrap(), Created::Before(_)));
    let other = NewOperation { key: Some(key("e")), ..new };
    assert!(matches!(rig.store.create_operation(&other, &rig.change()).await.unwrap(), Created::Mismatch));
    // Named bodies stay, others go.
    assert!(rig.store.stage("cc", 3, &["s1.z".to_owned()], rig.now).await.unwrap());
    rig.store.tidy(rig.now + TimeDelta::hours(2)).await.unwrap();
    assert!(rig.store.body("aa").await.unwrap().is_some() && rig.store.body("cc").await.unwrap().is_none());

    for _ in 0..3 {
        rig.make(rig.record(cluster)).await;
    }
    let window = Window::of(&PageRequest { limit: 2, offset: 0, cursor: None }).unwrap();
    let mut view = View { all: false, owner: rig.user, granted: Vec::new(), bound: false, within: Vec::new() };
    let filter = Filter { cluster: Some(cluster), states: vec![OperationState::Queued], ..Filter::default() };
    let (records, total) = rig.store.list_operations(&view, &filter, window).await.unwrap();
    assert_eq!((records.len(), total), (3, 4), "one more than the page");
    assert!(records[0].doc.shown.seq > records[1].doc.shown.seq);
    let none = Filter { states: vec![OperationState::Failed], ..filter.clone() };
    assert_eq!(rig.store.list_operations(&view, &none, window).await.unwrap().1, 0);
    view.owner = rig.ids.next();
    assert_eq!(rig.store.list_operations(&view, &filter, window).await.unwrap().1, 0);
    view.granted = vec![super::rows::hex(roadstead_contracts::ids::TypedId::uuid(cluster))];
    assert_eq!(rig.store.list_operations(&view, &filter, window).await.unwrap().1, 4);
    view.bound = true;
    assert_eq!(rig.store.list_operations(&view, &filter, window).await.unwrap().1, 0);
    assert_eq!(rig.store.count_active().await.unwrap(), [("queued".to_owned(), 4)]);
}

async fn webhooks_are_claimed(rig: Rig) {
    let mut record = rig.record(rig.ids.next());
    record.sealed_webhook = Some("s1.url".to_owned());
    let id = rig.make(record).await.doc.shown.id;
    let change = rig.change();
    let webhook = NewWebhook { id: rig.ids.uuid(), body: serde_json::json!({"a": 1}) };
    rig.store
        .change(id, &[], &change, &mut |_, _| Effects {
            touched: true,
            webhook: Some(webhook.clone()),
            ..Effects::default()
        })
        .await
        .unwrap();
    let again = rig.now + TimeDelta::seconds(30);
    let due = rig.store.claim_webhooks(rig.now, again).await.unwrap();
    assert_eq!(due.iter().map(|one| (one.id, one.sealed_url.as_str())).collect::<Vec<_>>(), [(webhook.id, "s1.url")]);
    assert!(rig.store.claim_webhooks(rig.now, again).await.unwrap().is_empty());
    rig.store.webhook_failed(webhook.id, rig.now).await.unwrap();
    assert_eq!(rig.store.claim_webhooks(rig.now, again).await.unwrap()[0].attempts, 1);
    rig.store.webhook_told(webhook.id).await.unwrap();
    assert!(rig.store.claim_webhooks(again, again).await.unwrap().is_empty());
}

/// Reports come twice, late and out of order: the latest one of the latest session counts, and what stays keeps its time.
async fn regression_the_latest_report_of_drift_counts(rig: Rig) {
    let (cluster, other): (ClusterId, ClusterId) = (rig.ids.next(), rig.ids.next());
    let agent: AgentId = rig.ids.next();
    let rig_operation: OperationId = rig.ids.next();
    let report = |agent: AgentId, (epoch, revision): (i64, i64), names: &[&str], at: DateTime<Utc>| {
        let object = |name: &&str| Drifted {
            object: DriftedObject {
                key: ObjectKey {
                    api_version: "v1".to_owned(),
                    kind: "Secret".to_owned(),
                    namespace: None,
                    name: (*name).to_owned(),
                },
                state: DriftState::Missing,
                operation_id: rig_operation,
                fields: Vec::new(),
                more_fields: 0,
            },
            since: at,
        };
        let objects: Vec<Drifted> = names.iter().map(object).collect();
        let drifted = u32::try_from(objects.len()).unwrap();
        let counts = DriftCounts { remembered: 9, drifted, ..DriftCounts::default() };
        NewDrift { cluster, agent, epoch, revision, doc: DriftDoc { counts, objects } }
    };
    let later = rig.now + TimeDelta::seconds(5);
    let change = |at: DateTime<Utc>| Change { at, ..rig.change() };
    let shown = async || {
        let (doc, at) = rig.store.find_drift(cluster).await.unwrap().unwrap();
        let objects = doc.objects.into_iter().map(|object| (object.object.key.name, object.since));
        (objects.collect::<Vec<_>>(), at)
    };
    assert!(rig.store.find_drift(cluster).await.unwrap().is_none());
    let first = report(agent, (2, 1), &["a", "b\0"], rig.now);
    assert!(rig.store.report_drift(&first, &change(rig.now)).await.unwrap());
    let second = report(agent, (2, 2), &["a", "c"], later);
    assert!(rig.store.report_drift(&second, &change(later)).await.unwrap());
    let kept = (vec![("a".to_owned(), rig.now), ("c".to_owned(), later)], later);
    assert_eq!(shown().await, kept);
    for old in [(2, 2), (2, 1), (1, 9)] {
        assert!(!rig.store.report_drift(&report(agent, old, &["x"], later), &change(later)).await.unwrap(), "{old:?}");
    }
    assert_eq!(shown().await, kept);
    assert_eq!(rig.store.count_drifted().await.unwrap(), [(cluster, 2)]);
    // A new session counts from the beginning, another agent too.
    assert!(rig.store.report_drift(&report(agent, (3, 1), &["c"], later), &change(later)).await.unwrap());
    let another = report(rig.ids.next(), (1, 1), &[], later);
    assert!(rig.store.report_drift(&another, &change(later)).await.unwrap());
    assert_eq!(shown().await.0, []);
    assert_eq!(rig.store.count_drifted().await.unwrap(), []);
    rig.store.forget_drift(other, later).await.unwrap();
    assert!(rig.store.report_drift(&report(agent, (4, 1), &["a"], later), &change(later)).await.unwrap());
    rig.store.forget_drift(cluster, later).await.unwrap();
    // What was under way then comes too late, whoever says it; also the first word of a cluster.
    for (agent, at) in [(agent, (4, 2)), (agent, (i64::MAX - 1, 1)), (rig.ids.next(), (1, 1))] {
        assert!(!rig.store.report_drift(&report(agent, at, &["a"], later), &change(later)).await.unwrap());
        assert!(rig.store.find_drift(cluster).await.unwrap().is_none());
    }
    let first = NewDrift { cluster: other, ..report(agent, (1, 1), &["a"], later) };
    assert!(!rig.store.report_drift(&first, &change(later)).await.unwrap());
    assert_eq!(rig.store.count_drifted().await.unwrap(), []);
    // Nothing of it stays; what is known of others does.
    let third: ClusterId = rig.ids.next();
    let kept = NewDrift { cluster: third, ..first };
    assert!(rig.store.report_drift(&kept, &change(later)).await.unwrap());
    rig.store.forget_drift(cluster, later).await.unwrap();
    assert_eq!(rig.store.tidy(later + TimeDelta::hours(23)).await.unwrap(), 0);
    assert_eq!(rig.store.tidy(later + TimeDelta::hours(25)).await.unwrap(), 2);
    assert!(rig.store.find_drift(third).await.unwrap().is_some());
}

macro_rules! on_both {
    ($($test:ident)+) => {
        mod sqlite_file {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::sqlite().await).await;
            })+
        }
        mod postgres_server {
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs postgres"]
            async fn $test() {
                super::$test(super::postgres().await).await;
            })+
        }
    };
}

on_both! {
    an_operation_lives
    leases_pass_on
    f14_clocks_apart
    keys_bodies_and_lists
    clusters_take_turns
    regression_no_change_overtakes_another_of_the_same_namespace
    webhooks_are_claimed
    what_is_old_goes_in_batches_with_all_that_is_its_own
    what_is_still_needed_is_not_deleted
    f14_a_clock_that_is_ahead_deletes_nothing
    replicas_delete_an_operation_once
    rollouts_go_whole_and_last
    bodies_go_when_nothing_names_them
    regression_the_latest_report_of_drift_counts
}
