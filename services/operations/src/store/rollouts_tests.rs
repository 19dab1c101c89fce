//! What is seen of rollouts, on both databases.

use std::sync::Arc;

use chrono::TimeDelta;
use roadstead_contracts::ids::{ClusterId, UserId};
use roadstead_contracts::message::PageRequest;
use roadstead_runtime::{Clock as _, Ids, Secret, SystemClock};
use roadstead_store::{Opened, Options, open};
use serde_json::json;

use super::*;
use crate::domain::{Doc, Lease, Record};
use crate::store::{NewOperation, RolloutEffects, Store};

struct Rig {
    store: Arc<dyn Store>,
    opened: Opened,
    ids: Ids,
    now: DateTime<Utc>,
    _folder: Option<tempfile::TempDir>,
}

impl Rig {
    async fn of(opened: Opened, folder: Option<tempfile::TempDir>) -> Self {
        let migrator = roadstead_store::migrations!("operations");
        migrator.up(&opened).await.unwrap();
        // The last steps go down and up again.
        migrator.down(&opened, 2).await.unwrap();
        migrator.up(&opened).await.unwrap();
        let kept = opened.clone();
        let store: Arc<dyn Store> = roadstead_store::share!(opened => dyn Store);
        Self { store, opened: kept, ids: Ids::system(SystemClock::shared()), now: SystemClock.now(), _folder: folder }
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = Secret::new(format!("sqlite:{}", folder.path().display()));
        Self::of(open(&url, &Options::new("operations")).await.unwrap(), Some(folder)).await
    }

    async fn postgres() -> Self {
        use roadstead_store::sqlx::{AssertSqlSafe, PgPool, raw_sql};
        let base = std::env::var("ROADSTEAD_TEST_POSTGRES_URL").expect("ROADSTEAD_TEST_POSTGRES_URL");
        let name = format!("rollouts_{}", Ids::system(SystemClock::shared()).uuid().simple());
        let pool = PgPool::connect(&base).await.unwrap();
        raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.unwrap();
        let (server, _) = base.rsplit_once('/').unwrap();
        let url = Secret::new(format!("{server}/{name}"));
        Self::of(open(&url, &Options::new("operations")).await.unwrap(), None).await
    }

    fn change(&self) -> Change {
        Change { message: None, at: self.now, ids: self.ids.clone() }
    }

    async fn rollout(&self, clusters: &[(ClusterId, Option<UserId>)]) -> RolloutDoc {
        let target = |(cluster, owner): &(ClusterId, Option<UserId>)| json!({ "cluster_id": cluster, "cluster_name": "alpha", "owner": owner });
        let targets: Vec<Value> = clusters.iter().map(target).collect();
        // In two waves: the second counts as the first does.
        let (first, second) = targets.split_at(1);
        let doc = json!({
            "id": self.ids.next::<RolloutId>(), "name": "r", "state": "running",
            "work": { "kind": "undo" }, "plan": {},
            "principal": {
                "user_id": self.ids.next::<UserId>(), "user_seq": 1, "username": "ada", "email": "a@example.com",
                "roles": ["operator"], "reach": { "kind": "all" },
                "credential": { "kind": "queue_peer", "id": "test" },
            },
            "waves": [{ "targets": first }, { "targets": second }],
            "created_at": self.now, "updated_at": self.now,
        });
        let doc: RolloutDoc = serde_json::from_value(doc).unwrap();
        self.store.create_rollout(&doc, None, &[], &Value::Null, &self.change()).await.unwrap().unwrap()
    }

    /// An operation that waits in a cluster, for this reason.
    fn waiting(&self, cluster: ClusterId, rollout: Option<RolloutId>, reason: &str) -> NewOperation {
        let shown = json!({
            "id": self.ids.next::<OperationId>(), "seq": 0, "cluster_id": cluster, "cluster_name": "alpha",
            "kind": "undo", "state": "queued", "reason": reason, "work": { "kind": "undo" }, "source": "test",
            "description": "", "created_by": self.ids.next::<UserId>(), "created_by_name": "ada", "epoch": 0,
            "priority": 5, "objects": 0, "counts": roadstead_contracts::operation::Counts::default(), "error": null,
            "exit_code": null, "rollout_id": rollout, "origin_id": null, "undoable": false, "last_step": 1,
            "deadline": self.now + TimeDelta::hours(1), "started_at": null, "finished_at": null,
            "created_at": self.now, "updated_at": self.now,
        });
        let doc = json!({ "shown": shown, "actor": roadstead_contracts::audit::Actor::system("test") });
        let doc: Doc = serde_json::from_value(doc).unwrap();
        let record =
            Record { doc, lease: Lease::default(), next_try_at: self.now, sealed_webhook: None, settle_at: None };
        NewOperation { record, key: None, audit: Vec::new() }
    }
}

async fn seen_by_whoever_sees_every_cluster(rig: Rig) {
    let (one, two): (ClusterId, ClusterId) = (rig.ids.next(), rig.ids.next());
    let owner: UserId = rig.ids.next();
    let both = rig.rollout(&[(one, Some(owner)), (two, None)]).await.id;
    let owned = rig.rollout(&[(one, Some(owner))]).await.id;
    let hex = |clusters: &[ClusterId]| clusters.iter().map(|id| id.uuid().simple().to_string()).collect::<Vec<_>>();
    let view = |all, owner, granted: &[ClusterId], within: Option<&[ClusterId]>| View {
        all,
        owner,
        granted: hex(granted),
        bound: within.is_some(),
        within: within.map(hex).unwrap_or_default(),
    };
    let stranger = rig.ids.next();
    for (view, expected) in [
        (view(true, stranger, &[], None), vec![owned, both]),
        (view(false, stranger, &[], None), vec![]),
        (view(false, stranger, &[two], None), vec![]),
        (view(false, stranger, &[one], None), vec![owned]),
        (view(false, stranger, &[one, two], None), vec![owned, both]),
        (view(false, owner, &[], None), vec![owned]),
        (view(false, owner, &[two], None), vec![owned, both]),
        (view(true, stranger, &[], Some(&[one])), vec![owned]),
        (view(true, stranger, &[], Some(&[])), vec![]),
        (view(false, owner, &[two], Some(&[one])), vec![owned]),
    ] {
        let window = |limit, offset| Window::of(&PageRequest { limit, offset, cursor: None }).unwrap();
        let (found, total) = rig.store.list_rollouts(&view, window(10, 0)).await.unwrap();
        assert_eq!(found.iter().map(|(_, doc, _)| doc.id).collect::<Vec<_>>(), expected, "{view:?}");
        assert_eq!(total, expected.len() as u64);
        let (second, _) = rig.store.list_rollouts(&view, window(10, 1)).await.unwrap();
        assert_eq!(second.len(), expected.len().saturating_sub(1));
    }
}

async fn known_to_wait_for_an_agent(rig: Rig) {
    let (one, two): (ClusterId, ClusterId) = (rig.ids.next(), rig.ids.next());
    let doc = rig.rollout(&[(one, None), (two, None)]).await;
    // Of the first cluster something else was tried, of the second nothing.
    rig.store.create_operation(&rig.waiting(one, None, AWAY), &rig.change()).await.unwrap();
    let (first, second) = (rig.waiting(one, Some(doc.id), ""), rig.waiting(two, Some(doc.id), ""));
    let ids = [first.record.doc.shown.id, second.record.doc.shown.id];
    rig.store
        .change_rollout(doc.id, &rig.change(), &mut |_, _| RolloutEffects {
            touched: true,
            create: vec![first.clone(), second.clone()],
            ..RolloutEffects::default()
        })
        .await
        .unwrap();
    let (_, known) = rig.store.find_rollout(doc.id).await.unwrap().unwrap();
    let away = |id| known.iter().find(|(known, _)| *known == id).unwrap().1.away_since.is_some();
    assert_eq!((away(ids[0]), away(ids[1])), (true, false), "{known:?}");
}

/// Rows of before, in which a body with patches was never marked and a cancelled rollout was not looked at any more.
async fn rows_of_before(rig: Rig) {
    let doc = rig.rollout(&[(rig.ids.next(), None)]).await;
    rig.store.stage("ab", 1, &["s".to_owned()], rig.now).await.unwrap();
    rig.store.stage("cd", 1, &["s".to_owned()], rig.now).await.unwrap();
    let mut new = rig.waiting(rig.ids.next(), Some(doc.id), "");
    new.record.doc.body = Some(crate::domain::Body { sha256: "ab".to_owned(), length: 1 });
    rig.store.create_operation(&new, &rig.change()).await.unwrap();
    let run = async |sql: &'static str| match &rig.opened {
        Opened::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
        Opened::Sqlite(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
    };
    run("UPDATE bodies SET claimed = (1 = 0); UPDATE rollouts SET state = 'cancelled', next_at = NULL").await;
    run(match &rig.opened {
        Opened::Postgres(_) => {
            include_str!("../../../../migrations/postgres/operations/000004_claimed_patched_bodies.up.sql")
        }
        Opened::Sqlite(_) => {
            include_str!("../../../../migrations/sqlite/operations/000004_claimed_patched_bodies.up.sql")
        }
    })
    .await;
    let waiting: i64 = match &rig.opened {
        Opened::Postgres(pool) => {
            sqlx::query_scalar("SELECT count(*) FROM bodies WHERE NOT claimed").fetch_one(pool).await.unwrap()
        }
        Opened::Sqlite(pool) => {
            sqlx::query_scalar("SELECT count(*) FROM bodies WHERE claimed = 0").fetch_one(pool).await.unwrap()
        }
    };
    assert_eq!(waiting, 1, "the one that nothing names");
    assert_eq!(rig.store.due_rollouts(rig.now + TimeDelta::seconds(1)).await.unwrap(), [doc.id]);
}

/// A plan that was stored with what its patches say is found until that is sealed, and what is sealed stays.
async fn plans_in_the_clear_are_found_and_sealed(rig: Rig) {
    let plain = rig.rollout(&[(rig.ids.next(), None)]).await;
    let object = json!({ "api_version": "v1", "kind": "ConfigMap", "name": "a" });
    let patch = |cluster: &str| json!({ "cluster": cluster, "object": object, "patch": { "data": { "k": cluster } } });
    let plan: crate::domain::Plan = serde_json::from_value(json!({ "overrides": [patch("a"), patch("b")] })).unwrap();
    let doc = RolloutDoc { id: rig.ids.next(), plan, ..plain };
    rig.store.create_rollout(&doc, None, &[], &Value::Null, &rig.change()).await.unwrap().unwrap();
    assert_eq!(rig.store.unsealed_rollouts().await.unwrap(), [doc.id]);
    let found = async || rig.store.find_rollout(doc.id).await.unwrap().unwrap().0;
    assert_eq!(found().await, doc, "as it was stored");

    assert!(!rig.store.seal_rollout(doc.id, &mut |_| false).await.unwrap());
    assert!(!rig.store.seal_rollout(rig.ids.next(), &mut |_| panic!("there is none")).await.unwrap());
    assert_eq!(rig.store.unsealed_rollouts().await.unwrap(), [doc.id]);
    let mut seal = |doc: &mut RolloutDoc| {
        doc.plan = doc.plan.clone().without_patches();
        doc.sealed_overrides = Some("s1.sealed".to_owned());
        true
    };
    assert!(rig.store.seal_rollout(doc.id, &mut seal).await.unwrap());
    assert_eq!(rig.store.unsealed_rollouts().await.unwrap(), []);
    let mut touch = |_: &mut RolloutDoc, _: &[(OperationId, Known)]| RolloutEffects {
        touched: true,
        next_at: Some(rig.now),
        ..RolloutEffects::default()
    };
    rig.store.change_rollout(doc.id, &rig.change(), &mut touch).await.unwrap().unwrap();
    let sealed = found().await;
    assert_eq!((sealed.sealed_overrides.as_deref(), sealed.plan.clear_patches()), (Some("s1.sealed"), None));
    assert_eq!(sealed.plan.shown(), doc.plan.shown());
}

macro_rules! on_both {
    ($($name:ident => $sqlite:ident, $postgres:ident;)*) => {$(
        #[tokio::test]
        async fn $sqlite() {
            $name(Rig::sqlite().await).await;
        }

        #[tokio::test]
        #[ignore = "needs postgres"]
        async fn $postgres() {
            $name(Rig::postgres().await).await;
        }
    )*};
}

on_both! {
    seen_by_whoever_sees_every_cluster => seen_sqlite, seen_postgres;
    known_to_wait_for_an_agent => away_sqlite, away_postgres;
    plans_in_the_clear_are_found_and_sealed => plans_in_the_clear_sqlite, plans_in_the_clear_postgres;
    rows_of_before => regression_rows_of_before_sqlite, regression_rows_of_before_postgres;
}
