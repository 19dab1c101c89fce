//! The scenarios, each for either back end. Each has queues of its own: brokers outlive tests, which run side by side.

pub mod events;
pub mod hostile;
pub mod outages;
pub mod requests;

use roadstead_contracts::message::Request;
use roadstead_contracts::queue::{Queue, QueueKind};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub number: u64,
    #[serde(default)]
    pub padding: String,
}

pub fn told(number: u64) -> Told {
    Told { number, padding: String::new() }
}

macro_rules! asks {
    ($($name:ident $queue:literal $kind:ident $wire:literal;)*) => {$(
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        pub struct $name {
            pub number: u64,
            #[serde(default)]
            pub padding: String,
        }
        impl Request for $name {
            const QUEUE: Queue = Queue {
                requests: $queue,
                results: concat!($queue, "_results"),
                kind: QueueKind::$kind,
            };
            const KIND: &'static str = $wire;
            type Reply = Told;
        }
    )*};
}

asks! {
    AskSeed "test_answers_seed" Seed "ask.v1";
    AskLookup "test_answers_lookup" Lookup "ask.v1";
    AskChange "test_answers_change" Change "ask.v1";
    AskMixed "test_mixed" Lookup "ask.v1";
    AskNobody "test_nobody" Lookup "ask.v1";
    AskSilent "test_silent" Lookup "ask.v1";
    AskForwarded "test_forwarded" Lookup "ask.v1";
    AskLarge "test_large" Lookup "ask.v1";
    AskBounded "test_bounded" Lookup "ask.v1";
    AskStopped "test_stopped" Lookup "ask.v1";
    AskGarbage "test_garbage" Lookup "ask.v1";
    AskGarbageNewer "test_garbage" Lookup "ask.v2";
    AskReplyTo "test_reply_to" Lookup "ask.v1";
    AskTwice "test_twice" Change "ask.v1";
    AskForged "test_forged" Lookup "ask.v1";
    AskContradicted "test_contradicted" Lookup "ask.v1";
    AskLateLookup "test_late_lookup" Lookup "ask.v1";
    AskLateChange "test_late_change" Change "ask.v1";
    AskPoison "test_poison" Change "ask.v1";
    AskPoisonLookup "test_poison_lookup" Lookup "ask.v1";
    AskOutage "test_outage" Lookup "ask.v1";
    AskSurvivor "test_survivor" Change "ask.v1";
}
