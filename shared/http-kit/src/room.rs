//! Room for the bodies that are held at once: a bound over all of them together, where [`Limits::body`](crate::Limits)
//! bounds each.
//!
//! A body takes its share as it comes: nothing before its first bytes are here, up to 64 KiB then, and once it is longer
//! the rest of what its length says. Piece by piece many at once would all stop in their middle, each for room that the others
//! hold; by its length alone whoever only announces bodies would fill it. The share goes with the request, however that ends.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, web};
use bytes::Bytes;
use roadstead_contracts::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::meter::{HttpMetrics, NoMetrics};

/// What room is counted in, bytes.
const UNIT: usize = 1024;
/// Bodies up to here are small, and what every body may have before more of it is asked for. Log-ins, names and policies
/// are far below.
const SMALL: usize = 64 * 1024;
/// What a body of a length that nobody knows has then, before it doubles: what most routes take at most, so that it asks
/// once. What it did not need is given back when it is here.
const UNKNOWN: usize = 1024 * 1024;
/// One part in so many is kept for small bodies, which so never stand behind large ones.
const RESERVED: usize = 8;
/// One part in so many of the others' room may be held by bodies in line. The rest is with bodies that wait for nothing
/// here and so end; whoever finds the line full is refused at once.
const IN_LINE: usize = 4;
/// Longest time that a body waits for room, in all: a change is answered in less, and no client gives up before.
const PATIENCE: Duration = Duration::from_secs(2);
/// When whoever was refused may come again: the line was full, or did not move within [`PATIENCE`].
const RETRY_SECONDS: u32 = 2;

/// Room for bodies. One for all workers and listeners of a door.
pub struct Room {
    units: usize,
    reserve: Arc<Semaphore>,
    rest: Arc<Semaphore>,
    line: Arc<Semaphore>,
    patience: Duration,
    metrics: Arc<dyn HttpMetrics>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("units", &self.units).field("held", &self.held()).finish_non_exhaustive()
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new(crate::Limits::default().together, Arc::new(NoMetrics))
    }
}

/// The longest body for which there is room, when nobody else has any.
pub(crate) fn longest(together: usize) -> usize {
    rest_of(together / UNIT) * UNIT
}

fn rest_of(units: usize) -> usize {
    (units - units / RESERVED).max(1)
}

/// A count of permits. Nobody has 4 TiB.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Room {
    /// Room for so many bytes, counting whom it refuses.
    pub fn new(together: usize, metrics: Arc<dyn HttpMetrics>) -> Self {
        let units = (together / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let rest = rest_of(units);
        let in_line = (rest * UNIT / IN_LINE / SMALL).max(1);
        Self {
            units,
            reserve: Arc::new(Semaphore::new(units - rest)),
            rest: Arc::new(Semaphore::new(rest)),
            line: Arc::new(Semaphore::new(in_line)),
            patience: PATIENCE,
            metrics,
        }
    }

    /// Bytes that are taken now.
    pub fn held(&self) -> usize {
        let free = self.reserve.available_permits() + self.rest.available_permits();
        self.units.saturating_sub(free) * UNIT
    }

    /// A share of nothing yet, for a body of a length that is known or not.
    pub fn share(self: &Arc<Self>, expected: Option<usize>) -> Share {
        Share { room: Arc::clone(self), expected, reserved: None, rest: None, patience: self.patience }
    }

    fn full(&self) -> Error {
        self.metrics.crowded();
        Error::new(Code::Unavailable, "the hub holds as many requests as it has room for").retry_after(RETRY_SECONDS)
    }
}

/// The room of the door that a request came through.
pub(crate) fn of(request: &HttpRequest) -> Arc<Room> {
    // Without one (a frame that a test mounts by itself) nobody is there to share it with.
    request.app_data::<web::Data<Room>>().map_or_else(Arc::default, |room| Arc::clone(room))
}

/// A share for what a handler reads by itself to answer a request: a document that the request only names.
pub fn share(request: &HttpRequest) -> Share {
    of(request).share(None)
}

/// What a body has of the room, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    expected: Option<usize>,
    reserved: Option<OwnedSemaphorePermit>,
    rest: Option<OwnedSemaphorePermit>,
    patience: Duration,
}

impl Share {
    /// Bytes that it is for.
    fn bytes(&self) -> usize {
        let permits =
            |permit: &Option<OwnedSemaphorePermit>| permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        (permits(&self.reserved) + permits(&self.rest)) * UNIT
    }

    /// What to take when there are to be so many bytes.
    fn target(&self, bytes: usize, limit: usize) -> usize {
        match self.expected {
            Some(length) if length >= bytes && (length <= SMALL || bytes > SMALL) => length,
            _ if bytes <= SMALL => SMALL.min(limit),
            _ => bytes.max(self.bytes().saturating_mul(2)).max(UNKNOWN).min(limit.max(bytes)),
        }
    }

    /// Makes it enough for so many bytes of a body of at most `limit`, waiting a little for others to end.
    pub(crate) async fn cover(&mut self, bytes: usize, limit: usize) -> Result<()> {
        if bytes <= self.bytes() {
            return Ok(());
        }
        let target = self.target(bytes, limit);
        if target <= SMALL && self.expected.is_none_or(|length| length <= SMALL) {
            self.take_small(units(target)).await
        } else {
            self.take_large(units(target)).await
        }
    }

    /// From the reserve, and from what the others have where that is all out.
    async fn take_small(&mut self, units: u32) -> Result<()> {
        let (reserve, rest) = (Arc::clone(&self.room.reserve), Arc::clone(&self.room.rest));
        let either = async {
            tokio::select! {
                biased;
                permit = reserve.acquire_many_owned(units) => (permit.ok(), None),
                permit = rest.acquire_many_owned(units) => (None, permit.ok()),
            }
        };
        (self.reserved, self.rest) = self.wait(either).await?;
        Ok(())
    }

    /// From what is no reserve. Whoever has to wait stands in a line of few.
    async fn take_large(&mut self, units: u32) -> Result<()> {
        let held = self.rest.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = units.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        let rest = Arc::clone(&self.room.rest);
        let permit = if let Ok(permit) = Arc::clone(&rest).try_acquire_many_owned(more) {
            permit
        } else {
            let Ok(_place) = Arc::clone(&self.room.line).try_acquire_owned() else { return Err(self.room.full()) };
            self.wait(rest.acquire_many_owned(more)).await?.map_err(|_| self.room.full())?
        };
        match &mut self.rest {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        self.reserved = None;
        Ok(())
    }

    async fn wait<T>(&mut self, taking: impl Future<Output = T>) -> Result<T> {
        let began = Instant::now();
        let taken = timeout(self.patience, taking).await;
        self.patience = self.patience.saturating_sub(began.elapsed());
        taken.map_err(|_| self.room.full())
    }

    /// Gives back what is beyond so many bytes.
    fn shrink(&mut self, bytes: usize) {
        let mut over = (self.bytes() / UNIT).saturating_sub(bytes.div_ceil(UNIT));
        for permit in [&mut self.reserved, &mut self.rest].into_iter().flatten() {
            let part = over.min(permit.num_permits());
            over -= part;
            drop(permit.split(part));
        }
    }
}

/// A body that comes piece by piece and has its share of the room before it has its place in memory.
pub(crate) struct Growing<'s> {
    whole: Vec<u8>,
    limit: usize,
    share: &'s mut Share,
}

impl<'s> Growing<'s> {
    pub(crate) fn new(limit: usize, share: &'s mut Share) -> Self {
        Self { whole: Vec::new(), limit, share }
    }

    /// Adds a piece.
    pub(crate) async fn push(&mut self, piece: &[u8]) -> Result<()> {
        let length = self.whole.len() + piece.len();
        if length > self.limit {
            return Err(Error::of(Code::PayloadTooLarge));
        }
        self.share.cover(length, self.limit).await?;
        if length > self.whole.capacity() {
            // As much as the share is for and no more: else a buffer doubles, beyond what is counted.
            let most = self.share.bytes().min(self.share.expected.unwrap_or(self.limit)).max(length);
            self.whole.reserve_exact(most - self.whole.len());
        }
        self.whole.extend_from_slice(piece);
        Ok(())
    }

    /// The body, and nothing beyond it.
    pub(crate) fn finish(mut self) -> Bytes {
        self.whole.shrink_to_fit();
        self.share.shrink(self.whole.len());
        self.whole.into()
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
