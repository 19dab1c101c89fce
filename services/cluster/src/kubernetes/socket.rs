//! The bytes behind a switch of protocols. When they have ended, so has the session that they were, and the trail is told how
//! long that took.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use roadstead_contracts::audit::AuditRecord;
use roadstead_tunnel::exchange::Joined;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::audit::Audit;

/// The cluster's side of an upgraded exchange.
pub(crate) struct Socket {
    joined: Joined,
    /// Tells that it is over, once it is dropped.
    pub(super) ending: Option<Box<Ending>>,
}

impl Socket {
    pub(super) fn new(joined: Joined) -> Self {
        Self { joined, ending: None }
    }
}

/// What is told at the end of a session.
pub(super) struct Ending {
    audit: Arc<Audit>,
    intent: AuditRecord,
    began: Instant,
}

impl Ending {
    /// For sessions in containers; other upgrades are over with their answer.
    pub(super) fn of(audit: &Arc<Audit>, intent: &AuditRecord) -> Option<Box<Self>> {
        let is_session = matches!(intent.action.as_str(), "kubernetes.exec" | "kubernetes.attach");
        let ending = || Self { audit: Arc::clone(audit), intent: intent.clone(), began: Instant::now() };
        is_session.then(|| Box::new(ending()))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.audit.session_ended(&self.intent, self.began.elapsed());
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.joined).poll_read(context, out)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.joined).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.joined).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.joined).poll_shutdown(context)
    }
}
