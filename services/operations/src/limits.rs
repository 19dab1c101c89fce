//! The service's bounds, each with its reason. What an operator may change is in the settings (`operations.*`).

use std::time::Duration;

use chrono::TimeDelta;

/// Plain bytes of a body in one sealed part: the sealer takes 1 MiB.
pub(crate) const PART_BYTES: usize = 512 * 1024;
/// Bodies that wait for their operation.
pub(crate) const UNCLAIMED_MAX: i64 = 2_000;
/// The same, in bytes: 64 of the largest.
pub(crate) const UNCLAIMED_BYTES_MAX: i64 = 512 * 1024 * 1024;
/// A body that no operation names is forgotten after this.
pub(crate) const UNCLAIMED_LIFE: TimeDelta = TimeDelta::hours(1);
/// Operations of one cluster that have not ended: a week of one every ten minutes for a cluster that is away.
pub(crate) const ACTIVE_PER_CLUSTER: i64 = 1_000;
/// Shortest and longest deadline that a caller may set, seconds.
pub(crate) const DEADLINE_SECONDS: std::ops::RangeInclusive<u32> = 1..=7 * 24 * 3_600;
/// Priority without one, and the most urgent.
pub(crate) const PRIORITY: u8 = 5;
/// See [`PRIORITY`].
pub(crate) const PRIORITY_MAX: u8 = 9;
/// Longest description and webhook address, bytes.
pub(crate) const DESCRIPTION_MAX: usize = 2_048;
/// Longest reason of a cancellation (seed 000).
pub(crate) const REASON_MAX: usize = 500;
/// Longest idempotency key.
pub(crate) const KEY_MAX: usize = 255;
/// How long an idempotency key is remembered.
pub(crate) const KEY_LIFE: TimeDelta = TimeDelta::hours(24);
/// Receipts of changes are kept this long: longer than any message lives on a queue.
pub(crate) const RECEIPT_LIFE: TimeDelta = TimeDelta::hours(24);
/// Most steps in one answer: with diffs they must stay below a message's 1 MiB.
pub(crate) const STEPS_MAX: u32 = 1_000;
/// Bytes of the steps in one answer.
pub(crate) const STEPS_BYTES_MAX: usize = 700 * 1024;
/// Longest diff, output or message that is stored in one step.
pub(crate) const STEP_TEXT_MAX: usize = 64 * 1024;
/// Output of an exec that is kept, bytes (the agent cuts at the same).
pub(crate) const OUTPUT_MAX: usize = 1024 * 1024;
/// Rows in one answer, whatever the asker wants: the rest comes with its cursor. The front door asks until its own page is full.
pub(crate) const PAGE_MAX: u32 = 200;
/// Bytes of the rows in one answer: commands and rollouts of many clusters are long, and a message holds 1 MiB.
pub(crate) const PAGE_BYTES_MAX: usize = 700 * 1024;

/// A lease counts this long after its last renewal. Another replica takes over after it, so it bounds how long a crash
/// delays (reliability row F01: terminal within 30 s of a restart).
pub(crate) const LEASE: Duration = Duration::from_secs(12);
/// An attempt that was not ready to send its order within this time of its look at whether to go on looks anew: the process
/// stood still, perhaps for hours. An order stands for fifteen minutes at most and an agent remembers a stop for twenty, so that
/// no order reaches an agent that has forgotten the stop which came before it was signed.
pub(crate) const LOOK_LIMIT: TimeDelta = TimeDelta::minutes(1);
/// Between two renewals: three may be missed.
pub(crate) const RENEW: Duration = Duration::from_secs(3);
/// Slow look for work: what no event told of (a lease that ran out, an agent's return that was missed).
pub(crate) const POLL: Duration = Duration::from_secs(1);
/// An operation whose cluster is away is tried again after this when no event told of its return: the net below the events.
pub(crate) const AWAY_RETRY: Duration = Duration::from_secs(10);
/// The longest that an operation is ever laid aside.
pub(crate) const REST_MAX: Duration = AWAY_RETRY;
/// First and longest pause between attempts to re-open a broken stream.
pub(crate) const REOPEN_BASE: Duration = Duration::from_millis(200);
/// See [`REOPEN_BASE`].
pub(crate) const REOPEN_CAP: Duration = Duration::from_secs(5);
/// Attempts to re-open before the operation is laid aside until [`AWAY_RETRY`], so that it holds no place meanwhile.
pub(crate) const REOPEN_TRIES: u32 = 4;
/// Events stored in one transaction.
pub(crate) const BATCH_EVENTS: usize = 64;
/// Bytes of events stored in one transaction.
pub(crate) const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long the first event of a batch waits for others.
pub(crate) const BATCH_WAIT: Duration = Duration::from_millis(20);
/// Silence on a stream after which it counts as broken: agents say `alive` every few seconds.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// Pause before an operation is tried again that another service could not decide, or that the agent had no place for.
pub(crate) const SOON_RETRY: Duration = Duration::from_secs(2);
/// Time to send the order and the body.
pub(crate) const SEND_LIMIT: Duration = Duration::from_secs(30);
/// Time for a cancel or settle verb.
pub(crate) const VERB_LIMIT: Duration = Duration::from_secs(10);
/// Longest answer of a cancel or settle verb.
pub(crate) const VERB_ANSWER: u64 = 8 * 1024;
/// Pause between two attempts to tell the agent of a cancellation.
pub(crate) const CANCEL_RETRY: Duration = Duration::from_secs(1);
/// The agent stops at the deadline by itself; the hub waits this much longer for its ending.
pub(crate) const DEADLINE_GRACE: TimeDelta = TimeDelta::seconds(20);
/// Deadline of a question to another service.
pub(crate) const ASK: Duration = Duration::from_secs(5);
/// Pause before the database is asked again after it was away.
pub(crate) const STORE_RETRY: Duration = Duration::from_millis(500);
/// Longest lease of an order, seconds: what agents take.
pub(crate) const ORDER_SECONDS: u32 = 900;

/// Settlements told at once, and rows swept in one pass.
pub(crate) const SWEEP_ROWS: i64 = 64;
/// Pause before a settlement is told again.
pub(crate) const SETTLE_RETRY: TimeDelta = TimeDelta::seconds(15);
/// A ledger entry that cannot be settled for this long is left to the agent's own retention.
pub(crate) const SETTLE_LIFE: TimeDelta = TimeDelta::hours(24);
/// How often old keys, receipts and bodies are looked for.
pub(crate) const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked for what is to be deleted by itself, and for plans of before that are not sealed.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(60);
/// Pause between two batches of that: whoever waits to write goes in between.
pub(crate) const UPKEEP_PAUSE: Duration = Duration::from_millis(100);
/// Steps and objects of the operations that are deleted in one transaction: some tens of milliseconds. One operation is
/// deleted whole, however many it has.
pub(crate) const FORGET_ROWS: i64 = 5_000;

/// Attempts to tell a webhook: with the pauses below about a day, so that a receiver may be away for a night.
pub(crate) const WEBHOOK_TRIES: i64 = 18;
/// First pause of them; doubles. Each is a quarter longer or shorter by chance.
pub(crate) const WEBHOOK_BASE: Duration = Duration::from_secs(10);
/// Longest pause of them.
pub(crate) const WEBHOOK_CAP: Duration = Duration::from_secs(3 * 3_600);
/// A webhook being told is not told by another replica for this long.
pub(crate) const WEBHOOK_CLAIM: TimeDelta = TimeDelta::seconds(30);
/// Webhooks told at once.
pub(crate) const WEBHOOKS_AT_ONCE: i64 = 16;

/// Clusters of one rollout.
pub(crate) const ROLLOUT_CLUSTERS: usize = 1_000;
/// Waves of one rollout.
pub(crate) const ROLLOUT_WAVES: usize = 50;
/// Overrides of one rollout.
pub(crate) const ROLLOUT_OVERRIDES: usize = 200;
/// A rollout is looked at at least this often while it runs.
pub(crate) const ROLLOUT_LOOK: TimeDelta = TimeDelta::seconds(2);
/// A rollout that waits for its window is looked at this often.
pub(crate) const ROLLOUT_WAIT: TimeDelta = TimeDelta::seconds(30);
/// Longest bake, seconds: a week.
pub(crate) const BAKE_MAX: u32 = 7 * 24 * 3_600;
/// Longest name of a rollout.
pub(crate) const NAME_MAX: usize = 200;
/// Longest `request_id` of a peer of the seeds that is sent back.
pub(crate) const PEER_REQUEST_ID_MAX: usize = 256;
/// Kinds of change of one operation that are told apart: with their namespaces some 25 KB of the question at each dispatch.
pub(crate) const CHANGES_MAX: usize = 256;
/// Clusters that rules show to whoever lists operations: one page of the registry.
pub(crate) const RULED_CLUSTERS_MAX: u32 = 1_000;
/// Clusters whose drift is told as a figure, those with the most first: more lines would be too many for one scrape.
pub(crate) const DRIFTED_CLUSTERS_MAX: i64 = 1_000;
