//! What goes wrong beside the database: clocks that are apart, a disk that is full.

use super::*;

/// Row F14: replicas whose clocks are apart, and a clock that is put back.
pub(super) async fn f14_clocks_apart(rig: Rig) {
    let cluster: ClusterId = rig.ids.next();
    let ahead = rig.now + TimeDelta::minutes(5);
    // Made before the clock was put back.
    let mut record = rig.record(cluster);
    record.next_try_at = rig.now + TimeDelta::hours(1);
    record.doc.shown.deadline += TimeDelta::hours(2);
    let id = rig.make(record).await.doc.shown.id;
    let holder: ReplicaId = rig.ids.next();
    let at = |at| Claim { at, ..rig.claim(holder) };
    let claimed = rig.store.claim(&at(rig.now)).await.unwrap();
    assert_eq!(claimed.len(), 1);
    // By a replica whose clock is ahead: where the database tells the time, it is laid aside as long as for anybody.
    rig.store.rest(id, claimed[0].lease.token, ahead, REST_MAX).await.unwrap();
    if rig.folder.is_none() {
        assert!(rig.store.claim(&at(ahead)).await.unwrap().is_empty());
        rig.store.wake(cluster, rig.now - TimeDelta::minutes(5)).await.unwrap();
    }
    assert_eq!(rig.store.claim(&at(rig.now)).await.unwrap().len(), 1);
    // A lease of a time that is to come again.
    rig.store.renew(holder, &[id], rig.now + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(rig.store.claim(&at(rig.now)).await.unwrap().len(), usize::from(rig.folder.is_some()));
}

/// Row F15: what does not fit any more is refused whole, and goes on once there is room.
#[tokio::test]
async fn f15_a_full_disk_is_said_and_leaves_nothing_half_done() {
    use roadstead_store::sqlx::{AssertSqlSafe, query_scalar};
    let folder = tempfile::tempdir().unwrap();
    let url = Secret::new(format!("sqlite:{}", folder.path().display()));
    // The limit below holds for one connection.
    let opened = open(&url, &Options { max_connections: 1, ..Options::new("operations") }).await.unwrap();
    let Opened::Sqlite(pool) = opened.clone() else { panic!() };
    let rig = Rig::of(opened, Some(folder)).await;
    let cluster: ClusterId = rig.ids.next();
    rig.make(rig.record(cluster)).await;
    let limit = |pages: i64| {
        let pool = pool.clone();
        async move {
            let statement = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            query_scalar::<_, i64>(statement).fetch_one(&pool).await.unwrap()
        }
    };
    // SQLite makes it as small as the file is.
    limit(1).await;
    let large = |rig: &Rig| {
        let mut record = rig.record(cluster);
        record.doc.shown.description = "x".repeat(64 * 1024);
        NewOperation { record, key: None, audit: Vec::new() }
    };
    let mut made = 1;
    let refused = loop {
        match rig.store.create_operation(&large(&rig), &rig.change()).await {
            Ok(_) => made += 1,
            Err(fault) => break fault,
        }
        assert!(made < 1_000, "the disk is never full");
    };
    assert_eq!(roadstead_contracts::Error::from(refused).code, roadstead_contracts::Code::StorageUnavailable);
    let rows: i64 = query_scalar("SELECT count(*) FROM operations").fetch_one(&pool).await.unwrap();
    let steps: i64 = query_scalar("SELECT count(*) FROM steps").fetch_one(&pool).await.unwrap();
    let events: i64 = query_scalar("SELECT count(*) FROM outbox").fetch_one(&pool).await.unwrap();
    assert_eq!((rows, steps, events), (made, made, made));
    limit(1_000_000).await;
    assert!(matches!(rig.store.create_operation(&large(&rig), &rig.change()).await.unwrap(), Created::New(_)));
}

/// What happens while a replica waits for its turn to claim is of the time at which its turn comes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs postgres"]
async fn regression_a_long_wait_for_the_turn_claims_no_lease_away() {
    use roadstead_store::sqlx::{query, query_scalar};

    use crate::limits::LEASE;
    let opened = postgres_database().await;
    let Opened::Postgres(pool) = opened.clone() else { panic!() };
    let rig = Rig::of(opened, None).await;
    rig.make(rig.record(rig.ids.next())).await;
    assert_eq!(rig.store.claim(&rig.claim(rig.ids.next())).await.unwrap().len(), 1);
    let waits = rig.make(rig.record(rig.ids.next())).await.doc.shown.id;
    let mut turn = pool.begin().await.unwrap();
    query("SELECT pg_advisory_xact_lock(6077135413213)").execute(&mut *turn).await.unwrap();
    let claim = rig.claim(rig.ids.next());
    let meanwhile = async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        // Less than two leases from now, and more from when the wait began.
        let reaching = "UPDATE operations SET lease_until = clock_timestamp() + interval '21 seconds'
            WHERE lease_until IS NOT NULL";
        query(reaching).execute(&pool).await.unwrap();
        let now: DateTime<Utc> = query_scalar("SELECT clock_timestamp()").fetch_one(&pool).await.unwrap();
        turn.commit().await.unwrap();
        now
    };
    let (claimed, now) = tokio::join!(rig.store.claim(&claim), meanwhile);
    let claimed = claimed.unwrap();
    assert_eq!(claimed.iter().map(|record| record.doc.shown.id).collect::<Vec<_>>(), [waits]);
    assert!(claimed[0].lease.until.unwrap() >= now + TimeDelta::from_std(LEASE).unwrap(), "it lasts from then on");
}
