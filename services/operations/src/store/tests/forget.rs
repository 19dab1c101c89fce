//! What is removed because its time is over.

use roadstead_contracts::audit::{AuditRecord, Origin, Outcome, Resource};
use roadstead_contracts::ids::{RolloutId, TypedId};
use roadstead_contracts::message::RolloutState;
use serde_json::{Value, json};

use super::*;
use crate::domain::{Known, RolloutDoc};
use crate::limits::{FORGET_ROWS, SWEEP_ROWS};
use crate::store::{Forgotten, Kept, RolloutEffects};

/// Kept so long.
const DAYS: i64 = 30;

impl Rig {
    fn kept(&self) -> Kept {
        Kept { at: self.now, time: TimeDelta::days(DAYS) }
    }

    fn removal(&self, id: impl TypedId) -> AuditRecord {
        let (origin, actor) = (Origin::request(""), Actor::system("retention"));
        let (resource, done) = (Resource::id("thing", id), Outcome::succeeded());
        AuditRecord::outcome(self.ids.next(), self.now, origin, actor, "thing.delete", resource, done)
    }

    /// One batch of operations.
    async fn forget(&self) -> Forgotten {
        let told = |record: &Record| self.removal(record.doc.shown.id);
        self.store.forget_operations(self.kept(), &told).await.unwrap()
    }

    async fn forget_rollouts(&self) -> Forgotten {
        let told = |doc: &RolloutDoc| self.removal(doc.id);
        self.store.forget_rollouts(self.kept(), &told).await.unwrap()
    }

    async fn is_there(&self, id: OperationId) -> bool {
        self.store.find_operation(id).await.unwrap().is_some()
    }

    /// An operation that ended so many days ago.
    async fn ended(
        &self,
        days: i64,
        shape: impl FnOnce(&mut Record),
        effects: impl Fn() -> Effects + Sync,
    ) -> OperationId {
        let mut record = self.record(self.ids.next());
        shape(&mut record);
        let id = self.make(record).await.doc.shown.id;
        let change = Change { at: self.now - TimeDelta::days(days), ..self.change() };
        let mut decide = |record: &mut Record, _: &BTreeSet<u32>| {
            let (_, step) = record.take(Input::Overdue, None, change.at);
            let mut effects = effects();
            effects.touched = true;
            effects.steps.extend(step);
            effects
        };
        self.store.change(id, &[], &change, &mut decide).await.unwrap().unwrap();
        id
    }

    async fn plain(&self, days: i64) -> OperationId {
        self.ended(days, |_| (), Effects::default).await
    }

    /// A rollout that was made a year ago; none = it has not ended.
    async fn rollout(&self, ended_days: Option<i64>, key: Option<&Key>) -> RolloutDoc {
        let doc = json!({
            "id": self.ids.next::<RolloutId>(), "name": "r", "state": "halted", "work": { "kind": "undo" }, "plan": {},
            "principal": {
                "user_id": self.user, "user_seq": 1, "username": "ada", "email": "a@example.com",
                "roles": ["operator"], "reach": { "kind": "all" }, "credential": { "kind": "queue_peer", "id": "test" },
            },
            "waves": [], "created_at": self.now, "updated_at": self.now,
        });
        let doc: RolloutDoc = serde_json::from_value(doc).unwrap();
        let change = Change { at: self.now - TimeDelta::days(365), ..self.change() };
        self.store.create_rollout(&doc, key, &[], &Value::Null, &change).await.unwrap().unwrap();
        self.end_rollout(doc.id, ended_days).await
    }

    /// Ends it so long ago, or takes it up again.
    async fn end_rollout(&self, id: RolloutId, ended_days: Option<i64>) -> RolloutDoc {
        let mut decide = |doc: &mut RolloutDoc, _: &[(OperationId, Known)]| {
            doc.state = if ended_days.is_some() { RolloutState::Failed } else { RolloutState::Halted };
            doc.finished_at = ended_days.map(|days| self.now - TimeDelta::days(days));
            RolloutEffects { touched: true, ..RolloutEffects::default() }
        };
        self.store.change_rollout(id, &self.change(), &mut decide).await.unwrap().unwrap()
    }
}

pub(super) async fn what_is_old_goes_in_batches_with_all_that_is_its_own(rig: Rig) {
    let object = || NewObject {
        position: 1,
        key: ObjectKey { api_version: "v1".to_owned(), kind: "A".to_owned(), namespace: None, name: "a".to_owned() },
        outcome: ObjectOutcome::Configured,
        undoable: true,
        existed: true,
        left_version: None,
        sealed_before: vec!["s1.a".to_owned(), "s1.b".to_owned()],
    };
    let count = usize::try_from(SWEEP_ROWS).unwrap() + 3;
    for _ in 0..count {
        rig.ended(DAYS + 1, |_| (), || Effects { objects: vec![object()], ..Effects::default() }).await;
    }
    let young = rig.plain(DAYS - 1).await;
    let waiting = rig.make(rig.record(rig.ids.next())).await.doc.shown.id;
    assert_eq!(rig.count("SELECT count(*) FROM object_parts").await, 2 * i64::try_from(count).unwrap());
    let sizes = [rig.forget().await.count, rig.forget().await.count, rig.forget().await.count];
    assert_eq!(sizes, [count - 3, 3, 0]);
    assert!(rig.is_there(young).await && rig.is_there(waiting).await);
    assert_eq!(rig.count("SELECT count(*) FROM operations").await, 2);
    assert_eq!(rig.count("SELECT count(*) FROM steps").await, 3, "two of the young one, one of what waits");
    assert_eq!(rig.count("SELECT count(*) FROM objects").await, 0);
    assert_eq!(rig.count("SELECT count(*) FROM object_parts").await, 0);
    assert_eq!(rig.count("SELECT count(*) FROM audit_outbox").await, i64::try_from(count).unwrap());

    // Those that are long go alone.
    for _ in 0..2 {
        rig.ended(DAYS + 1, |record| record.doc.shown.last_step = FORGET_ROWS, Effects::default).await;
    }
    rig.plain(DAYS + 1).await;
    let sizes = [rig.forget().await.count, rig.forget().await.count, rig.forget().await.count];
    assert_eq!(sizes.iter().sum::<usize>(), 3);
    assert!(sizes.iter().all(|size| *size < 3), "{sizes:?}");
}

/// Row F14, of what cannot be put right any more.
pub(super) async fn f14_a_clock_that_is_ahead_deletes_nothing(rig: Rig) {
    let young = rig.plain(DAYS - 1).await;
    let told = |record: &Record| rig.removal(record.doc.shown.id);
    let ahead = Kept { at: rig.now + TimeDelta::days(365), ..rig.kept() };
    let count = rig.store.forget_operations(ahead, &told).await.unwrap().count;
    // A file has one process, and nobody else who tells the time.
    assert_eq!((count == 0, rig.is_there(young).await), (rig.folder.is_none(), rig.folder.is_none()));
    let for_ever = Kept { time: TimeDelta::MAX, ..ahead };
    assert_eq!(rig.store.forget_operations(for_ever, &told).await.unwrap().count, 0);
}

pub(super) async fn what_is_still_needed_is_not_deleted(rig: Rig) {
    let settles = rig.plain(DAYS + 1).await;
    let change = rig.change();
    let mut settle = |record: &mut Record, _: &BTreeSet<u32>| {
        record.settle_at = Some(change.at);
        Effects { touched: true, ..Effects::default() }
    };
    rig.store.change(settles, &[], &change, &mut settle).await.unwrap().unwrap();
    let webhook = NewWebhook { id: rig.ids.uuid(), body: json!({"a": 1}) };
    let tells = || Effects { webhook: Some(webhook.clone()), ..Effects::default() };
    let tells = rig.ended(DAYS + 1, |record| record.sealed_webhook = Some("s1.url".to_owned()), tells).await;
    let open = rig.rollout(None, None).await.id;
    let rolls = rig.ended(DAYS + 1, |record| record.doc.shown.rollout_id = Some(open), Effects::default).await;
    assert_eq!(rig.forget().await.count, 0);
    assert!(rig.is_there(settles).await && rig.is_there(tells).await && rig.is_there(rolls).await);
    assert_eq!(rig.count("SELECT count(*) FROM audit_outbox").await, 0);

    rig.store.settled(settles).await.unwrap();
    rig.store.webhook_told(webhook.id).await.unwrap();
    // A rollout shows all of its operations until it goes itself.
    rig.end_rollout(open, Some(DAYS - 1)).await;
    assert_eq!(rig.forget().await.count, 2);
    assert!(rig.is_there(rolls).await);
    rig.end_rollout(open, Some(DAYS + 1)).await;
    assert_eq!(rig.forget().await.count, 1);
}

/// Four replicas at once, and a person who deletes by hand: each removal has one record, whoever it was.
pub(super) async fn replicas_delete_an_operation_once(rig: Rig) {
    const COUNT: usize = 150;
    let mut ids = Vec::new();
    for _ in 0..COUNT {
        ids.push(rig.plain(DAYS + 1).await);
    }
    let replica = async || {
        let mut count = 0;
        loop {
            match rig.forget().await.count {
                0 => return count,
                batch => count += batch,
            }
        }
    };
    let person = async || {
        let mut count = 0;
        for id in &ids {
            count += usize::from(rig.store.delete_operation(*id, &rig.removal(*id), &rig.change()).await.unwrap());
        }
        count
    };
    let (one, two, three, four, by_hand) = tokio::join!(replica(), replica(), replica(), replica(), person());
    // What somebody has in hand is passed over, so the last look may have come too early.
    let rest = replica().await;
    assert_eq!(one + two + three + four + by_hand + rest, COUNT);
    assert_eq!(rig.count("SELECT count(*) FROM operations").await, 0);
    assert_eq!(rig.count("SELECT count(*) FROM audit_outbox").await, i64::try_from(COUNT).unwrap());
    let subjects = rig.count("SELECT count(DISTINCT record -> 'resource' ->> 'name') FROM audit_outbox").await;
    assert_eq!(subjects, i64::try_from(COUNT).unwrap());
}

pub(super) async fn rollouts_go_whole_and_last(rig: Rig) {
    let key = |digest: &str| Key { user: rig.user, key: "rollout:k".to_owned(), digest: digest.to_owned() };
    let old = rig.rollout(Some(DAYS + 1), Some(&key("d"))).await.id;
    let ids: [RolloutId; 2] = [rig.rollout(Some(DAYS - 1), None).await.id, rig.rollout(None, None).await.id];
    let of_old = rig.ended(DAYS + 2, |record| record.doc.shown.rollout_id = Some(old), Effects::default).await;
    assert_eq!(rig.forget_rollouts().await.count, 0, "one has an operation, one is young, one has not ended");
    // Taken up again, for those that failed.
    rig.end_rollout(old, None).await;
    assert_eq!(rig.forget().await.count, 0);
    rig.end_rollout(old, Some(DAYS + 1)).await;
    assert_eq!((rig.forget().await.count, rig.is_there(of_old).await), (1, false));
    assert_eq!(rig.forget_rollouts().await.count, 1);
    assert_eq!(rig.forget_rollouts().await.count, 0);
    assert!(rig.store.find_rollout(old).await.unwrap().is_none());
    for id in ids {
        assert!(rig.store.find_rollout(id).await.unwrap().is_some());
    }
    assert_eq!(rig.count("SELECT count(*) FROM audit_outbox").await, 2);
    // Its key is free for another.
    let again = rig.rollout(Some(1), Some(&key("e"))).await.id;
    assert!(rig.store.find_rollout(again).await.unwrap().is_some());
}

pub(super) async fn bodies_go_when_nothing_names_them(rig: Rig) {
    for sha256 in ["aa", "bb", "cc"] {
        assert!(rig.store.stage(sha256, 3, &["s1.x".to_owned()], rig.now - TimeDelta::hours(2)).await.unwrap());
    }
    let with = |sha256: &str| {
        let body = Some(Body { sha256: sha256.to_owned(), length: 3 });
        move |record: &mut Record| record.doc.body = body
    };
    rig.ended(DAYS + 1, with("aa"), Effects::default).await;
    rig.ended(DAYS + 1, with("bb"), Effects::default).await;
    rig.ended(DAYS + 1, with("bb"), Effects::default).await;
    rig.ended(DAYS - 1, with("aa"), Effects::default).await;
    rig.ended(DAYS + 1, with("cc"), Effects::default).await;
    // Staged once more for somebody whose operation is still to come.
    assert!(rig.store.stage("cc", 3, &["s1.x".to_owned()], rig.now).await.unwrap());
    let forgotten = rig.forget().await;
    assert_eq!((forgotten.count, forgotten.bodies.as_slice()), (4, ["aa", "bb", "cc"].map(str::to_owned).as_slice()));
    rig.store.forget_bodies(&forgotten.bodies, rig.now).await.unwrap();
    rig.store.forget_bodies(&[], rig.now).await.unwrap();
    let there = async |sha256| rig.store.body_length(sha256).await.unwrap().is_some();
    assert_eq!([there("aa").await, there("bb").await, there("cc").await], [true, false, true]);
    assert_eq!(rig.count("SELECT count(*) FROM body_parts").await, 2);
}
