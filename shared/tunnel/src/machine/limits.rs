//! Every bound of a session, with its reason.

use crate::bucket::Bucket;

/// Credit of a new stream. 256 KiB carry 4 MB/s over 60 ms of round trip. A stream that nobody drains gets a part of it
/// only ([`BULK_FLIGHT`]): 18 of them fill a session.
pub const STREAM_WINDOW: u32 = 256 * 1024;
/// A stream that is drained faster than its window comes round grows up to this.
pub const STREAM_WINDOW_MAX: u32 = 1024 * 1024;
/// Credit of the session: the most that streams may hold undrained, all together (reliability row F16: 2 MiB).
pub const SESSION_WINDOW: u32 = 2 * 1024 * 1024;
/// Credit of the session that bulk streams leave to interactive ones, so that stalled downloads never block an exec.
pub const SESSION_RESERVE: u32 = 256 * 1024;
/// What a bulk stream may have under way besides what its reader must drain before it says so.
pub(super) const BULK_FLIGHT: u32 = 32 * 1024;
/// Drained bytes after which the session's credit is renewed: 32 renewals a window, 12 bytes each.
pub(super) const SESSION_STEP: u32 = 64 * 1024;
/// Bytes of a stream that wait to be written: enough to fill a batch, small enough to be forgotten.
pub const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a peer may have open. A cluster's watches are about a thousand.
pub const STREAMS_MAX: usize = 4_096;
/// Streams that wait to be taken up; more are refused. They hold a head of up to 16 KiB each.
pub const BACKLOG_MAX: usize = 128;
/// Refused streams whose opener has not yet let go. A peer that counts never gets here.
pub(super) const REFUSED_MAX: usize = 256;
/// Notices that wait, in each direction.
pub const NOTICES_MAX: usize = 16;
/// Frames for unknown streams that end the session.
pub const OFFENCES_MAX: u32 = 16;
/// Late credits and resets that a closed stream may still cause.
pub(super) const LATE_PER_STREAM: u32 = 8;
/// Most late frames that are saved up.
pub(super) const LATE_MAX: u32 = 4_096;
/// Pings: a burst of 16 and one a second. Ours come every 8 s.
pub(super) const PINGS: Bucket = Bucket::new(16, 1_000_000);
/// Notices: a burst of 32 and four a second. Heartbeats come every 10 s.
pub(super) const NOTICES: Bucket = Bucket::new(32, 250_000);
/// A stream nobody drained for this long is reset when the session runs out of room.
pub const STALL_LIMIT_US: u64 = 10_000_000;
