//! Sessions to other members of the mesh, kept and dialled when needed.
//!
//! A burst dials once: whoever comes while a member is dialled waits for the same dial, and a dial that failed counts for a
//! moment. A member that takes connections and says nothing costs its callers one wait, not one after the other.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::sockets::keep_alive;
use roadstead_runtime::{Ids, Tasks};
use roadstead_tunnel::transport::Framed;
use roadstead_tunnel::{Options, Role, Session, start};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

/// Connecting to a member, handshake included: both are in one network. Callers wait five seconds for an agent, so that they
/// learn in time where else it is.
const DIAL_LIMIT: Duration = Duration::from_secs(3);
/// For so long a dial that failed is not tried again: shorter than anybody waits.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// Streams in one session before another is dialled: one window for all of them should not become the bottleneck.
const STREAMS_PER_SESSION: usize = 256;
/// Sessions to one member.
const SESSIONS_MAX: usize = 16;
/// Members that sessions are kept to. Gone ones are forgotten when a new one appears.
const MEMBERS_MAX: usize = 1_024;

/// Dials an address.
type Dial = Box<dyn Fn(String) -> BoxFuture<'static, io::Result<Session>> + Send + Sync>;
/// A dial that several wait for.
type Dialling = Shared<BoxFuture<'static, Result<Session>>>;

/// Sessions by address.
pub struct Sessions {
    tasks: Tasks,
    dial: Dial,
    members: Mutex<HashMap<String, Arc<Member>>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// Sessions to one member.
#[derive(Default)]
struct Member(Mutex<State>);

#[derive(Default)]
struct State {
    sessions: Vec<Session>,
    /// The dial that is under way.
    dialling: Option<Dialling>,
    /// When the last dial failed, and why.
    failed: Option<(Instant, Error)>,
}

impl Member {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// None yet.
    pub fn new(ids: Ids, tasks: Tasks, tls: &MeshTls) -> Self {
        let (own, tls) = (tasks.clone(), TlsConnector::from(Arc::clone(&tls.client)));
        let dial: Dial = Box::new(move |address| dial(address, tls.clone(), ids.clone(), own.clone()).boxed());
        Self { tasks, dial, members: Mutex::default() }
    }

    fn member(&self, address: &str) -> Arc<Member> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if members.len() >= MEMBERS_MAX && !members.contains_key(address) {
            members.clear();
        }
        Arc::clone(members.entry(address.to_owned()).or_default())
    }

    /// A session to the member at an address, with room for another stream where there is one.
    pub async fn session(&self, address: &str) -> Result<Session> {
        let member = self.member(address);
        let (dialling, full) = {
            let mut state = member.lock();
            state.sessions.retain(|session| session.close_reason().is_none());
            let least = state.sessions.iter().min_by_key(|session| session.open_streams()).cloned();
            if let Some(session) = &least
                && (session.open_streams() < STREAMS_PER_SESSION || state.sessions.len() >= SESSIONS_MAX)
            {
                return Ok(session.clone());
            }
            if let Some((_, error)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < FAILED_FOR) {
                return least.ok_or_else(|| error.clone());
            }
            let dialling = state.dialling.get_or_insert_with(|| self.dialled(address, Arc::clone(&member))).clone();
            (dialling, least)
        };
        // A full one is better than none.
        dialling.await.or_else(|error| full.filter(|session| session.close_reason().is_none()).ok_or(error))
    }

    /// Dials, for everybody who waits. It goes to its end when they have left.
    fn dialled(&self, address: &str, member: Arc<Member>) -> Dialling {
        let (dial, address) = (timeout(DIAL_LIMIT, (self.dial)(address.to_owned())), address.to_owned());
        let dialling = async move {
            let dialled = match dial.await {
                Ok(Ok(session)) => Ok(session),
                Ok(Err(fault)) => {
                    tracing::warn!("failed to reach the replica at {address}: {fault}");
                    Err(Error::new(Code::Unavailable, "the replica that is needed is not reached"))
                }
                Err(_) => {
                    tracing::warn!("the replica at {address} does not answer");
                    Err(silent())
                }
            };
            let mut state = member.lock();
            state.dialling = None;
            state.failed = dialled.as_ref().err().map(|error| (Instant::now(), error.clone()));
            state.sessions.extend(dialled.iter().cloned());
            dialled
        };
        let dialling = dialling.boxed().shared();
        let driven = dialling.clone();
        self.tasks.spawn("mesh-dial", async move {
            // Those who wait are told its error.
            let _ = driven.await;
        });
        dialling
    }
}

/// A member that says nothing.
pub(crate) fn silent() -> Error {
    Error::new(Code::Unavailable, "the replica that is needed does not answer")
}

async fn dial(address: String, tls: TlsConnector, ids: Ids, tasks: Tasks) -> io::Result<Session> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    keep_alive(&socket)?;
    let socket = tls.connect(MeshTls::member_name(), socket).await?;
    // Replicas open no streams: what would come in is dropped with the receiver and so refused.
    let (session, _) = start(Framed::new(socket), Role::Hub, Options::jittered(&ids), &tasks);
    Ok(session)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use roadstead_tunnel::transport::pipe;
    use roadstead_tunnel::{Class, Incoming};

    use super::*;

    /// How the member is.
    #[derive(Clone, Copy)]
    enum Way {
        Silent,
        Open,
    }

    struct Rig {
        sessions: Sessions,
        way: Arc<Mutex<Way>>,
        dials: Arc<AtomicUsize>,
    }

    impl Rig {
        fn new(way: Way) -> Self {
            let (way, dials, tasks) = (Arc::new(Mutex::new(way)), Arc::new(AtomicUsize::new(0)), Tasks::new());
            let peers: Arc<Mutex<Vec<(Session, Incoming)>>> = Arc::default();
            let (now, counted, own) = (Arc::clone(&way), Arc::clone(&dials), tasks.clone());
            let dial: Dial = Box::new(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                match *now.lock().unwrap() {
                    Way::Silent => std::future::pending().boxed(),
                    Way::Open => {
                        let (here, there) = pipe();
                        let (session, _) = start(here, Role::Hub, Options::default(), &own);
                        peers.lock().unwrap().push(start(there, Role::Agent, Options::default(), &own));
                        std::future::ready(Ok(session)).boxed()
                    }
                }
            });
            Self { sessions: Sessions { tasks, dial, members: Mutex::default() }, way, dials }
        }

        fn dials(&self) -> usize {
            self.dials.load(Ordering::SeqCst)
        }
    }

    /// Each waited for the dial of the one before: the fourth had used up its time.
    #[tokio::test(start_paused = true)]
    async fn regression_a_member_that_says_nothing_costs_its_callers_one_wait() {
        let rig = Rig::new(Way::Silent);
        let began = Instant::now();
        let asked = futures_util::future::join_all((0..20).map(|_| rig.sessions.session("a"))).await;
        assert!(asked.iter().all(|asked| asked.as_ref().is_err_and(|error| error.code == Code::Unavailable)));
        assert_eq!((rig.dials(), began.elapsed()), (1, DIAL_LIMIT));
        // For a moment nobody tries again, and other members are no matter of it.
        assert!(rig.sessions.session("a").await.is_err());
        assert_eq!((rig.dials(), began.elapsed()), (1, DIAL_LIMIT));
        *rig.way.lock().unwrap() = Way::Open;
        rig.sessions.session("b").await.unwrap();
        tokio::time::advance(FAILED_FOR).await;
        rig.sessions.session("a").await.unwrap();
        assert_eq!(rig.dials(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_takes_no_dial_along() {
        let rig = Rig::new(Way::Silent);
        assert!(timeout(Duration::from_secs(1), rig.sessions.session("a")).await.is_err());
        // The second joins the first one's dial.
        let began = Instant::now();
        assert!(rig.sessions.session("a").await.is_err());
        assert_eq!((rig.dials(), began.elapsed()), (1, Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_session_is_better_than_none() {
        let rig = Rig::new(Way::Open);
        let session = rig.sessions.session("a").await.unwrap();
        let open = |_| session.open(Bytes::from_static(b"head"), Class::Bulk).unwrap();
        let streams: Vec<_> = (0..STREAMS_PER_SESSION).map(open).collect();
        *rig.way.lock().unwrap() = Way::Silent;
        let full = rig.sessions.session("a").await.unwrap();
        assert_eq!((rig.dials(), full.open_streams()), (2, STREAMS_PER_SESSION));
        *rig.way.lock().unwrap() = Way::Open;
        tokio::time::advance(FAILED_FOR).await;
        assert_eq!(rig.sessions.session("a").await.unwrap().open_streams(), 0);
        drop(streams);
        // What has ended is not given out.
        session.close("over");
        assert_eq!(rig.sessions.session("a").await.unwrap().close_reason(), None);
        assert_eq!(rig.dials(), 3);
    }
}
