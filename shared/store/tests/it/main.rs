//! One suite on both databases.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod interrupted;
mod killed;
mod records;
mod rewrap;
mod silence;
mod suite;

use roadstead_runtime::Secret;
use roadstead_store::{Opened, Options, open};

async fn sqlite(folder: &tempfile::TempDir) -> Opened {
    let url = Secret::new(format!("sqlite:{}", folder.path().display()));
    open(&url, &Options::new("suite")).await.unwrap()
}

async fn postgres() -> Opened {
    open(&Secret::new(postgres_url().await), &Options::new("suite")).await.unwrap()
}

/// The address of a database of its own.
async fn postgres_url() -> String {
    let base = std::env::var("ROADSTEAD_TEST_POSTGRES_URL").expect("ROADSTEAD_TEST_POSTGRES_URL");
    let name = format!("store_{}", uuid::Uuid::from_u64_pair(rand_u64(), rand_u64()).simple());
    let pool = sqlx::PgPool::connect(&base).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.unwrap();
    let (server, _) = base.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

fn rand_u64() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

macro_rules! on_both {
    ($($suite:ident::$test:ident)+) => {
        mod sqlite_file {
            $(#[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                crate::$suite::$test(crate::sqlite(&folder).await).await;
            })+
        }
        mod postgres_server {
            $(#[tokio::test]
            #[ignore = "needs postgres"]
            async fn $test() {
                crate::$suite::$test(crate::postgres().await).await;
            })+
        }
    };
}

on_both! {
    suite::migrations_go_up_and_down
    suite::two_starters_take_turns
    suite::a_newer_schema_is_refused
    suite::a_changed_step_is_refused
    suite::native_types_come_back
    suite::unique_rules_have_the_same_name
    suite::a_cancelled_begin_leaves_nothing_open
    suite::events_leave_once_committed
    suite::events_wait_for_the_broker
    records::records_leave_once_committed_and_wait_for_the_other_side
    records::a_wrong_key_is_refused_and_rows_follow_the_right_one
    rewrap::rows_follow_while_they_are_used
}
