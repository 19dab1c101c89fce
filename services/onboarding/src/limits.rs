//! The service's bounds, each with its reason. What an operator may change is in the settings (`agents.*`).

use std::time::Duration;

use chrono::TimeDelta;

/// An agent counts as connected while its replica was seen this recently: three refreshes, and owner changes are
/// noticed within the 10 s of reliability row F18.
pub(crate) const REPLICA_LIFE: TimeDelta = TimeDelta::seconds(10);
/// How often a replica says that it lives.
pub(crate) const REPLICA_REFRESH: Duration = Duration::from_secs(3);
/// A replica that could not say so for this long may have been swept: it takes its sessions back.
pub(crate) const REPLICA_GAP: Duration = Duration::from_secs(8);
/// Changes of presence in one transaction.
pub(crate) const BATCH_ROWS: usize = 256;
/// How long the first change of a batch waits for others: invisible beside a handshake, and 10,000 agents that come
/// back at once become 40 transactions.
pub(crate) const BATCH_WAIT: Duration = Duration::from_millis(20);
/// How long heartbeats alone wait for others: nobody waits for them, and a second of them costs what one costs.
pub(crate) const BEAT_WAIT: Duration = Duration::from_millis(500);
/// Changes of presence that may wait: two heartbeats' worth of a busy second. When it is full, connects wait and
/// heartbeats are dropped and counted.
pub(crate) const PRESENCE_QUEUE: usize = 4_096;
/// Wait before presence is written again after the database was away.
pub(crate) const PRESENCE_RETRY: Duration = Duration::from_millis(500);
/// Longest wait of a connecting agent for its epoch; then it is told to come back.
pub(crate) const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A heartbeat that says nothing new is stored this often: every one, so that "last seen" can be trusted to the second. From
/// 10,000 agents that is 1,000 rows a second, in groups of hundreds.
pub(crate) const BEAT_STORE_EVERY: TimeDelta = TimeDelta::seconds(9);
/// Requests to one agent at once; more are told `agent_busy`.
pub(crate) const AGENT_IN_FLIGHT: u32 = 64;
/// Bytes of a recorded session that are read at once: small things that somebody waits for.
pub(crate) const RECORDING_CHUNK: usize = 16 * 1024;
/// Text of a recording that is kept in one row.
pub(crate) const RECORDING_PART: usize = 64 * 1024;
/// What a recorded session said is stored at the latest after this.
pub(crate) const RECORDING_FLUSH: Duration = Duration::from_secs(1);
/// How often recordings that are over are looked for.
pub(crate) const RECORDINGS_PRUNE: Duration = Duration::from_secs(600);
/// How long the body of a request that is handed over may take.
pub(crate) const CALL_BODY_WAIT: Duration = Duration::from_secs(10);
/// How long a replica may host a cluster before it must have said again that it does.
pub(crate) const HOST_LEASE: Duration = Duration::from_secs(6);
/// How often it says so, and looks for clusters that nobody hosts: another one is there 8 s after its death, at most.
pub(crate) const HOST_LOOK: Duration = Duration::from_millis(1_500);
/// This long before its lease ends it stops by itself.
pub(crate) const HOST_STOP_BEFORE: Duration = Duration::from_secs(1);
/// How long a hosted agent that is let go may take to come between two objects; then it is cut, before another begins.
pub(crate) const HOST_LEAVE: Duration = Duration::from_millis(500);
/// The same when the process stops and nobody waits for the cluster yet. Its streams had their time before.
pub(crate) const HOST_FINISH: Duration = Duration::from_secs(2);
/// How often folders of removed clusters are looked for; those that were hosted here go at once.
pub(crate) const HOST_SWEEP: Duration = Duration::from_secs(600);
/// Clusters taken at one look: several replicas share what a dead one leaves.
pub(crate) const HOST_TAKE: i64 = 16;
/// A cluster whose credentials do not open is tried again after this long.
pub(crate) const HOST_AGAIN: Duration = Duration::from_secs(30);
/// Most requests a second to one cluster: what seed 003 says a client of it does.
pub(crate) const QPS_MAX: f64 = 1_000.0;
/// Most at once.
pub(crate) const BURST_MAX: u32 = 10_000;
/// Longest wait for an answer of a cluster's API to begin: API servers end what takes longer by themselves.
pub(crate) const TIMEOUT_SECONDS_MAX: u32 = 300;
/// Streams to one agent at once, of all callers: what the agent itself takes.
pub(crate) const AGENT_STREAMS: usize = 2_048;
/// How long a caller waits for an agent that is just coming back: a redial with back-off takes about two seconds.
pub(crate) const RECONNECT_WAIT: Duration = Duration::from_secs(5);
/// When a caller should look for such an agent again.
pub(crate) const COME_BACK_SECONDS: u32 = 1;
/// Sessions taken back in one statement.
pub(crate) const RECLAIM_ROWS: usize = 1_000;
/// Receipts of changes are kept this long: longer than any message lives on a queue.
pub(crate) const RECEIPT_LIFE: TimeDelta = TimeDelta::hours(24);
/// How often the signing keys are asked for; agents keep the old ones meanwhile.
pub(crate) const KEYS_REFRESH: Duration = Duration::from_secs(30);
/// The same until there are any: nobody can connect before.
pub(crate) const KEYS_RETRY: Duration = Duration::from_millis(500);
/// Deadline of a report of drift to the operations service; the agent sends it again after more than that.
pub(crate) const REPORT_DRIFT: Duration = Duration::from_secs(10);
/// Deadline of a question to the user service.
pub(crate) const ASK_USER: Duration = Duration::from_secs(5);
/// Handshakes looked at at once. Each costs a signature check and a look-up, so more would only wait on the cores.
pub(crate) const HANDSHAKES: usize = 256;
/// Assertions remembered until they end: the admitted rate times their life, with room.
pub(crate) const REPLAY_MAX: usize = 128 * 1024;
/// When agents that are turned away should come back, seconds; they add jitter of their own.
pub(crate) const TURNED_AWAY_SECONDS: u32 = 2;
/// Latest time to come back: no agent waits longer than its own longest back-off.
pub(crate) const TURNED_AWAY_MAX: u32 = 30;
/// Within this time a stopping replica has told all its agents to move, the last of them early enough that what they carry
/// can end before [`DRAIN_LIMIT`]. Each is there until it is told.
pub(crate) const MOVE_SPREAD: Duration = Duration::from_secs(8);
/// Those that are told together dial within this time: far below what a caller waits ([`RECONNECT_WAIT`]).
pub(crate) const MOVE_JITTER: Duration = Duration::from_millis(200);
/// How long a stopping replica waits for a moment in which an agent carries nothing: an agent of an earlier version ends what
/// it carries when it is told to move.
pub(crate) const FINISH_WAIT: Duration = Duration::from_secs(2);
/// How long an agent that was told and carries nothing may take to go by itself.
pub(crate) const MOVE_WAIT: Duration = Duration::from_secs(2);
/// Largest body of an enrolment: 64 labels of the longest form are 25 KB.
pub(crate) const ENROL_BODY_MAX: usize = 64 * 1024;
/// Longest description of a cluster, bytes.
pub(crate) const DESCRIPTION_MAX: usize = 2_048;
/// Longest id or name in a request; no cluster or agent has one of more than 63 bytes.
pub(crate) const REFERENCE_MAX: usize = 128;
/// Longest `request_id` of a peer of the seeds that is sent back.
pub(crate) const PEER_REQUEST_ID_MAX: usize = 256;
/// Clusters in the seeds' list, which has no pages.
pub(crate) const SEED_LIST_MAX: u32 = 1_000;
/// Longest text message from an agent of the seeds: as much as from one of ours.
pub(crate) const SEED_TEXT_MAX: usize = roadstead_contracts::agent::VERB_ANSWER_MAX;
/// Silence after which an agent of the seeds is asked by a ping.
pub(crate) const SEED_PING_EVERY: Duration = Duration::from_secs(8);
/// Messages of an agent of the seeds that may make no sense before it is cut off (reliability row W06).
pub(crate) const SEED_OFFENCES_MAX: u32 = 3;
/// Longest drain, from the stop signal on: what is in flight then has this long to end. Within the grace period of 20 s, with
/// room for what comes after it.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(12);
/// How often a draining replica looks whether its agents are gone.
pub(crate) const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// Clusters among which rules are looked for when somebody lists: twice as many as a hub is measured with. Beyond them a
/// rule shows nothing in lists; by its name a cluster is still found.
pub(crate) const RULED_CLUSTERS_MAX: i64 = 20_000;
