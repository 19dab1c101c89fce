//! One exchange on its way to a cluster: what was announced about it is settled and what it tells of the cluster is counted,
//! however it ends; also when its client goes away, which drops everything that is done for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use roadstead_contracts::audit::{Actor, AuditRecord};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::{Code, Result};
use tokio::time::Instant;

use super::relay::{Exchange, Outcome};
use super::socket::Ending;
use super::vet::Pace;
use super::{Admitted, Door};

/// A client that leaves after so long without an answer has met a cluster that is silent; one that leaves sooner changed its
/// mind.
const SILENCE: Duration = Duration::from_secs(5);

/// An exchange that was begun and is not over.
pub(super) struct Attempt<'a> {
    door: &'a Door,
    cluster: ClusterId,
    /// What was announced, where it must be.
    intent: Option<AuditRecord>,
    began: Instant,
    /// Whether the cluster answers such a request soon, when it answers at all.
    quick: bool,
    /// Whether all of the request's body was here.
    whole: Arc<AtomicBool>,
    /// Whether it is on its way to the cluster.
    open: bool,
    over: bool,
}

impl<'a> Attempt<'a> {
    /// Announces what is to be done; nothing may be done when that cannot be written.
    pub(super) async fn begin<B>(
        door: &'a Door,
        mut exchange: Exchange<B>,
        admitted: &Admitted,
        request_id: &str,
    ) -> Result<(Self, Exchange<Watched<B>>)> {
        let cluster = admitted.cluster_id;
        let intent = door.audit.as_ref().zip(exchange.deed.take()).map(|(audit, deed)| {
            let acts_as = admitted.acts_as.as_ref().map(|somebody| somebody.user.as_str());
            let (origin, actor) = (admitted.origin(request_id), Actor::of(&admitted.principal));
            audit.intent(&deed, origin, actor, acts_as, cluster)
        });
        let whole = Arc::new(AtomicBool::new(false));
        // A client may leave while its intent is being written: that is settled like everything else.
        let mut attempt = Self {
            door,
            cluster,
            intent,
            began: Instant::now(),
            quick: matches!(exchange.pace, Pace::Plain | Pace::Watch) && exchange.upgrade.is_none(),
            whole: Arc::clone(&whole),
            open: false,
            over: false,
        };
        if let (Some(audit), Some(intent)) = (&door.audit, &attempt.intent)
            && let Err(refused) = audit.write(intent).await
        {
            attempt.over = true;
            return Err(refused);
        }
        Ok((attempt, exchange.map_body(|body| Watched { body, whole })))
    }

    /// There is a stream to the cluster: from here on it may have done what it was asked.
    pub(super) fn is_open(&mut self) {
        self.open = true;
    }

    /// Whether no answer until now says something about the cluster, and not about the request.
    fn is_silence(&self) -> bool {
        !self.open || (self.quick && self.whole.load(Ordering::Relaxed))
    }

    /// It ended, with an answer or without one.
    pub(super) async fn over(mut self, mut outcome: Result<Outcome>, status: u16) -> Result<Outcome> {
        match &outcome {
            Ok(_) => self.door.breakers.answered(self.cluster),
            // Whoever waits for a line of a log, or sends its body slowly, meets no outage.
            Err(error) if error.code == Code::Timeout && !self.is_silence() => {}
            Err(error) => self.door.breakers.failed(self.cluster, error),
        }
        if let (Some(audit), Some(intent)) = (&self.door.audit, &self.intent) {
            audit.settled(intent, outcome.as_ref().map(|_| status)).await;
            if let Ok(Outcome::Switched(_, socket)) = &mut outcome {
                socket.ending = Ending::of(audit, intent);
            }
        }
        self.over = true;
        outcome
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.began.elapsed() >= SILENCE && self.is_silence() {
            self.door.breakers.failed(self.cluster, &Code::Timeout.into());
        }
        if let (Some(audit), Some(intent)) = (&self.door.audit, &self.intent) {
            audit.left(intent, self.open);
        }
    }
}

/// A request's body of which is known whether all of it was here.
pub(super) struct Watched<B> {
    body: B,
    whole: Arc<AtomicBool>,
}

impl<B> Watched<B> {
    fn ended(&self) {
        self.whole.store(true, Ordering::Relaxed);
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            self.ended();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.body.is_end_stream();
        if ended {
            self.ended();
        }
        ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
