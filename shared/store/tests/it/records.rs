//! Records of the audit trail leave a service once they are committed, and sealed columns follow the master key.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roadstead_contracts::audit::{Actor, AuditRecord, Credential, Origin, RECORD_MAX, Resource};
use roadstead_contracts::{Code, Error as Shown};
use roadstead_runtime::config::Seal;
use roadstead_runtime::{Clock as _, Ids, SystemClock, Tasks};
use roadstead_seal::source::KeyringFile;
use roadstead_seal::{Sealed, Sealer};
use roadstead_store::audit::{self, Deed, Trail};
use roadstead_store::{Dialect as _, Error, Migrator, Opened, Result, async_trait, seal, sqlx};

#[async_trait]
trait Deeds: Send + Sync {
    async fn write(&self, record: &AuditRecord, commit: bool) -> Result<()>;
    async fn make_vault(&self) -> Result<()>;
    async fn put(&self, rows: &[(i64, String)]) -> Result<()>;
    async fn all(&self) -> Result<Vec<(i64, String)>>;
}

roadstead_store::for_pools! {
    impl Deeds for [PgPool, SqlitePool] {
        async fn write(&self, record: &AuditRecord, commit: bool) -> Result<()> {
            let mut tx = self.begin_write().await?;
            audit::write(&mut tx, record).await?;
            if commit {
                tx.commit().await?;
            }
            Ok(())
        }

        async fn make_vault(&self) -> Result<()> {
            sqlx::raw_sql("CREATE TABLE vault (id bigint PRIMARY KEY, sealed_value text)").execute(self).await?;
            Ok(())
        }

        async fn put(&self, rows: &[(i64, String)]) -> Result<()> {
            let mut tx = self.begin_write().await?;
            for (id, value) in rows {
                sqlx::query("INSERT INTO vault (id, sealed_value) VALUES ($1, $2)")
                    .bind(*id).bind(value)
                    .execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(())
        }

        async fn all(&self) -> Result<Vec<(i64, String)>> {
            Ok(sqlx::query_as("SELECT id, sealed_value FROM vault ORDER BY id").fetch_all(self).await?)
        }
    }
}

fn deeds(opened: &Opened) -> Arc<dyn Deeds> {
    roadstead_store::share!(opened => dyn Deeds)
}

fn record(ids: &Ids, action: &str) -> AuditRecord {
    let now = SystemClock.now();
    AuditRecord::intent(ids.next(), now, Origin::request("r"), Actor::system("test"), action, Resource::kind("test"))
}

async fn eventually(mut check: impl FnMut() -> bool) {
    for _ in 0..400 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not become so");
}

pub async fn records_leave_once_committed_and_wait_for_the_other_side(opened: Opened) {
    Migrator::of("none").up(&opened).await.unwrap();
    let store = deeds(&opened);
    let ids = Ids::system(SystemClock::shared());
    let trail = Trail::new(opened.clone(), SystemClock::shared(), ids.clone());
    let tasks = Tasks::new();
    let (seen, away) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let (seen_there, away_there) = (Arc::clone(&seen), Arc::clone(&away));
    trail.start(&tasks, move |records| {
        let (seen, away) = (Arc::clone(&seen_there), Arc::clone(&away_there));
        async move {
            if away.load(Ordering::Relaxed) {
                return Err("away");
            }
            seen.lock().unwrap().extend(records.into_iter().map(|record: AuditRecord| record.action.to_string()));
            Ok(())
        }
    });
    store.write(&record(&ids, "first"), true).await.unwrap();
    store.write(&record(&ids, "rolled.back"), false).await.unwrap();
    assert_eq!(trail.relay().backlog().await.unwrap().0, 1);
    away.store(false, Ordering::Relaxed);
    let deed = |action: &str| Deed {
        origin: Origin::request("r"),
        actor: Actor::anonymous(),
        action: action.to_owned(),
        resource: Resource::kind("test"),
    };
    let mut long = record(&ids, "too.long");
    long.actor.credential = Some(Credential { kind: "x".repeat(RECORD_MAX).into(), id: None });
    let fault = store.write(&long, true).await.unwrap_err();
    assert!(matches!(fault, Error::TooLong(bytes) if bytes > RECORD_MAX), "{fault}");
    assert_eq!(trail.write(&long).await.unwrap_err().code, Code::AuditUnavailable);
    trail.around(deed("second"), async { Ok(()) }).await.unwrap();
    let refused = trail.after(deed("third"), async { Err::<(), _>(Shown::of(Code::Forbidden)) }).await;
    assert_eq!(refused.unwrap_err().code, Code::Forbidden);
    eventually(|| seen.lock().unwrap().len() >= 4).await;
    assert_eq!(*seen.lock().unwrap(), ["first", "second", "second", "third"]);
    tasks.finish(Duration::from_secs(5)).await;
    assert_eq!(trail.relay().backlog().await.unwrap().0, 0);
    opened.close().await;
    let nothing = trail.around(deed("fourth"), async {
        seen.lock().unwrap().clear();
        Ok(())
    });
    let nothing = nothing.await;
    assert_eq!(nothing.unwrap_err().code, Code::AuditUnavailable);
    assert_eq!(seen.lock().unwrap().len(), 4, "what cannot be recorded is not done");
}

/// Rows of the rewrap: one batch and a bit.
const ROWS: i64 = 1_200;

pub async fn a_wrong_key_is_refused_and_rows_follow_the_right_one(opened: Opened) {
    Migrator::of("none").up(&opened).await.unwrap();
    let store = deeds(&opened);
    store.make_vault().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let ring = KeyringFile::new(&path);
    ring.make_if_absent().unwrap();
    let settings = Seal { master_key: None, keyring_file: Some(path.clone()) };
    let sealer = Sealer::open(&settings, "suite").unwrap();
    seal::guard(&opened, &sealer).await.unwrap();
    seal::guard(&opened, &sealer).await.unwrap();
    let other = Sealer::ephemeral("suite").unwrap();
    let fault = seal::guard(&opened, &other).await.unwrap_err();
    assert!(matches!(&fault, Error::Sealed(text) if text.contains("master key 1 is not the one")), "{fault}");

    let place = |row: i64| ("vault", "sealed_value", row);
    let rows: Vec<(i64, String)> = (0..ROWS)
        .map(|row| {
            let (table, column, row) = place(row);
            (row, sealer.seal(table, column, row, format!("secret {row}").as_bytes()).unwrap().to_string())
        })
        .collect();
    store.put(&rows).await.unwrap();
    ring.rotate().unwrap();
    sealer.reload().unwrap();
    seal::guard(&opened, &sealer).await.unwrap();
    let done = seal::rewrap(&opened, &sealer).await.unwrap();
    let [counts] = done.as_slice() else { panic!("{done:?}") };
    let whole = u64::try_from(ROWS).unwrap();
    assert_eq!((counts.processed, counts.succeeded, counts.failed, counts.plain), (whole, whole, 0, 0));
    assert_eq!(seal::rewrap(&opened, &sealer).await.unwrap()[0].processed, 0, "again there is nothing to do");

    // The old key may go now: nothing is under it, and the database does not ask for it.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.lines().filter(|line| !line.starts_with("1:")).collect::<Vec<_>>().join("\n")).unwrap();
    let sealer = Sealer::open(&settings, "suite").unwrap();
    seal::guard(&opened, &sealer).await.unwrap();
    for (row, text) in store.all().await.unwrap() {
        let opened = sealer.unseal("vault", "sealed_value", row, &Sealed::parse(&text).unwrap()).unwrap();
        assert_eq!(opened.as_slice(), format!("secret {row}").as_bytes());
    }
    // Plain text and what does not open are counted, never passed over.
    let foreign = other.seal("vault", "sealed_value", ROWS, b"x").unwrap().to_string();
    store.put(&[(ROWS, foreign), (ROWS + 1, "plain".to_owned())]).await.unwrap();
    let counts = seal::rewrap(&opened, &sealer).await.unwrap().remove(0);
    assert_eq!((counts.processed, counts.succeeded, counts.failed, counts.plain), (1, 0, 1, 1));
}
