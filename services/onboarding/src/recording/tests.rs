//! A recorded session from end to end, on a database that can be taken away.

use std::time::Duration;

use roadstead_contracts::ids::{ClusterId, TypedId as _, UserId};
use roadstead_runtime::{Clock as _, Ids, Secret, SystemClock};
use roadstead_store::{Opened, Options as StoreOptions, open};
use tokio::time::timeout;
use uuid::Uuid;

use super::*;

struct Rig {
    tasks: Tasks,
    store: Arc<dyn Store>,
    sealer: Sealer,
    opened: Opened,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = Secret::new(format!("sqlite:{}", folder.path().display()));
        let opened = open(&url, &StoreOptions::new("onboarding")).await.unwrap();
        roadstead_store::migrations!("onboarding").up(&opened).await.unwrap();
        let store: Arc<dyn Store> = {
            let opened = opened.clone();
            roadstead_store::share!(opened => dyn Store)
        };
        Self { tasks: Tasks::new(), store, sealer: Sealer::ephemeral("test").unwrap(), opened, _folder: folder }
    }

    async fn recorder(&self, limit: u64) -> Recorder {
        let ids = Ids::system(SystemClock::shared());
        let (id, session) = (ids.next(), session());
        let facts = serde_json::to_vec(&session).unwrap();
        let new = NewRecording {
            id,
            user: session.user_id,
            cluster: session.cluster_id,
            request_id: "r-1".to_owned(),
            facts: self.sealer.seal(TABLE, FACTS, id, &facts).unwrap().as_str().to_owned(),
            lines: seal_lines(&self.sealer, id, 0, &cast::head(&session, 0)).unwrap(),
            at: SystemClock.now(),
        };
        self.store.begin_recording(&new).await.unwrap();
        Recorder {
            id,
            store: Arc::clone(&self.store),
            sealer: self.sealer.clone(),
            clock: SystemClock::shared(),
            protocol: Protocol::WebSocket,
            input: false,
            limit,
            began: Instant::now(),
            kept: Mutex::new(Kept { lines: Lines::default(), text: String::new(), bytes: 0, total: 0, part: 0 }),
        }
    }

    async fn whole(&self, id: RecordingId) -> String {
        let (mut text, mut part) = (String::new(), 0);
        loop {
            let (sealed, more) = self.store.recording_part(id, part).await.unwrap().unwrap();
            assert!(!sealed.contains("hello"), "parts are sealed");
            text.push_str(&unseal_lines(&self.sealer, id, part, &sealed).unwrap());
            if !more {
                return text;
            }
            part += 1;
        }
    }

    /// A stream of an agent, and the agent's end of it.
    async fn agent(&self) -> (Stream, Stream) {
        let (one, two) = pipe();
        let (hub, hub_incoming) = start(one, Role::Hub, Options::default(), &self.tasks);
        let (agent, mut incoming) = start(two, Role::Agent, Options::default(), &self.tasks);
        let opened = hub.open(Bytes::from_static(b"{}"), Class::Interactive).unwrap();
        let Some(Event::Stream { stream, .. }) = incoming.next().await else { panic!("no stream") };
        self.tasks.spawn("kept", async move {
            let _all = (hub, hub_incoming, agent);
            while incoming.next().await.is_some() {}
        });
        (opened, stream)
    }
}

fn session() -> SessionFacts {
    SessionFacts {
        user_id: UserId::from_uuid(Uuid::from_u128(1)),
        username: "ada".to_owned(),
        cluster_id: ClusterId::from_uuid(Uuid::from_u128(2)),
        cluster_name: "prod".to_owned(),
        namespace: "default".to_owned(),
        pod: "web".to_owned(),
        container: None,
        verb: "exec".to_owned(),
        command: vec!["sh".to_owned()],
        tty: true,
        protocol: "websocket".to_owned(),
    }
}

const REQUEST: &[u8] = b"GET /exec HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";

fn said(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, u8::try_from(text.len() + 1).unwrap(), 1];
    frame.extend_from_slice(text);
    frame
}

#[tokio::test]
async fn what_is_shown_is_kept_and_can_be_played() {
    let rig = Rig::new().await;
    let recorder = rig.recorder(1 << 20).await;
    let id = recorder.id;
    let (agent, mut far) = rig.agent().await;
    let mut caller = recorder.between(agent, Class::Interactive, &rig.tasks).await.unwrap();
    caller.write_all(REQUEST).await.unwrap();
    let mut seen = vec![0; REQUEST.len()];
    far.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, REQUEST);
    let answer = [SWITCHED.to_vec(), said(b"hello "), said(b"there")].concat();
    far.write_all(&answer).await.unwrap();
    let mut back = vec![0; answer.len()];
    caller.read_exact(&mut back).await.unwrap();
    assert_eq!(back, answer, "bytes are carried as they are");
    far.finish();
    caller.finish();
    let ended = async {
        while rig.store.find_recording(id).await.unwrap().unwrap().ended_at.is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap();
    let text = rig.whole(id).await;
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["version"].as_i64(), lines[0]["command"].as_str()), (Some(2), Some("sh")));
    let shown: String = lines[1..].iter().filter(|line| line[1] == "o").map(|line| line[2].as_str().unwrap()).collect();
    assert_eq!(shown, "hello there");
    assert_eq!(rig.store.find_recording(id).await.unwrap().unwrap().bytes, 11);
    rig.tasks.cut();
}

#[tokio::test]
async fn a_session_ends_when_it_cannot_be_kept_any_longer() {
    let rig = Rig::new().await;
    // Longer than it may be, and a store that went away.
    for (limit, taken_away) in [(4, false), (1 << 20, true)] {
        let recorder = rig.recorder(limit).await;
        let (agent, mut far) = rig.agent().await;
        let mut caller = recorder.between(agent, Class::Interactive, &rig.tasks).await.unwrap();
        caller.write_all(REQUEST).await.unwrap();
        far.write_all(SWITCHED).await.unwrap();
        if taken_away {
            rig.opened.close().await;
        }
        far.write_all(&said(b"hello hello")).await.unwrap();
        let read = async {
            let mut all = Vec::new();
            caller.read_to_end(&mut all).await.map(|_| all)
        };
        let read = timeout(Duration::from_secs(15), read).await.expect("the session goes on unrecorded");
        assert!(read.is_err(), "it was cut, not ended");
    }
    rig.tasks.cut();
}
