use std::collections::{BTreeMap, BTreeSet};

use roadstead_contracts::audit::{Actor, AuditRecord, Origin, Outcome, Resource};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::{Principal, Reach, Role};
use roadstead_contracts::ids::{JoinTokenId, MessageId, SessionId};
use roadstead_contracts::message::*;
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::{agent, queue};
use serde::Serialize;
use serde_json::{Value, json};

use crate::given::{at, id};

fn principal() -> Principal {
    crate::given::principal(&[Role::Viewer, Role::Operator], Reach::Granted(BTreeSet::from([id(2)])))
}

fn labels() -> Labels {
    Labels(BTreeMap::from([("env".to_owned(), "prod".to_owned())]))
}

fn cluster() -> Cluster {
    Cluster {
        id: id(2),
        seq: 12,
        name: ClusterName::parse("alpha").unwrap(),
        description: "first".to_owned(),
        labels: labels(),
        mode: ClusterMode::Agent,
        endpoint: None,
        status: ClusterStatus::Connected,
        owner_id: Some(id(1)),
        agent_id: Some(id(4)),
        facts: ClusterFacts {
            kubernetes_version: Some("v1.36.3".to_owned()),
            node_count: Some(2),
            ..ClusterFacts::default()
        },
        last_seen_at: Some(at("2026-01-02T03:04:05.000006Z")),
        created_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-01-01T00:00:00Z"),
    }
}

/// A record with everything in it.
fn record() -> AuditRecord {
    let origin = Origin::request("r-1").from_address("192.0.2.7".parse().unwrap()).by(Some("kubectl/v1.36"));
    let resource = Resource::named("pods", "web-1").in_cluster(id(2)).in_namespace("shop");
    let actor = Actor::of(&principal());
    let intent = AuditRecord::intent(id(20), at("2026-01-02T03:04:05Z"), origin, actor, "kubernetes.delete", resource);
    let refused = Outcome::of_error(&roadstead_contracts::Code::Forbidden.into());
    intent.with("group", "apps").ended(id(21), at("2026-01-02T03:04:06Z"), refused)
}

/// One line per message: where it goes, what it is called, and its exact JSON. A change of a line is a change of the
/// wire: fields are only added, with a default.
fn row<R: Request>(request: &R, reply: &R::Reply) -> (String, Value) {
    let decoded: R = serde_json::from_value(serde_json::to_value(request).unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&decoded).unwrap(), serde_json::to_value(request).unwrap());
    let body = json!({ "queue": R::QUEUE.requests, "request": request_json(request), "reply": request_json(reply) });
    (R::KIND.to_owned(), body)
}

fn request_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn every_message_is_pinned() {
    let who = principal();
    let page = PageRequest { limit: 100, offset: 0, cursor: None };
    let token = NewJoinToken {
        id: id::<JoinTokenId>(5),
        digest: "ab".repeat(32),
        lifetime_seconds: 3600,
        uses: 1,
        labels: labels(),
        profile: RightsProfile::Operator,
        namespaces: Vec::new(),
    };
    let shown = JoinToken {
        id: id(5),
        cluster_id: Some(id(2)),
        cluster_name: Some(ClusterName::parse("alpha").unwrap()),
        labels: labels(),
        profile: RightsProfile::Operator,
        namespaces: Vec::new(),
        uses_left: 1,
        expires_at: at("2026-01-01T01:00:00Z"),
        revoked_at: None,
        created_at: at("2026-01-01T00:00:00Z"),
    };
    let agent = Agent {
        agent_id: "a-1".to_owned(),
        cluster_id: Some(id(2)),
        cluster_seq: Some(12),
        cluster_name: Some(ClusterName::parse("alpha").unwrap()),
        connected: true,
        revoked: false,
        version: Some("0.1.0".to_owned()),
        last_seen_at: None,
        created_at: at("2026-01-01T00:00:00Z"),
        commands_only: false,
        cluster: None,
    };
    let authenticated =
        Authenticated { principal: who.clone(), expires_at: None, assertion: Some("signed".to_owned()) };
    let grant = ClusterGrant { cluster_id: id(2), user_id: id(1), username: "ada".to_owned() };
    let list = agent::NamespaceList {
        namespaces: vec![agent::NamespaceInfo {
            name: "default".to_owned(),
            status: "Active".to_owned(),
            created_at: Some("2026-01-01T00:00:00Z".to_owned()),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }],
    };
    let seed = SeedCluster { cluster: cluster(), owner_seq: 7, details: SeedClusterDetails::default() };
    let clusters = Page { items: vec![cluster()], total: 1, next_cursor: None };
    let rows: BTreeMap<String, Value> = [
        row(
            &Authenticate {
                credential: CredentialProof::ApiKey { id: id(3), digest: "cd".repeat(32) },
                cluster_id: Some(id(2)),
                source: Some("127.0.0.1".to_owned()),
                raise: None,
            },
            &authenticated,
        ),
        row(
            &AuthenticateAs {
                credential: CredentialProof::ApiKey { id: id(3), digest: "cd".repeat(32) },
                cluster_id: id(2),
                acts_as: ActsAs { user: "bob".to_owned(), roles: BTreeSet::from([Role::Viewer]) },
                raise: None,
            },
            &authenticated,
        ),
        row(&IdentifyPeer { account: "legacy".to_owned(), cluster_id: Some(id(2)), raise: None }, &authenticated),
        row(&IdentityKeys {}, &IdentityKeySet { root: "root".to_owned(), key_set: "jwt".to_owned() }),
        row(&GrantCluster { principal: who.clone(), cluster_id: id(2), account: "ada".to_owned() }, &grant),
        row(&RevokeCluster { principal: who.clone(), cluster_id: id(2), account: "ada".to_owned() }, &grant),
        row(&RecordAudit { records: vec![record()] }, &AuditRecorded { fresh: 1 }),
        row(
            &GetNamespaces {
                principal: who.clone(),
                assertion: Some("signed".to_owned()),
                target: AgentTarget::Agent("a-1".to_owned()),
            },
            &Namespaces { agent_id: id(4), cluster_id: id(2), cluster_seq: 12, list },
        ),
        row(
            &AskSeedAgent {
                principal: who.clone(),
                target: AgentTarget::Agent("a-1".to_owned()),
                view: SeedView::GetPods { namespace: "shop".to_owned() },
            },
            &serde_json::json!({ "namespace": "shop", "pods": [], "count": 0 }),
        ),
        row(&ListClusters { principal: who.clone(), page: page.clone(), labels: labels() }, &clusters),
        row(&GetCluster { principal: who.clone(), cluster: "alpha".to_owned() }, &cluster()),
        row(&ResolveAgent { principal: who.clone(), target: AgentTarget::Cluster("alpha".to_owned()) }, &agent),
        row(
            &LocateAgent { cluster_id: id(2) },
            &AgentLocation { replica_id: id(10), address: "10.0.0.7:8009".to_owned(), agent_id: id(4), epoch: 3 },
        ),
        row(&FindReplica {}, &ReplicaLocation { replica_id: id(10), address: "10.0.0.7:8009".to_owned() }),
        row(
            &ListJoinTokens { principal: who.clone(), page: page.clone() },
            &Page { items: vec![shown.clone()], total: 1, next_cursor: None },
        ),
        row(&CheckJoinToken { id: id(5), digest: "ab".repeat(32) }, &shown),
        row(
            &ListAgents { principal: who.clone(), page, connected_only: true },
            &Page { items: vec![agent.clone()], total: 1, next_cursor: None },
        ),
        row(&ListSeedClusters { principal: who.clone() }, &vec![seed.clone()]),
        row(&GetSeedCluster { principal: who.clone(), cluster: "alpha".to_owned() }, &seed),
        row(
            &CountClusters {},
            &vec![ClusterCount { mode: ClusterMode::Hosted, status: ClusterStatus::Pending, count: 3 }],
        ),
        row(
            &CreateCluster {
                principal: who.clone(),
                name: ClusterName::parse("alpha").unwrap(),
                description: String::new(),
                labels: labels(),
                join_token: Some(token.clone()),
            },
            &cluster(),
        ),
        row(
            &UpdateCluster {
                principal: who.clone(),
                cluster: "12".to_owned(),
                name: None,
                description: Some("new".to_owned()),
                labels: None,
            },
            &cluster(),
        ),
        row(&DeleteCluster { principal: who.clone(), cluster: "alpha".to_owned() }, &cluster()),
        row(&CreateJoinToken { principal: who.clone(), token, cluster: Some("alpha".to_owned()) }, &shown),
        row(&RevokeJoinToken { principal: who.clone(), id: id(5) }, &shown),
        row(&RevokeAgent { principal: who.clone(), agent_id: "a-1".to_owned() }, &agent),
        row(&GenerateAgentId { principal: who.clone(), cluster_seq: Some(12) }, &agent),
        row(
            &OnboardSeedCluster {
                principal: who,
                agent_id: "a-1".to_owned(),
                name: ClusterName::parse("alpha").unwrap(),
                details: SeedClusterDetails::default(),
            },
            &seed,
        ),
    ]
    .into_iter()
    .collect();
    insta::assert_json_snapshot!("messages", rows);
}

#[test]
fn every_event_is_pinned_and_routed_by_its_tag() {
    let facts = [
        Fact::UserCreated { user_id: id(1) },
        Fact::UserChanged { user_id: id(1) },
        Fact::UserDeleted { user_id: id(1) },
        Fact::PolicyChanged {},
        Fact::SessionRevoked { user_id: id(1), session_id: id::<SessionId>(6) },
        Fact::ApiKeyRevoked { user_id: id(1), api_key_id: id(3) },
        Fact::ClusterCreated { cluster_id: id(2) },
        Fact::ClusterUpdated { cluster_id: id(2) },
        Fact::ClusterDeleted { cluster_id: id(2) },
        Fact::AgentConnected { cluster_id: id(2), agent_id: "a-1".to_owned() },
        Fact::AgentDisconnected { cluster_id: id(2), agent_id: "a-1".to_owned() },
        Fact::AgentRevoked { agent_id: "a-1".to_owned() },
    ];
    let events: Vec<Value> = facts
        .into_iter()
        .map(|fact| {
            let key = fact.routing_key();
            let event = Event { id: id::<MessageId>(9), at: at("2026-01-01T00:00:00Z"), fact };
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["type"], key);
            assert_eq!(serde_json::from_value::<Event>(json.clone()).unwrap(), event);
            json
        })
        .collect();
    insta::assert_json_snapshot!("events", events);
}

#[test]
fn every_notice_and_stream_head_is_pinned() {
    let facts = ClusterFacts { health: Some("healthy".to_owned()), ..ClusterFacts::default() };
    let notices = [
        agent::Notice::Welcome { epoch: 3, heartbeat_seconds: 10, key_set: "jwt".to_owned() },
        agent::Notice::Heartbeat { facts },
        agent::Notice::Keys { key_set: "jwt".to_owned() },
        agent::Notice::Move { after_milliseconds: 500 },
        agent::Notice::Revoked {},
    ];
    for notice in &notices {
        let json = serde_json::to_value(notice).unwrap();
        assert_eq!(&serde_json::from_value::<agent::Notice>(json).unwrap(), notice);
    }
    let head = agent::StreamHead {
        target: agent::StreamTarget::Agent { verb: agent::GET_NAMESPACES.to_owned() },
        request_id: "r-1".to_owned(),
        deadline_milliseconds: 30_000,
        traceparent: None,
        assertion: Some("signed".to_owned()),
    };
    let exchange = agent::StreamHead { target: agent::StreamTarget::Kubernetes {}, ..head.clone() };
    let relayed = agent::RelayHead { cluster_id: id(2), interactive: false, head: exchange, session: None };
    insta::assert_json_snapshot!("notices", json!({ "notices": notices, "head": head, "relayed": relayed }));
}

#[test]
fn queues_follow_the_naming_rule() {
    for queue in queue::ALL {
        assert_eq!(queue.requests.strip_suffix("_requests"), queue.results.strip_suffix("_results"), "{queue:?}");
    }
    let names: BTreeSet<&str> = queue::ALL.iter().map(|queue| queue.requests).collect();
    assert_eq!(names.len(), queue::ALL.len());
}
