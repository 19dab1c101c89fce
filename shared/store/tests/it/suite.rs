use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeZone as _, Utc};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::{MessageId, TypedId as _, UserId};
use roadstead_runtime::{Clock as _, Ids, SystemClock, Tasks};
use roadstead_store::{Dialect as _, Error, Migrator, Opened, OutboxRelay, Result, async_trait, outbox, sqlx};
use sqlx::types::Json;
use uuid::Uuid;

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Sample {
    id: Uuid,
    name: String,
    at: DateTime<Utc>,
    labels: Json<serde_json::Value>,
    good: bool,
    note: Option<String>,
}

#[async_trait]
trait Samples: Send + Sync {
    async fn make(&self) -> Result<()>;
    async fn add(&self, sample: &Sample) -> Result<()>;
    async fn older(&self, than: DateTime<Utc>) -> Result<Vec<Sample>>;
    async fn emit(&self, event: &Event, commit: bool) -> Result<()>;
    async fn cancelled_begin(&self) -> Result<()>;
    async fn pretend_newer(&self) -> Result<()>;
    async fn pretend_changed(&self) -> Result<()>;
}

const MAKE_POSTGRES: &str =
    "CREATE TABLE samples (id uuid PRIMARY KEY, name text NOT NULL UNIQUE, at timestamptz NOT NULL,
    labels jsonb NOT NULL, good boolean NOT NULL, note text)";
const MAKE_SQLITE: &str = "CREATE TABLE samples (id BLOB NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, at TEXT NOT NULL,
    labels TEXT NOT NULL, good INTEGER NOT NULL, note TEXT) STRICT";

roadstead_store::for_pools! {
    impl Samples for [PgPool, SqlitePool] {
        async fn make(&self) -> Result<()> {
            sqlx::raw_sql(Self::pick(MAKE_POSTGRES, MAKE_SQLITE)).execute(self).await?;
            Ok(())
        }

        async fn add(&self, sample: &Sample) -> Result<()> {
            sqlx::query("INSERT INTO samples (id, name, at, labels, good, note) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(sample.id)
                .bind(&sample.name)
                .bind(sample.at)
                .bind(&sample.labels)
                .bind(sample.good)
                .bind(&sample.note)
                .execute(self)
                .await?;
            Ok(())
        }

        async fn older(&self, than: DateTime<Utc>) -> Result<Vec<Sample>> {
            Ok(sqlx::query_as("SELECT * FROM samples WHERE at < $1 ORDER BY at").bind(than).fetch_all(self).await?)
        }

        async fn emit(&self, event: &Event, commit: bool) -> Result<()> {
            let mut tx = self.begin_write().await?;
            outbox::push(&mut tx, event).await?;
            if commit {
                tx.commit().await?;
            }
            Ok(())
        }

        async fn cancelled_begin(&self) -> Result<()> {
            for _ in 0..50 {
                let begin = self.begin_write();
                tokio::select! {
                    biased;
                    begun = begin => drop(begun?),
                    () = tokio::task::yield_now() => {}
                }
            }
            Ok(())
        }

        async fn pretend_newer(&self) -> Result<()> {
            sqlx::query("INSERT INTO schema_migrations (version, name, checksum) VALUES (999999, 'later', 'x')")
                .execute(self)
                .await?;
            Ok(())
        }

        async fn pretend_changed(&self) -> Result<()> {
            sqlx::query("UPDATE schema_migrations SET checksum = 'x' WHERE version = 1").execute(self).await?;
            Ok(())
        }
    }
}

fn samples(opened: &Opened) -> Arc<dyn Samples> {
    roadstead_store::share!(*opened => dyn Samples)
}

fn sample(number: u32, at: DateTime<Utc>) -> Sample {
    Sample {
        id: Uuid::from_u128(u128::from(number)),
        name: format!("name-{number}"),
        at,
        labels: Json(serde_json::json!({"key": number})),
        good: number.is_multiple_of(2),
        note: (number > 1).then(|| "note".to_owned()),
    }
}

fn event() -> Event {
    let ids = Ids::system(SystemClock::shared());
    Event {
        id: ids.next::<MessageId>(),
        at: SystemClock.now(),
        fact: Fact::UserCreated { user_id: UserId::from_uuid(Uuid::nil()) },
    }
}

pub async fn migrations_go_up_and_down(opened: Opened) {
    // The service with the longest history is as good as any.
    let migrator = Migrator::of("onboarding");
    let steps = migrator.up(&opened).await.unwrap();
    assert!(steps > 0);
    assert_eq!(migrator.up(&opened).await.unwrap(), 0);
    assert!(migrator.status(&opened).await.unwrap().iter().all(|state| state.applied_at.is_some()));
    assert_eq!(migrator.down(&opened, steps + 1).await.unwrap(), steps);
    assert!(migrator.status(&opened).await.unwrap().iter().all(|state| state.applied_at.is_none()));
    assert_eq!(migrator.up(&opened).await.unwrap(), steps);
}

pub async fn two_starters_take_turns(opened: Opened) {
    let migrator = Migrator::of("onboarding");
    let (one, two, three) = tokio::join!(migrator.up(&opened), migrator.up(&opened), migrator.up(&opened));
    let steps = migrator.status(&opened).await.unwrap().len();
    assert_eq!(one.unwrap() + two.unwrap() + three.unwrap(), steps);
}

pub async fn a_newer_schema_is_refused(opened: Opened) {
    let migrator = Migrator::of("onboarding");
    migrator.up(&opened).await.unwrap();
    opened.writable().await.unwrap();
    samples(&opened).pretend_newer().await.unwrap();
    let fault = migrator.up(&opened).await.unwrap_err();
    assert!(fault.to_string().contains("999999"), "{fault}");
}

/// Row C02.
pub async fn a_changed_step_is_refused(opened: Opened) {
    let migrator = Migrator::of("onboarding");
    migrator.up(&opened).await.unwrap();
    samples(&opened).pretend_changed().await.unwrap();
    let fault = migrator.up(&opened).await.unwrap_err();
    assert!(fault.to_string().contains("000001") && fault.to_string().contains("another content"), "{fault}");
}

pub async fn native_types_come_back(opened: Opened) {
    let store = samples(&opened);
    store.make().await.unwrap();
    let base = Utc.timestamp_opt(1_700_000_000, 0).unwrap();
    // Whole seconds, milliseconds and microseconds sort by time on both.
    let times = [base, base + chrono::TimeDelta::microseconds(1), base + chrono::TimeDelta::milliseconds(500)];
    let rows: Vec<Sample> = (1..).zip(times).map(|(number, at)| sample(number, at)).collect();
    for row in rows.iter().rev() {
        store.add(row).await.unwrap();
    }
    assert_eq!(store.older(base + chrono::TimeDelta::seconds(1)).await.unwrap(), rows);
    assert_eq!(store.older(base + chrono::TimeDelta::milliseconds(500)).await.unwrap(), rows[..2]);
}

pub async fn unique_rules_have_the_same_name(opened: Opened) {
    let store = samples(&opened);
    store.make().await.unwrap();
    store.add(&sample(1, SystemClock.now())).await.unwrap();
    let mut second = sample(2, SystemClock.now());
    "name-1".clone_into(&mut second.name);
    let fault = store.add(&second).await.unwrap_err();
    assert!(fault.is_conflict("samples_name_key"), "{fault:?}");
}

pub async fn a_cancelled_begin_leaves_nothing_open(opened: Opened) {
    let store = samples(&opened);
    store.make().await.unwrap();
    store.cancelled_begin().await.unwrap();
    // A transaction left open would swallow the row, or hold SQLite's lock.
    store.add(&sample(1, SystemClock.now())).await.unwrap();
    let seen = store.older(SystemClock.now() + chrono::TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(seen.len(), 1);
}

pub async fn events_leave_once_committed(opened: Opened) {
    Migrator::of("onboarding").up(&opened).await.unwrap();
    let store = samples(&opened);
    let (tasks, relay) = (Tasks::new(), OutboxRelay::new(opened.clone(), SystemClock::shared()));
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    relay.start(&tasks, move |event: Event| {
        let sender = sender.clone();
        async move { sender.send(event).map_err(|_| "gone") }
    });
    let (kept, dropped) = (event(), event());
    store.emit(&dropped, false).await.unwrap();
    store.emit(&kept, true).await.unwrap();
    relay.nudge();
    assert_eq!(receiver.recv().await.unwrap(), kept);
    tasks.finish(Duration::from_secs(5)).await;
    assert!(receiver.recv().await.is_none());
    assert_eq!(relay.backlog().await.unwrap().0, 0);
}

pub async fn events_wait_for_the_broker(opened: Opened) {
    Migrator::of("onboarding").up(&opened).await.unwrap();
    let store = samples(&opened);
    for _ in 0..300 {
        store.emit(&event(), true).await.unwrap();
    }
    let tasks = Tasks::new();
    let relay = OutboxRelay::new(opened.clone(), SystemClock::shared());
    let (tries, sent) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (counted, done) = (Arc::clone(&tries), Arc::clone(&sent));
    relay.start(&tasks, move |_: Event| {
        let (tries, sent) = (Arc::clone(&counted), Arc::clone(&done));
        async move {
            if tries.fetch_add(1, Ordering::SeqCst) < 10 {
                return Err("away");
            }
            sent.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while relay.backlog().await.unwrap().0 > 0 {
        assert!(tokio::time::Instant::now() < deadline, "the outbox does not empty");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sent.load(Ordering::SeqCst), 300);
    let fault: Error = sqlx::Error::PoolTimedOut.into();
    assert!(matches!(fault, Error::Unavailable(_)));
    tasks.finish(Duration::from_secs(5)).await;
}
