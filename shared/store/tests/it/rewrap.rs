//! Sealed rows follow a new master key while they are read and written. `cargo xtask rewrap` runs it with a hundred
//! thousand rows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use roadstead_runtime::Secret;
use roadstead_runtime::config::Seal;
use roadstead_seal::source::KeyringFile;
use roadstead_seal::{Sealed, Sealer};
use roadstead_store::{Dialect as _, Migrator, Opened, Options, Result, async_trait, open, seal, sqlx};

use crate::interrupted::{PLACE, SERVICE, child, ended, mortal};

/// Rows when nobody says otherwise: three batches and a bit.
const ROWS: i64 = 3_200;
/// Rows of one transaction of the preparation.
const CHUNK: usize = 1_000;

#[async_trait]
trait Vault: Send + Sync {
    async fn make(&self) -> Result<()>;
    async fn put(&self, rows: &[(i64, String)]) -> Result<()>;
    async fn set(&self, id: i64, value: &str) -> Result<()>;
    async fn touch(&self, id: i64) -> Result<()>;
    async fn get(&self, id: i64) -> Result<String>;
    async fn count(&self, like: &str) -> Result<i64>;
}

const MAKE_SQLITE: &str =
    "CREATE TABLE strongroom (id bigint PRIMARY KEY, sealed_value text, touched bigint NOT NULL DEFAULT 0)";
// A changed row finds room in its own page: before rows that were looked at already.
const MAKE_POSTGRES: &str = "CREATE TABLE strongroom (id bigint PRIMARY KEY, sealed_value text,
    touched bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50)";

roadstead_store::for_pools! {
    impl Vault for [PgPool, SqlitePool] {
        async fn make(&self) -> Result<()> {
            sqlx::raw_sql(Self::pick(MAKE_POSTGRES, MAKE_SQLITE)).execute(self).await?;
            Ok(())
        }

        async fn put(&self, rows: &[(i64, String)]) -> Result<()> {
            let mut tx = self.begin_write().await?;
            for (id, value) in rows {
                sqlx::query("INSERT INTO strongroom (id, sealed_value) VALUES ($1, $2)")
                    .bind(*id).bind(value)
                    .execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(())
        }

        async fn set(&self, id: i64, value: &str) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query("UPDATE strongroom SET sealed_value = $2 WHERE id = $1")
                .bind(id).bind(value)
                .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn touch(&self, id: i64) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query("UPDATE strongroom SET touched = touched + 1 WHERE id = $1").bind(id).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }

        async fn get(&self, id: i64) -> Result<String> {
            Ok(sqlx::query_scalar("SELECT sealed_value FROM strongroom WHERE id = $1").bind(id).fetch_one(self).await?)
        }

        async fn count(&self, like: &str) -> Result<i64> {
            let sql = "SELECT count(*) FROM strongroom WHERE sealed_value LIKE $1";
            Ok(sqlx::query_scalar(sql).bind(like).fetch_one(self).await?)
        }
    }
}

fn text(id: i64) -> String {
    format!("credential of row {id}")
}

fn put_away(sealer: &Sealer, id: i64) -> String {
    sealer.seal("strongroom", "sealed_value", id, text(id).as_bytes()).unwrap().to_string()
}

fn check(sealer: &Sealer, id: i64, stored: &str) {
    let opened = sealer.unseal("strongroom", "sealed_value", id, &Sealed::parse(stored).unwrap()).unwrap();
    assert_eq!(opened.as_slice(), text(id).as_bytes());
}

/// Reads and writes all over the table until it is told to end: each row opens at each moment.
async fn use_rows(vault: Arc<dyn Vault>, sealer: Sealer, rows: i64, ended: Arc<AtomicBool>, used: Arc<AtomicU64>) {
    // Steps that meet every row, with the rewrap and against it.
    let (mut up, mut down) = (0, rows - 1);
    while !ended.load(Ordering::Relaxed) {
        check(&sealer, down, &vault.get(down).await.unwrap());
        vault.set(up, &put_away(&sealer, up)).await.unwrap();
        check(&sealer, up, &vault.get(up).await.unwrap());
        // Somebody who changes another column: on PostgreSQL the row lies elsewhere then, with the value that it had.
        for near in 1..7 {
            vault.touch((up + near) % rows).await.unwrap();
        }
        (up, down) = ((up + 7) % rows, (down + rows - 3) % rows);
        used.fetch_add(3, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

/// A keyring in a folder, and what opens it.
fn keyring(path: &Path) -> (KeyringFile, Sealer) {
    let ring = KeyringFile::new(path);
    ring.make_if_absent().unwrap();
    let seal = Seal { master_key: None, keyring_file: Some(path.to_owned()) };
    (ring, Sealer::open(&seal, "suite").unwrap())
}

/// Puts every row under the new master key, and dies meanwhile.
#[tokio::test]
#[ignore = "is the process that the next test kills"]
async fn f24_rewrapper() {
    let (Ok(place), Ok(keys)) = (std::env::var(PLACE), std::env::var(SERVICE)) else { return };
    let opened = open(&Secret::new(place), &Options::new("suite")).await.unwrap();
    let (_, sealer) = keyring(Path::new(&keys));
    let (opened, passed) = mortal(opened).await;
    seal::rewrap(&opened, &sealer).await.unwrap();
    println!("passed={}", passed.load(Ordering::Relaxed));
}

/// Row F24: killed in the middle, and begun anew by the next process.
#[tokio::test]
async fn f24_a_killed_rewrap_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("sqlite:{}", folder.path().display());
    let keys = folder.path().join("keys");
    let (ring, sealer) = keyring(&keys);
    let opened = crate::sqlite(&folder).await;
    Migrator::of("none").up(&opened).await.unwrap();
    let vault: Arc<dyn Vault> = roadstead_store::share!(opened => dyn Vault);
    vault.make().await.unwrap();
    seal::guard(&opened, &sealer).await.unwrap();
    let all: Vec<(i64, String)> = (0..ROWS).map(|id| (id, put_away(&sealer, id))).collect();
    vault.put(&all).await.unwrap();
    ring.rotate().unwrap();
    sealer.reload().unwrap();
    seal::guard(&opened, &sealer).await.unwrap();
    drop(vault);
    opened.close().await;

    let run = |place: &str, dies_at| ended(child("rewrap::f24_rewrapper", place, keys.to_str().unwrap(), dies_at));
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("suite.db"), copy.path().join("suite.db")).unwrap();
    let (status, whole) = run(&format!("sqlite:{}", copy.path().display()), 0);
    let whole = whole.unwrap_or_else(|| panic!("{status}"));
    let mut halves = 0;
    for kill in 1..10 {
        let (status, passed) = run(&place, whole * kill / 10);
        let opened = crate::sqlite(&folder).await;
        let vault: Arc<dyn Vault> = roadstead_store::share!(opened => dyn Vault);
        let done = vault.count("s1.2.%").await.unwrap();
        assert_eq!(vault.count("s1.1.%").await.unwrap() + done, ROWS, "{status}");
        halves += i32::from(done > 0 && done < ROWS);
        for id in (0..ROWS).step_by(97) {
            check(&sealer, id, &vault.get(id).await.unwrap());
        }
        drop(vault);
        opened.close().await;
        if passed.is_some() {
            break;
        }
    }
    assert!(halves > 1, "killed before or behind everything only");
    let opened = crate::sqlite(&folder).await;
    let done = seal::rewrap(&opened, &sealer).await.unwrap();
    assert!(done.iter().all(|counts| (counts.failed, counts.plain, counts.succeeded) == (0, 0, counts.processed)));
    let vault: Arc<dyn Vault> = roadstead_store::share!(opened => dyn Vault);
    assert_eq!((vault.count("s1.2.%").await.unwrap(), vault.count("%credential%").await.unwrap()), (ROWS, 0));
    for (id, _) in &all {
        check(&sealer, *id, &vault.get(*id).await.unwrap());
    }
}

pub async fn rows_follow_while_they_are_used(opened: Opened) {
    let rows: i64 = std::env::var("ROADSTEAD_TEST_REWRAP_ROWS").map_or(ROWS, |text| text.parse().unwrap());
    Migrator::of("none").up(&opened).await.unwrap();
    let vault: Arc<dyn Vault> = roadstead_store::share!(opened => dyn Vault);
    vault.make().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ring, sealer) = keyring(&folder.path().join("keys"));
    seal::guard(&opened, &sealer).await.unwrap();
    let all: Vec<(i64, String)> = (0..rows).map(|id| (id, put_away(&sealer, id))).collect();
    for chunk in all.chunks(CHUNK) {
        vault.put(chunk).await.unwrap();
    }
    ring.rotate().unwrap();
    sealer.reload().unwrap();
    seal::guard(&opened, &sealer).await.unwrap();

    let (ended, used) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let rewrapping = async {
        let done = seal::rewrap(&opened, &sealer).await.unwrap();
        ended.store(true, Ordering::Relaxed);
        (done, began.elapsed())
    };
    let serving = use_rows(Arc::clone(&vault), sealer.clone(), rows, Arc::clone(&ended), Arc::clone(&used));
    let ((done, took), ()) = tokio::join!(rewrapping, serving);

    let counts = done.iter().find(|counts| counts.table == "strongroom").unwrap();
    println!(
        "{}: {} processed, {} succeeded, {} failed, {} plain text in {took:.1?} ({:.0} a second), {} uses meanwhile",
        if opened.is_shared() { "postgresql" } else { "sqlite" },
        counts.processed,
        counts.succeeded,
        counts.failed,
        counts.plain,
        f64::from(u32::try_from(counts.processed).unwrap()) / took.as_secs_f64(),
        used.load(Ordering::Relaxed),
    );
    assert_eq!((counts.failed, counts.plain, counts.succeeded), (0, 0, counts.processed));
    assert!(counts.processed > 0 && counts.processed <= u64::try_from(rows).unwrap());
    assert_eq!(vault.count("s1.2.%").await.unwrap(), rows, "every row is under the new key");
    assert_eq!(vault.count("%credential%").await.unwrap(), 0, "a row is plain text");
    for (id, _) in &all {
        check(&sealer, *id, &vault.get(*id).await.unwrap());
    }
    let again = seal::rewrap(&opened, &sealer).await.unwrap();
    assert!(again.iter().all(|counts| counts.processed == 0), "{again:?}");
}
