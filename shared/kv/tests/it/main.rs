//! One suite on both back ends.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod suite;

use std::sync::Arc;

use roadstead_kv::{Kv, MemoryKv, RedisKv};
use roadstead_runtime::{Secret, SystemClock};

fn memory() -> Arc<dyn Kv> {
    Arc::new(MemoryKv::new(SystemClock::shared()))
}

fn redis() -> Arc<dyn Kv> {
    let url = std::env::var("ROADSTEAD_TEST_REDIS_URL").expect("ROADSTEAD_TEST_REDIS_URL");
    Arc::new(RedisKv::open(&Secret::new(url)).unwrap())
}

macro_rules! on_both {
    ($($test:ident)+) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $test() {
                crate::suite::$test(crate::memory()).await;
            })+
        }
        mod redis_server {
            $(#[tokio::test]
            #[ignore = "needs redis"]
            async fn $test() {
                crate::suite::$test(crate::redis()).await;
            })+
        }
    };
}

on_both! {
    values_come_back_and_go
    only_one_sets_what_is_absent
    values_expire
    a_quota_is_shared_and_refills
    a_quota_on_a_garbage_value
    too_long_is_refused
}

#[tokio::test]
async fn a_server_that_is_away_is_said_quickly() {
    let kv = RedisKv::open(&Secret::new("redis://127.0.0.1:1/")).unwrap();
    let began = std::time::Instant::now();
    assert!(kv.ping().await.is_err());
    assert!(began.elapsed() < std::time::Duration::from_secs(3));
    assert!(RedisKv::open(&Secret::new("no url")).is_err());
}
