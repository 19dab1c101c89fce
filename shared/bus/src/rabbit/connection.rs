//! Keeps a connection: connects, says so, notices the loss, tries again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{Connection, ConnectionProperties, Event};
use roadstead_runtime::retry::Backoff;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::board::Part;
use super::{Shared, fault};

/// Waits between tries: the goal is to be back within 5 s of the broker, a try itself included.
pub(super) const RETRY: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(4) };
/// A broker that takes longer to shake hands is as good as away.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often the connection is looked at besides listening to its events.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A connection that lasted this long was a good one: the next try comes at once.
const STABLE: Duration = Duration::from_secs(5);

/// One try.
pub(super) async fn connect(shared: &Shared, role: &str) -> lapin::Result<Connection> {
    let name = format!("{} {role}", shared.name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let connecting = Connection::connect_uri_with_config(shared.uri.clone(), properties, shared.tls.clone(), runtime);
    match tokio::time::timeout(CONNECT_MAX, connecting).await {
        Ok(done) => done,
        Err(_) => Err(lapin::ErrorKind::MissingHeartbeatError.into()),
    }
}

/// Returns when the connection is lost. `look` asks for a look at `healthy` at once; throttling by the broker is
/// written on the board.
pub(super) async fn lost(connection: &Connection, part: &Part, look: &Notify, healthy: impl Fn() -> bool) {
    let mut events = std::pin::pin!(connection.events_listener());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Error(_)) | None => return,
                Some(Event::ConnectionBlocked(_)) => {
                    part.down("the message broker takes no messages: it is short of memory or disk".to_owned());
                }
                Some(Event::ConnectionUnblocked) => part.up(),
                Some(_) => {}
            },
            () = look.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if !connection.status().connected() || !healthy() {
            return;
        }
    }
}

/// Counts tries and waits between them.
#[derive(Debug, Default)]
pub(super) struct Tries {
    number: u32,
    began: Option<Instant>,
}

impl Tries {
    /// A try succeeded.
    pub(super) fn succeeded(&mut self) {
        self.began = Some(Instant::now());
    }

    /// Waits for the next one.
    pub(super) async fn wait(&mut self, shared: &Shared) {
        if self.began.take().is_some_and(|began| began.elapsed() > STABLE) {
            self.number = 0;
        }
        tokio::time::sleep(RETRY.delay(self.number, &shared.ids)).await;
        self.number = self.number.saturating_add(1);
    }
}

/// Keeps the connection that reads.
pub(super) fn keep_reader(shared: &Arc<Shared>) -> watch::Receiver<Option<Arc<Connection>>> {
    let (sender, receiver) = watch::channel(None);
    let part = shared.board.part();
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.support("bus-rabbit-read", async move {
        let mut tries = Tries::default();
        let never = Notify::new();
        loop {
            match connect(&shared, "read").await {
                Ok(connection) => {
                    tries.succeeded();
                    part.up();
                    let connection = Arc::new(connection);
                    sender.send_replace(Some(Arc::clone(&connection)));
                    lost(&connection, &part, &never, || true).await;
                    part.down("the message broker is not reachable".to_owned());
                    sender.send_replace(None);
                    tracing::warn!("lost the connection to the message broker (reading)");
                }
                Err(fault) => {
                    part.down(fault::connection_sentence(&fault));
                    tracing::debug!("no connection to the message broker: {fault}");
                }
            }
            tries.wait(&shared).await;
        }
    });
    receiver
}
