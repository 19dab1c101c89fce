//! One suite on both back ends, and what only RabbitMQ can show.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod broker;
mod forge;
mod nodes;
mod partition;
mod proxy;
mod rig;
mod rights;
mod suite;

/// Stamps out every scenario for both back ends.
macro_rules! both {
    ($($module:ident: $($scenario:ident)*;)*) => {
        mod memory {$($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                crate::suite::$module::$scenario(crate::rig::Rig::memory()).await;
            }
        )*)*}
        mod rabbit {$($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs rabbitmq"]
            async fn $scenario() {
                crate::suite::$module::$scenario(crate::rig::Rig::rabbit().await).await;
            }
        )*)*}
    };
}

both! {
    requests:
        answers_and_errors_come_back
        answers_are_never_mixed_up
        a_service_that_never_started_is_unavailable
        a_service_that_does_not_answer_is_a_timeout
        a_replica_is_asked_by_its_own_queue
        a_handler_for_another_queue_is_refused
        large_bodies_are_refused
        no_more_handlers_run_than_asked
        what_runs_at_a_stop_is_answered
        no_secret_rides_a_message;
    hostile:
        q01_garbage_is_dead_lettered_and_the_queue_lives
        q03_answers_go_to_reply_queues_only
        q04_a_repeated_message_has_one_effect
        q05_forged_messages_are_dead_lettered
        q06_the_first_valid_answer_stands
        q08_a_late_message_is_not_run
        f20_poison_is_dead_lettered_after_five_deliveries
        peers_are_answered_where_they_may_ask;
    events:
        every_subscriber_gets_its_copy
        peers_are_told_where_they_listen
        a_shared_subscriber_gets_an_event_again_until_it_takes_it
        forged_events_are_dead_lettered;
    outages:
        a_lost_broker_is_an_error_at_once_and_comes_back
        a_change_survives_a_lost_connection;
}
