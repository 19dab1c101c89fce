//! Every bound of a session, with its reason.

use crate::bucket::Bucket;

/// Credit of a stream: what its reader may have left undrained. 1 MiB carries 16 MB/s over 60 ms of round trip.
pub const STREAM_WINDOW: u32 = 1024 * 1024;
/// What every stream may have under way without asking what the others hold. So readers that stop, however many they are,
/// take from the others what comes faster than 16 KiB a round trip, and nothing of what is smaller.
pub const STREAM_SHARE: u32 = 16 * 1024;
/// The most that streams may hold undrained beyond their shares, all together (reliability row F16: 2 MiB).
pub const SESSION_WINDOW: u32 = 2 * 1024 * 1024;
/// What bulk streams leave of it to interactive ones, so that stalled downloads never slow an exec.
pub const SESSION_RESERVE: u32 = 256 * 1024;
/// What a stream may have under way besides what its reader drains before it says so.
pub(super) const BULK_FLIGHT: u32 = 32 * 1024;
/// What one that somebody waits for may have under way before its reader drained anything, while hardly anything else is.
pub(super) const FIRST_FLIGHT: u32 = 256 * 1024;
/// Drained bytes after which more is granted: 16 grants a window, 12 bytes each.
pub(super) const GRANT_STEP: u32 = 64 * 1024;
/// The same while more than half of the session's window is held: less than a share, or both sides would wait for each other.
pub(super) const GRANT_STEP_TIGHT: u32 = STREAM_SHARE / 2;
/// Less than this is not worth a turn: slivers cost more than they carry.
pub(super) const SLIVER: u32 = 1024;
/// Bytes of a stream that wait to be written: enough to fill a batch, small enough to be forgotten.
pub const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a peer may have open. A cluster's watches are about a thousand.
pub const STREAMS_MAX: usize = 4_096;
/// Streams that wait to be taken up; more are refused. They hold a head of up to 16 KiB each.
pub const BACKLOG_MAX: usize = 128;
/// Refused streams whose opener has not yet let go. A peer that counts never gets here.
pub(super) const REFUSED_MAX: usize = 256;
/// Control frames that wait to be written: all that every stream may have, and as many again. More come only of a peer that
/// goes on asking and does not take the answers.
pub(super) const CONTROL_MAX: usize = 12 * (STREAMS_MAX + REFUSED_MAX);
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
