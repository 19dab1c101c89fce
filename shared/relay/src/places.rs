//! Where in the mesh something is: asked over the bus, believed for a while, and dialled with sessions that are kept.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::{Bus, CallContext};
use roadstead_contracts::Result;
use roadstead_contracts::message::Request;
use roadstead_runtime::{Ids, SharedClock, Tasks};
use roadstead_tunnel::Session;

use crate::{Answer, Cache, Sessions};

/// Deadline of the question where something is.
const LOCATE_DEADLINE: Duration = Duration::from_secs(5);

/// Places by key, as the question `R` tells them.
pub(crate) struct Places<K, R: Request> {
    bus: Bus,
    clock: SharedClock,
    ids: Ids,
    /// How long an answer is believed; a wrong one is noticed when it is dialled.
    found_for: chrono::Duration,
    known: Cache<K, R::Reply>,
    sessions: Sessions,
}

impl<K, R: Request> fmt::Debug for Places<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places")
    }
}

impl<K, R> Places<K, R>
where
    K: Clone + Eq + Hash + Send + 'static,
    R: Request,
{
    /// For a member of the mesh; nothing is known yet.
    pub(crate) fn new(
        bus: Bus,
        clock: SharedClock,
        ids: Ids,
        tasks: Tasks,
        tls: &MeshTls,
        found_for: chrono::Duration,
    ) -> Self {
        Self {
            known: Cache::new(Arc::clone(&clock), tasks.clone()),
            sessions: Sessions::new(ids.clone(), tasks, tls),
            bus,
            clock,
            ids,
            found_for,
        }
    }

    /// Where it is.
    pub(crate) async fn find(&self, key: K, question: R) -> Result<Arc<R::Reply>> {
        if let Some(place) = self.known.known(&key) {
            return Ok(place);
        }
        let (bus, clock, found_for) = (self.bus.clone(), Arc::clone(&self.clock), self.found_for);
        let context = CallContext::new(LOCATE_DEADLINE, self.ids.uuid().to_string());
        let ask = move || -> BoxFuture<'static, _> {
            Box::pin(async move {
                let place = bus.call(&question, &context).await?;
                Ok(Answer { value: Arc::new(place), until: clock.now() + found_for })
            })
        };
        self.known.get(key, ask).await
    }

    /// A session to the member at an address that was found.
    pub(crate) async fn session(&self, address: &str) -> Result<Session> {
        self.sessions.session(address).await
    }

    /// Nothing was there: the next caller asks again.
    pub(crate) fn forget(&self, key: &K) {
        self.known.forget(key);
    }

    /// Nothing was at the place that was found: the next caller asks again, unless somebody has done so since. Many callers
    /// wait for one thing that is away, and must not take each other's answers.
    pub(crate) fn missed(&self, key: &K, place: &Arc<R::Reply>) {
        if self.known.known(key).is_some_and(|known| Arc::ptr_eq(&known, place)) {
            self.known.forget(key);
        }
    }
}
