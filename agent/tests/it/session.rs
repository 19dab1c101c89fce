//! One session: heartbeats, verbs, identities.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_agent::{Core, Ended, Result};
use roadstead_contracts::agent::{
    GET_NAMESPACES, NamespaceInfo, NamespaceList, Notice, StreamHead, StreamTarget, VerbAnswer,
};
use roadstead_contracts::{Code, Error};
use roadstead_runtime::Tasks;
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Class, Incoming, Options, Role, Session, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::api::{Api, Manner};
use crate::hub::{CLUSTER, Keys, heartbeat, send};

pub struct Rig {
    pub keys: Keys,
    pub api: Api,
    pub hub: Session,
    pub incoming: Incoming,
    pub agent: JoinHandle<Result<Ended>>,
    tasks: Tasks,
}

impl Rig {
    pub async fn start(manner: Manner) -> Self {
        let api = Api::start(manner).await;
        let core = Core::new(api.cluster());
        Self::serve(api, core)
    }

    /// The same with another way to the cluster.
    pub fn with_core(self, core: Core) -> Self {
        Self::serve(self.api.clone(), core)
    }

    fn serve(api: Api, core: Core) -> Self {
        let core = Arc::new(core);
        let (keys, tasks) = (Keys::new(), Tasks::new());
        let (ours, theirs) = pipe();
        let (hub, incoming) = start(ours, Role::Hub, Options::default(), &tasks);
        let (session, agent_incoming) = start(theirs, Role::Agent, Options::default(), &tasks);
        let (root, own) = (keys.root.public_base64url(), tasks.clone());
        let agent =
            tokio::spawn(async move { core.serve(session, agent_incoming, root, CLUSTER.to_owned(), &own).await });
        Self { keys, api, hub, incoming, agent, tasks }
    }

    pub async fn ask(&self, verb: &str, assertion: Option<String>) -> VerbAnswer<NamespaceList> {
        ask(&self.hub, verb, assertion).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.tasks.cut();
    }
}

pub async fn ask(hub: &Session, verb: &str, assertion: Option<String>) -> VerbAnswer<NamespaceList> {
    let head = StreamHead {
        target: StreamTarget::Agent { verb: verb.to_owned() },
        request_id: "r-1".to_owned(),
        deadline_milliseconds: 20_000,
        traceparent: None,
        assertion,
    };
    let head = serde_json::to_vec(&head).unwrap();
    let mut stream = hub.open(head.into(), Class::Interactive).unwrap();
    stream.write_all(b"{}").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

fn error(answer: VerbAnswer<NamespaceList>) -> Error {
    match answer {
        VerbAnswer::Error(error) => error,
        VerbAnswer::Ok(list) => panic!("{list:?}"),
    }
}

#[tokio::test]
async fn heartbeats_say_how_the_cluster_is() {
    let mut rig = Rig::start(Manner { nodes: 3, ready: 3, ..Manner::default() }).await;
    send(&rig.hub, &rig.keys.welcome());
    let facts = heartbeat(&mut rig.incoming).await;
    assert_eq!(facts.kubernetes_version.as_deref(), Some("v1.36.3"));
    assert_eq!(facts.platform.as_deref(), Some("linux/amd64"));
    assert_eq!((facts.node_count, facts.ready_nodes), (Some(3), Some(3)));
    assert_eq!(facts.health.as_deref(), Some("healthy"));
    assert_eq!(facts.agent_version.as_deref(), Some(roadstead_agent::VERSION));
    // Nodes are asked for as a table without the objects.
    let asked = &rig.api.seen("/api/v1/nodes")[0];
    assert!(asked.path.contains("includeObject=None") && asked.header("accept")[0].contains("as=Table"));

    rig.api.manner.lock().unwrap().ready = 1;
    let facts = loop {
        let facts = heartbeat(&mut rig.incoming).await;
        if facts.ready_nodes == Some(1) {
            break facts;
        }
    };
    assert_eq!(facts.health.as_deref(), Some("degraded"));
    assert_eq!(facts.issues, ["2 of 3 nodes are not ready"]);
}

#[tokio::test]
async fn namespaces_are_listed_as_the_person_who_asks() {
    let rig = Rig::start(Manner { namespaces: 5, ..Manner::default() }).await;
    send(&rig.hub, &rig.keys.welcome());
    let assertion = rig.keys.assertion(|claims| claims.roles = vec!["operator".to_owned(), "viewer".to_owned()]);
    let VerbAnswer::Ok(list) = rig.ask(GET_NAMESPACES, Some(assertion)).await else { panic!() };
    let names: Vec<&str> = list.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["ns-0000", "ns-0001", "ns-0002", "ns-0003", "ns-0004"]);
    let expected = NamespaceInfo {
        name: "ns-0000".to_owned(),
        status: "Active".to_owned(),
        created_at: Some("2026-11-21T12:00:00Z".to_owned()),
        labels: [("kubernetes.io/metadata.name".to_owned(), "ns-0000".to_owned())].into(),
        annotations: [("team".to_owned(), "blue".to_owned())].into(),
    };
    assert_eq!(list.namespaces[0], expected);
    let asked = rig.api.seen("/api/v1/namespaces");
    assert_eq!(asked.len(), 2);
    for request in asked {
        assert_eq!(request.header("impersonate-user"), ["roadstead:alice"]);
        assert_eq!(request.header("impersonate-group"), ["roadstead:operator", "roadstead:viewer"]);
    }
}

#[tokio::test]
async fn without_a_good_identity_nothing_is_asked_of_the_cluster() {
    let rig = Rig::start(Manner::default()).await;
    send(&rig.hub, &rig.keys.welcome());
    let stranger = Keys::new();
    let bad = [
        None,
        Some("nonsense".to_owned()),
        Some(stranger.assertion(|_| {})),
        Some(rig.keys.assertion(|claims| claims.aud = "0198c5b0-0000-7000-8000-00000000000f".to_owned())),
        Some(rig.keys.assertion(|claims| (claims.iat, claims.exp) = (claims.iat - 600, claims.exp - 600))),
        Some(rig.keys.assertion(|claims| claims.exp += 3_600)),
        Some(rig.keys.assertion(|claims| claims.sub = "system:admin".to_owned())),
        Some(rig.keys.assertion(|claims| claims.roles = vec!["system:masters".to_owned()])),
        Some(rig.keys.assertion(|claims| claims.roles.clear())),
    ];
    for assertion in bad {
        let refused = error(rig.ask(GET_NAMESPACES, assertion.clone()).await);
        assert_eq!(refused.code, Code::IdentityRefused, "{assertion:?}");
    }
    assert!(rig.api.seen("/api/v1/namespaces").is_empty());
}

#[tokio::test]
async fn rotated_keys_are_taken() {
    let rig = Rig::start(Manner::default()).await;
    send(&rig.hub, &rig.keys.welcome());
    let next = roadstead_auth::identity::SigningKeys::new(roadstead_auth::ed25519::PrivateKey::generate().unwrap(), []);
    let both = rig.keys.root.sign_key_set(next.key_set(), crate::hub::now()).unwrap();
    send(&rig.hub, &Notice::Keys { key_set: both });
    // A set that the root did not sign changes nothing.
    let stranger = Keys::new();
    send(&rig.hub, &Notice::Keys { key_set: stranger.key_set() });
    let rotated = Keys { root: Keys::new().root, signing: next };
    let answer = rig.ask(GET_NAMESPACES, Some(rotated.assertion(|_| {}))).await;
    assert!(matches!(answer, VerbAnswer::Ok(_)), "{answer:?}");
    let answer = rig.ask(GET_NAMESPACES, Some(stranger.assertion(|_| {}))).await;
    assert_eq!(error(answer).code, Code::IdentityRefused);
}

#[tokio::test]
async fn the_clusters_refusals_reach_the_caller() {
    let rig = Rig::start(Manner::default()).await;
    send(&rig.hub, &rig.keys.welcome());
    let after = async |refuse: (u16, &'static str)| {
        rig.api.manner.lock().unwrap().refuse = Some(refuse);
        error(rig.ask(GET_NAMESPACES, Some(rig.keys.assertion(|_| {}))).await)
    };
    let forbidden = after((403, "namespaces is forbidden: User \"roadstead:alice\" cannot list")).await;
    assert_eq!(forbidden.code, Code::Forbidden);
    assert!(forbidden.detail.contains("roadstead:alice"));
    let agents = after((403, "users \"roadstead:alice\" is forbidden: cannot impersonate")).await;
    assert_eq!(agents.code, Code::AgentError);
    assert_eq!(after((401, "Unauthorized")).await.code, Code::AgentError);
    assert_eq!(after((500, "etcd is gone: secret detail")).await.code, Code::AgentError);
    assert!(!after((500, "etcd is gone: secret detail")).await.detail.contains("secret"));
    assert_eq!(error(rig.ask("make-coffee", Some(rig.keys.assertion(|_| {}))).await).code, Code::AgentError);
}

#[tokio::test]
async fn an_api_server_that_is_away_is_an_answer() {
    let rig = Rig::start(Manner::default()).await;
    let (keys, tasks) = (Keys::new(), Tasks::new());
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = roadstead_agent::kubernetes::Cluster::with_config(config, false).unwrap();
    let (ours, theirs) = pipe();
    let (hub, mut incoming) = start(ours, Role::Hub, Options::default(), &tasks);
    let (session, agent_incoming) = start(theirs, Role::Agent, Options::default(), &tasks);
    let (root, own) = (keys.root.public_base64url(), tasks.clone());
    tokio::spawn(async move {
        Arc::new(Core::new(cluster)).serve(session, agent_incoming, root, CLUSTER.to_owned(), &own).await
    });
    send(&hub, &keys.welcome());
    let facts = heartbeat(&mut incoming).await;
    assert_eq!(facts.health.as_deref(), Some("unhealthy"));
    assert!(!facts.issues.is_empty());
    let refused = error(ask(&hub, GET_NAMESPACES, Some(keys.assertion(|_| {}))).await);
    assert_eq!(refused.code, Code::AgentError);
    tasks.cut();
    drop(rig);
}

#[tokio::test]
async fn the_hub_may_move_or_revoke_its_agents() {
    for (notice, expected) in [
        (Notice::Move { after_milliseconds: 1_500 }, Ended::Move { after: Duration::from_millis(1_500) }),
        (Notice::Revoked {}, Ended::Revoked),
    ] {
        let mut rig = Rig::start(Manner::default()).await;
        send(&rig.hub, &rig.keys.welcome());
        send(&rig.hub, &notice);
        let ended = (&mut rig.agent).await.unwrap().unwrap();
        assert_eq!(ended, expected);
        rig.hub.closed().await;
    }
}

#[tokio::test]
async fn nonsense_heads_and_notices_hurt_nobody() {
    let rig = Rig::start(Manner::default()).await;
    send(&rig.hub, &rig.keys.welcome());
    rig.hub.notify(Bytes::from_static(b"\xff\xfe")).unwrap();
    rig.hub.notify(Bytes::from_static(b"{\"type\":\"of the future\"}")).unwrap();
    for head in
        [&b"nonsense"[..], b"{}", b"{\"target\":{\"to\":\"moon\"},\"request_id\":\"x\",\"deadline_milliseconds\":1}"]
    {
        let mut stream = rig.hub.open(Bytes::from_static(head), Class::Interactive).unwrap();
        assert!(stream.read_to_end(&mut Vec::new()).await.is_err());
    }
    let answer = rig.ask(GET_NAMESPACES, Some(rig.keys.assertion(|_| {}))).await;
    assert!(matches!(answer, VerbAnswer::Ok(_)));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_never_says_welcome_is_left() {
    let (hub_end, agent_end) = pipe();
    let tasks = Tasks::new();
    let (_hub, _incoming) = start(hub_end, Role::Hub, Options::default(), &tasks);
    let (session, incoming) = start(agent_end, Role::Agent, Options::default(), &tasks);
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = roadstead_agent::kubernetes::Cluster::with_config(config, false).unwrap();
    let root = Keys::new().root.public_base64url();
    let core = Arc::new(Core::new(cluster));
    let ended = core.serve(session, incoming, root, CLUSTER.to_owned(), &tasks).await.unwrap();
    assert!(matches!(ended, Ended::Closed(_)));
    tasks.cut();
}

/// With the profile `namespaced` nobody may list them all: the answer is those that they may see.
#[tokio::test]
async fn a_namespaced_agent_answers_with_its_own_namespaces() {
    use roadstead_contracts::message::RightsProfile;
    use roadstead_contracts::names::Namespace;

    let own: Vec<Namespace> =
        ["shop", "taken-away", "not-there"].into_iter().map(|name| Namespace::parse(name).unwrap()).collect();
    let rig = Rig::start(Manner::default()).await;
    let core = Core::new(rig.api.cluster()).with_rights(RightsProfile::Namespaced, own.clone());
    let mut rig = rig.with_core(core);
    send(&rig.hub, &rig.keys.welcome());
    heartbeat(&mut rig.incoming).await;
    let names = |answer: VerbAnswer<NamespaceList>| match answer {
        VerbAnswer::Ok(list) => list.namespaces.into_iter().map(|one| one.name).collect::<Vec<_>>(),
        VerbAnswer::Error(fault) => panic!("{fault:?}"),
    };
    // Who may see all sees all, whatever the profile.
    assert_eq!(names(rig.ask(GET_NAMESPACES, Some(rig.keys.assertion(|_| {}))).await).len(), 3);
    rig.api.manner.lock().unwrap().refuse = Some((403, "namespaces is forbidden"));
    assert_eq!(names(rig.ask(GET_NAMESPACES, Some(rig.keys.assertion(|_| {}))).await), ["shop"]);
    let asked = rig.api.seen("/api/v1/namespaces/shop");
    assert!(!asked[0].header("impersonate-user").is_empty(), "asked as the person");
    // None at all is a refusal, and so is a cluster without that profile.
    for core in [
        Core::new(rig.api.cluster()).with_rights(RightsProfile::Namespaced, own[1..].to_vec()),
        Core::new(rig.api.cluster()).with_rights(RightsProfile::Operator, Vec::new()),
    ] {
        let mut rig = Rig::serve(rig.api.clone(), core);
        send(&rig.hub, &rig.keys.welcome());
        heartbeat(&mut rig.incoming).await;
        let answer = rig.ask(GET_NAMESPACES, Some(rig.keys.assertion(|_| {}))).await;
        let VerbAnswer::Error(fault) = answer else { panic!("{answer:?}") };
        assert_eq!((fault.code, fault.detail.as_ref()), (Code::Forbidden, "namespaces is forbidden"));
    }
}
