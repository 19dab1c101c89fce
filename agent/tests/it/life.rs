//! The life of an agent that dials: it joins, keeps its key, comes back, follows the hub's clock, and goes for good when
//! it is revoked.

use std::time::{Duration, Instant};

use roadstead_agent::run::{Finished, Process, run};
use roadstead_agent::{Error, Result};
use roadstead_contracts::agent::{GET_NAMESPACES, Notice, VerbAnswer};
use roadstead_runtime::config::MapEnv;
use roadstead_runtime::config::agent::AgentSettings;
use roadstead_runtime::{Ids, SystemClock, Tasks};
use roadstead_tunnel::{Class, Code, Session, Stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::api::{Api, Manner};
use crate::hub::{Hub, TOKEN, heartbeat, send};
use crate::session::ask;

pub struct Life {
    pub folder: TempDir,
    pub api: Api,
    pub tasks: Tasks,
}

impl Life {
    pub async fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), api: Api::start(Manner::default()).await, tasks: Tasks::new() }
    }

    pub fn settings(&self, hub: &str, token: Option<&str>) -> AgentSettings {
        let path = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        let mut given = vec![
            ("hub.url", hub.to_owned(), "--hub"),
            ("cluster.name", "east".to_owned(), "--name"),
            ("kubeconfig.path", self.api.kubeconfig(self.folder.path()).to_string_lossy().into_owned(), "--kubeconfig"),
            ("state.dir", path("state"), "--state"),
            ("server.port", "0".to_owned(), "--port"),
        ];
        if let Some(token) = token {
            given.push(("hub.token", token.to_owned(), "--join"));
        }
        AgentSettings::load(None, &MapEnv::default(), &given).unwrap()
    }

    /// A new process of the agent.
    pub fn start(&mut self, hub: &str, token: Option<&str>) -> JoinHandle<Result<Finished>> {
        self.tasks = Tasks::new();
        let (settings, tasks) = (self.settings(hub, token), self.tasks.clone());
        tokio::spawn(async move {
            let clock = SystemClock::shared();
            let env = MapEnv::default();
            run(&settings, &Process { env: &env, ids: Ids::system(clock.clone()), clock, tasks }).await
        })
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

#[tokio::test]
async fn an_agent_joins_serves_and_comes_back() {
    let (mut hub, mut life) = (Hub::start().await, Life::new().await);
    let agent = life.start(&hub.url(), Some(TOKEN));
    let (session, mut incoming) = soon(hub.session()).await;
    assert_eq!(soon(heartbeat(&mut incoming)).await.health.as_deref(), Some("healthy"));
    let answer = soon(ask(&session, GET_NAMESPACES, Some(hub.keys.assertion(|_| {})))).await;
    assert!(matches!(answer, VerbAnswer::Ok(list) if list.namespaces.len() == 3));
    {
        let state = hub.state.lock().unwrap();
        assert_eq!(state.enrolments.len(), 1);
        assert_eq!(state.enrolments[0].name.as_ref().unwrap().as_str(), "east");
    }
    // The hub's roles were bound by server-side apply.
    let bound = life.api.seen("/clusterrolebindings/");
    assert_eq!(bound.len(), 3);
    assert!(
        bound
            .iter()
            .all(|seen| seen.method == "PATCH" && seen.header("content-type") == ["application/apply-patch+yaml"])
    );
    assert!(String::from_utf8_lossy(&bound[2].body).contains("\"cluster-admin\""));

    // The hub lets go: the agent comes back by itself.
    session.close("restarting");
    let (session, mut incoming) = soon(hub.session()).await;
    soon(heartbeat(&mut incoming)).await;

    // The process is stopped and started again, without a token: it has its key.
    life.tasks.stop();
    assert_eq!(soon(agent).await.unwrap().unwrap(), Finished::Stopped);
    session.closed().await;
    life.tasks.finish(Duration::from_secs(1)).await;
    let agent = life.start(&hub.url(), None);
    let (session, mut incoming) = soon(hub.session()).await;
    soon(heartbeat(&mut incoming)).await;
    assert_eq!(hub.state.lock().unwrap().enrolments.len(), 1);

    // Told to come back later, it does; revoked, it does not.
    send(&session, &Notice::Move { after_milliseconds: 10 });
    let (session, _incoming) = soon(hub.session()).await;
    send(&session, &Notice::Revoked {});
    assert_eq!(soon(agent).await.unwrap().unwrap(), Finished::Revoked);
    life.tasks.cut();
    hub.tasks.cut();
}

#[tokio::test]
async fn the_front_door_names_the_agents_door() {
    let (mut door, front, mut life) = (Hub::start().await, Hub::start().await, Life::new().await);
    front.state.lock().unwrap().well_known = Some(door.url());
    let agent = life.start(&front.url(), Some(TOKEN));
    soon(door.session()).await;
    let (dials, enrolments) = {
        let state = front.state.lock().unwrap();
        (state.dials, state.enrolments.len())
    };
    assert_eq!((dials, enrolments), (0, 0));
    agent.abort();
    life.tasks.cut();
}

#[tokio::test]
async fn a_wrong_clock_is_put_right_by_the_hubs() {
    let (mut hub, mut life) = (Hub::start().await, Life::new().await);
    hub.state.lock().unwrap().ahead = 600;
    let agent = life.start(&hub.url(), Some(TOKEN));
    soon(hub.session()).await;
    // Refused once, then proved with the hub's time; the pre-flight knocked once before.
    assert_eq!(hub.state.lock().unwrap().dials, 3);
    agent.abort();
    life.tasks.cut();
}

#[tokio::test]
async fn a_bad_token_ends_it_with_a_sentence() {
    let (hub, mut life) = (Hub::start().await, Life::new().await);
    let refused = soon(life.start(&hub.url(), Some("rsj_wrong"))).await.unwrap().unwrap_err();
    assert!(matches!(&refused, Error::Refused { status: 401, .. }), "{refused}");
    let none = soon(life.start(&hub.url(), None)).await.unwrap().unwrap_err().to_string();
    assert!(none.contains("token") && none.contains("join-token create"), "{none}");
    let odd = soon(life.start(&hub.url(), Some("hunter2"))).await.unwrap().unwrap_err().to_string();
    assert!(odd.contains("rsj_") && !odd.contains("hunter2"), "{odd}");
}

#[tokio::test]
async fn a_busy_hub_says_when_to_come_back() {
    let (mut hub, mut life) = (Hub::start().await, Life::new().await);
    // The pre-flight's own knock, then two of the agent.
    hub.state.lock().unwrap().refuse = (0..3).map(|_| (503, vec![("retry-after", "0".to_owned())])).collect();
    let agent = life.start(&hub.url(), Some(TOKEN));
    soon(hub.session()).await;
    assert_eq!(hub.state.lock().unwrap().dials, 4);
    agent.abort();
    life.tasks.cut();
}

/// A verb whose request is not yet complete.
async fn begun(hub: &Hub, session: &Session) -> Stream {
    let head = serde_json::json!({
        "target": { "to": "agent", "verb": GET_NAMESPACES }, "request_id": "r", "deadline_milliseconds": 10_000,
        "assertion": hub.keys.assertion(|_| {}),
    });
    let stream = session.open(serde_json::to_vec(&head).unwrap().into(), Class::Interactive).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream
}

/// Ends the request; it is answered whole.
async fn is_answered(mut stream: Stream) {
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("{\"ok\":"), "{answer}");
}

/// An agent that was told to move cut whatever it carried.
#[tokio::test]
async fn regression_what_is_in_flight_when_the_hub_asks_to_move_is_answered_whole() {
    let (mut hub, mut life) = (Hub::start().await, Life::new().await);
    let agent = life.start(&hub.url(), Some(TOKEN));
    let (first, mut incoming) = soon(hub.session()).await;
    soon(heartbeat(&mut incoming)).await;
    let stream = begun(&hub, &first).await;
    let told = Instant::now();
    send(&first, &Notice::Move { after_milliseconds: 300 });
    // Begun before the hub knew that it asked to move.
    let late = begun(&hub, &first).await;
    let (second, mut incoming) = soon(hub.session()).await;
    assert!(told.elapsed() >= Duration::from_millis(300));
    soon(heartbeat(&mut incoming)).await;
    is_answered(begun(&hub, &second).await).await;
    is_answered(late).await;
    // Later ones are refused, so that whoever asks looks where the agent is now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut refused = begun(&hub, &first).await;
    let fault = refused.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(Stream::reset_code(&fault), Some(Code::REFUSED));
    assert_eq!(first.close_reason(), None, "it carries something still");
    is_answered(stream).await;
    let began = Instant::now();
    soon(first.closed()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(second.close_reason(), None);

    // One that does not end: a process that stops has ended it within its own grace.
    let stuck = begun(&hub, &second).await;
    send(&second, &Notice::Move { after_milliseconds: 0 });
    let (_third, _incoming) = soon(hub.session()).await;
    life.tasks.stop();
    assert_eq!(soon(agent).await.unwrap().unwrap(), Finished::Stopped);
    let began = Instant::now();
    soon(second.closed()).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(stuck);
}

#[tokio::test]
async fn a_stop_lets_running_work_finish() {
    let (mut hub, mut life) = (Hub::start().await, Life::new().await);
    let agent = life.start(&hub.url(), Some(TOKEN));
    let (session, mut incoming) = soon(hub.session()).await;
    soon(heartbeat(&mut incoming)).await;
    let stream = begun(&hub, &session).await;
    life.tasks.stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    is_answered(stream).await;
    assert_eq!(soon(agent).await.unwrap().unwrap(), Finished::Stopped);
}
