//! A hub that a test plays: keys, enrolment, the agents' door.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Request, Response, StatusCode};
use roadstead_agent::net::Connection;
use roadstead_auth::agent_key;
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::identity::{RootKey, SigningKeys};
use roadstead_contracts::agent::{CONNECT_PATH, ENROL_PATH, Enrol, Enrolled, IdentityClaims, Notice, SUBPROTOCOL};
use roadstead_contracts::message::{ClusterFacts, RightsProfile};
use roadstead_runtime::{Clock as _, SystemClock, Tasks};
use roadstead_tunnel::door::{self, Reply};
use roadstead_tunnel::{Event, Incoming, Options, Role, Session, start, ws};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub const CLUSTER: &str = "0198c5b0-0000-7000-8000-000000000002";
pub const AGENT: &str = "0198c5b0-0000-7000-8000-000000000001";
pub const TOKEN: &str = "rsj_0198c5b0000070008000000000000003_c2VjcmV0";

pub fn now() -> DateTime<Utc> {
    SystemClock.now()
}

/// The user service's keys.
pub struct Keys {
    pub root: RootKey,
    pub signing: SigningKeys,
}

impl Keys {
    pub fn new() -> Self {
        let root = RootKey::new(PrivateKey::generate().unwrap());
        Self { root, signing: SigningKeys::new(PrivateKey::generate().unwrap(), []) }
    }

    pub fn welcome(&self) -> Notice {
        Notice::Welcome { epoch: 1, heartbeat_seconds: 1, key_set: self.key_set() }
    }

    pub fn key_set(&self) -> String {
        self.root.sign_key_set(self.signing.key_set(), now()).unwrap()
    }

    /// An identity, after a change of its claims.
    pub fn assertion(&self, change: impl FnOnce(&mut IdentityClaims)) -> String {
        let iat = now().timestamp();
        let mut claims = IdentityClaims {
            sub: "alice".to_owned(),
            uid: "u".to_owned(),
            roles: vec!["viewer".to_owned()],
            aud: CLUSTER.to_owned(),
            iat,
            exp: iat + 60,
            actor: None,
            only: None,
        };
        change(&mut claims);
        self.signing.sign(&claims).unwrap()
    }
}

pub fn send(session: &Session, notice: &Notice) {
    session.notify(serde_json::to_vec(notice).unwrap().into()).unwrap();
}

/// The next heartbeat of an agent.
pub async fn heartbeat(incoming: &mut Incoming) -> ClusterFacts {
    loop {
        let Some(Event::Notice(bytes)) = incoming.next().await else { panic!("no notice") };
        match serde_json::from_slice(&bytes).unwrap() {
            Notice::Heartbeat { facts } => return facts,
            Notice::Drift(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The hub's door. Sessions that stand come out of `sessions`.
pub struct Hub {
    pub address: SocketAddr,
    pub keys: Arc<Keys>,
    pub sessions: mpsc::UnboundedReceiver<(Session, Incoming)>,
    pub state: Arc<Mutex<State>>,
    pub tasks: Tasks,
}

/// What the hub knows and how it behaves.
#[derive(Debug, Default)]
pub struct State {
    pub public_key: Option<String>,
    pub enrolments: Vec<Enrol>,
    pub dials: usize,
    /// Answer the next dials with these.
    pub refuse: Vec<(u16, Vec<(&'static str, String)>)>,
    /// Seconds by which the hub's clock is ahead.
    pub ahead: i64,
    pub well_known: Option<String>,
}

impl Hub {
    pub async fn start() -> Self {
        let wrap = |stream| async move { Ok(Box::new(stream) as Connection) };
        Self::start_with(wrap).await
    }

    pub async fn start_with<W, F>(wrap: W) -> Self
    where
        W: Fn(tokio::net::TcpStream) -> F + Clone + Send + 'static,
        F: Future<Output = std::io::Result<Connection>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        let (give, sessions) = mpsc::unbounded_channel();
        let (keys, state) = (Arc::new(Keys::new()), Arc::new(Mutex::new(State::default())));
        let (own, known, shared) = (tasks.clone(), Arc::clone(&keys), Arc::clone(&state));
        tasks.spawn("hub", async move {
            let tasks = own.clone();
            let handler =
                move |request: Request<Bytes>, _| std::future::ready(answer(&request, &known, &shared, &give, &tasks));
            door::serve(listener, &own, wrap, handler).await;
        });
        Self { address, keys, sessions, state, tasks }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next session, after the hub said welcome.
    pub async fn session(&mut self) -> (Session, Incoming) {
        let (session, incoming) = self.sessions.recv().await.unwrap();
        send(&session, &self.keys.welcome());
        (session, incoming)
    }
}

fn problem(status: u16, code: &str, detail: &str) -> Response<Bytes> {
    let mut response = Response::new(json!({ "detail": detail, "code": code }).to_string().into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn answer(
    request: &Request<Bytes>,
    keys: &Keys,
    state: &Mutex<State>,
    give: &mpsc::UnboundedSender<(Session, Incoming)>,
    tasks: &Tasks,
) -> Reply<Connection> {
    let mut state = state.lock().unwrap();
    let hub_time = now() + chrono::Duration::seconds(state.ahead);
    let dated = |mut response: Response<Bytes>| {
        let date = hub_time.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().insert("date", date.parse().unwrap());
        Reply::Answer(response)
    };
    match request.uri().path() {
        "/.well-known/roadstead" => match &state.well_known {
            Some(url) => dated(Response::new(json!({ "agent_url": url }).to_string().into())),
            None => dated(problem(404, "not_found", "Not found")),
        },
        ENROL_PATH => {
            let enrol: Enrol = serde_json::from_slice(request.body()).unwrap();
            let good = enrol.join_token == TOKEN;
            state.public_key = good.then(|| enrol.public_key.clone());
            let name = enrol.name.clone();
            state.enrolments.push(enrol);
            if !good {
                return dated(problem(401, "invalid_join_token", "Invalid join token"));
            }
            let enrolled = Enrolled {
                agent_id: AGENT.to_owned(),
                cluster_id: CLUSTER.to_owned(),
                cluster_name: name.unwrap(),
                identity_root: keys.root.public_base64url(),
                namespaces: Vec::new(),
                profile: RightsProfile::default(),
            };
            dated(Response::new(serde_json::to_vec(&enrolled).unwrap().into()))
        }
        CONNECT_PATH => {
            state.dials += 1;
            if !state.refuse.is_empty() {
                let (status, headers) = state.refuse.remove(0);
                let mut response = problem(status, "unavailable", "come back later");
                for (name, value) in headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                return dated(response);
            }
            let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            let token = token.and_then(|value| value.strip_prefix("Bearer "));
            let known = state.public_key.clone().zip(token);
            let proved = known.and_then(|(key, token)| agent_key::verify_dial(token, &key, hub_time).ok());
            if proved.is_none_or(|claims| claims.sub != AGENT) {
                return dated(problem(401, "invalid_credential", "Invalid credential"));
            }
            let accepted = ws::accept(request, &[SUBPROTOCOL]).unwrap();
            let (give, tasks) = (give.clone(), tasks.clone());
            Reply::Upgrade(
                accepted,
                Box::new(move |socket| {
                    let _ = give.send(start(socket, Role::Hub, Options::default(), &tasks));
                }),
            )
        }
        _ => dated(problem(404, "not_found", "Not found")),
    }
}
