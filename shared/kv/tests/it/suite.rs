use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use roadstead_kv::{KEY_MAX, Kv, Quota, VALUE_MAX};

/// A key that no other run has used.
fn key(name: &str) -> String {
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("suite:{name}:{number:x}")
}

pub async fn values_come_back_and_go(kv: Arc<dyn Kv>) {
    let key = key("value");
    kv.ping().await.unwrap();
    assert_eq!(kv.get(&key).await.unwrap(), None);
    kv.set(&key, &[0, 255, 13, 10], None).await.unwrap();
    assert_eq!(kv.get(&key).await.unwrap(), Some(vec![0, 255, 13, 10]));
    kv.set(&key, b"other", Some(Duration::from_secs(60))).await.unwrap();
    assert_eq!(kv.get(&key).await.unwrap(), Some(b"other".to_vec()));
    assert!(kv.delete(&key).await.unwrap());
    assert!(!kv.delete(&key).await.unwrap());
    assert_eq!(kv.get(&key).await.unwrap(), None);
}

pub async fn only_one_sets_what_is_absent(kv: Arc<dyn Kv>) {
    let key = key("absent");
    let tries = (0..20).map(|number: u8| {
        let (kv, key) = (Arc::clone(&kv), key.clone());
        tokio::task::unconstrained(async move {
            kv.set_if_absent(&key, &[number], Some(Duration::from_secs(60))).await.unwrap()
        })
    });
    let mut won = 0;
    for tried in tries {
        won += u32::from(tried.await);
    }
    assert_eq!(won, 1);
    kv.delete(&key).await.unwrap();
}

pub async fn values_expire(kv: Arc<dyn Kv>) {
    let key = key("expiry");
    kv.set(&key, b"short", Some(Duration::from_millis(30))).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while kv.get(&key).await.unwrap().is_some() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(kv.set_if_absent(&key, b"again", Some(Duration::from_millis(30))).await.unwrap());
}

pub async fn a_quota_is_shared_and_refills(kv: Arc<dyn Kv>) {
    let key = key("quota");
    // One each hour: the clock plays no part while the burst is taken.
    let slow = Quota { per: Duration::from_secs(36_000), limit: 10, burst: 10 };
    let mut joined = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (kv, key) = (Arc::clone(&kv), key.clone());
        joined.spawn(async move { kv.take(&key, slow, 1).await.unwrap() });
    }
    let all = joined.join_all().await;
    assert_eq!(all.iter().filter(|taken| taken.allowed).count(), 10);
    let refused = kv.take(&key, slow, 1).await.unwrap();
    assert_eq!((refused.allowed, refused.remaining, refused.limit), (false, 0, 10));
    assert!(refused.retry_after > Duration::from_secs(3_000) && refused.retry_after <= Duration::from_secs(3_600));
    assert!(refused.reset_after > Duration::from_secs(35_000));

    let quick = Quota { per: Duration::from_millis(100), limit: 10, burst: 2 };
    let key = self::key("quick");
    let first = kv.take(&key, quick, 2).await.unwrap();
    assert!(first.allowed);
    tokio::time::sleep(first.reset_after + Duration::from_millis(5)).await;
    assert!(kv.take(&key, quick, 2).await.unwrap().allowed);
    assert!(!kv.take(&key, quick, 3).await.unwrap().allowed);
}

pub async fn a_quota_on_a_garbage_value(kv: Arc<dyn Kv>) {
    let key = key("garbage");
    for odd in ["nan", "inf", "-inf", "x", "", "99999999999999999999999"] {
        kv.set(&key, odd.as_bytes(), None).await.unwrap();
        let taken = kv.take(&key, Quota::per_second(10, 20), 1).await.unwrap();
        assert!(taken.reset_after <= Duration::from_millis(2_001), "{odd}: {taken:?}");
    }
    kv.delete(&key).await.unwrap();
}

pub async fn too_long_is_refused(kv: Arc<dyn Kv>) {
    assert!(kv.set(&"k".repeat(KEY_MAX + 1), b"", None).await.is_err());
    assert!(kv.set("suite:long", &vec![0; VALUE_MAX + 1], None).await.is_err());
}
