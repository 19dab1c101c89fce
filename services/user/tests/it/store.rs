//! Runs the suite on both databases.

use roadstead_runtime::Secret;
use roadstead_store::{Opened, Options, open};

async fn sqlite(folder: &tempfile::TempDir) -> Opened {
    let url = Secret::new(format!("sqlite:{}", folder.path().display()));
    open(&url, &Options::new("user")).await.unwrap()
}

async fn postgres() -> Opened {
    open(&Secret::new(fresh_postgres().await), &Options::new("user")).await.unwrap()
}

/// Address of a new database.
pub async fn fresh_postgres() -> String {
    let base = std::env::var("ROADSTEAD_TEST_POSTGRES_URL").expect("ROADSTEAD_TEST_POSTGRES_URL");
    let clock = roadstead_runtime::SystemClock::shared();
    let name = format!("user_{}", roadstead_runtime::Ids::system(clock).uuid().as_simple());
    let pool = sqlx::PgPool::connect(&base).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.unwrap();
    let (server, _) = base.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

macro_rules! on_both {
    ($($test:ident)+) => {
        mod sqlite_file {
            $(#[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                crate::store_suite::$test(super::sqlite(&folder).await).await;
            })+
        }
        mod postgres_server {
            $(#[tokio::test]
            #[ignore = "needs postgres"]
            async fn $test() {
                crate::store_suite::$test(super::postgres().await).await;
            })+
        }
    };
}

on_both! {
    migrations_go_up_and_down
    a_challenge_is_taken_once_and_in_time
    many_challenges_make_room
    passkeys_live
    too_many_passkeys
    recovery_codes_stay_with_the_last_second_factor
    regression_what_was_begun_with_less_is_over
    users_live
    users_are_listed_newest_first
    the_last_admin_stays
    one_first_admin
    sessions_live
    rotation_finds_reuse
    rotation_at_once
    too_many_sessions
    api_keys_live
    legacy_keys_go_by_digest
    grants_live
    the_root_is_pinned_once
    rules_live
    changes_of_rules_take_turns
    rules_of_a_removed_account_go
    groups_live
    audit_rows_are_chained_searched_and_pruned
    a_provider_login_is_taken_once_and_in_time
    a_subject_is_linked_to_one_account
    accounts_of_machines_are_listed_by_themselves
    a_provider_ends_its_own_sessions
    a_reset_link_works_once_and_the_newest_only
    a_second_factor_lives
    access_is_decided_once
    access_races_have_one_winner
    access_lists_and_bounds
    access_notices_are_told_in_turn
    registrations_wait
}
