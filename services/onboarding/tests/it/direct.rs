//! Clusters that the hub reaches by itself: added and removed at run time, hosted by one replica at a time, their credentials
//! sealed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, SanType};
use roadstead_contracts::agent::{GET_NAMESPACES, StreamHead, StreamTarget};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::message::{
    Cluster, ClusterMode, ClusterStatus, ConnectCluster, ConnectionLimits, ConnectionSource, ConnectionTls,
    DeleteCluster, GenerateAgentId, GetCluster, Handover, ListAgents, ListJoinTokens, NewConnection, PageRequest,
    ReconnectCluster, RightsProfile, Sensitive,
};
use roadstead_contracts::names::{ClusterName, Labels, Namespace};
use roadstead_contracts::{Code, Result};
use roadstead_tunnel::Class;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::rig::{Rig, eventually, principal};

/// An API server that a test plays, with TLS.
struct Api {
    url: String,
    ca: String,
    /// Heads of the requests that came.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Api {
    async fn start(redirect_to: Option<String>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        let ca = params.self_signed(&key).unwrap().pem();
        let chain = vec![CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = tokio_rustls::rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, seen) = (format!("https://{}", listener.local_addr().unwrap()), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, heard, redirect) = (acceptor.clone(), Arc::clone(&heard), redirect_to.clone());
                tokio::spawn(async move {
                    let Ok(mut socket) = acceptor.accept(socket).await else { return };
                    let mut head = Vec::new();
                    while let Ok(byte) = socket.read_u8().await {
                        head.push(byte);
                        if head.ends_with(b"\r\n\r\n") {
                            let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                            // A body is read and not looked at.
                            let length = text.to_ascii_lowercase().lines().find_map(|line| {
                                line.strip_prefix("content-length: ").and_then(|length| length.parse().ok())
                            });
                            let mut body = vec![0; length.unwrap_or(0)];
                            socket.read_exact(&mut body).await.unwrap();
                            let answer = answer(&text, redirect.as_deref());
                            heard.lock().unwrap().push(text);
                            socket.write_all(answer.as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { url, ca, seen }
    }

    fn source(&self, token: &str) -> ConnectionSource {
        ConnectionSource::Token {
            server: self.url.clone(),
            token: Some(Sensitive(token.to_owned())),
            tls: ConnectionTls { ca: Some(self.ca.clone()), ..ConnectionTls::default() },
        }
    }

    fn saw(&self, text: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|head| head.contains(text))
    }
}

fn answer(head: &str, redirect: Option<&str>) -> String {
    if let Some(place) = redirect {
        return format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let body: Value = if path.starts_with("/version") {
        json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.3", "platform": "linux/amd64" })
    } else if path.starts_with("/api/v1/nodes") {
        json!({
            "kind": "Table", "metadata": {},
            "columnDefinitions": [{ "name": "Name" }, { "name": "Status" }], "rows": [{ "cells": ["a", "Ready"] }],
        })
    } else {
        json!({ "kind": "Status", "metadata": {} })
    };
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn hand<R: Handover>(rig: &Rig, request: &R) -> Result<R::Reply> {
    let body = serde_json::to_vec(request).unwrap();
    let answer = rig.replicas[0].service.streams().hand_over(R::VERB, &body).await;
    match serde_json::from_slice(&answer).unwrap() {
        roadstead_contracts::agent::VerbAnswer::Ok(reply) => Ok(reply),
        roadstead_contracts::agent::VerbAnswer::Error(fault) => Err(fault),
    }
}

fn connect(owner: &Principal, name: &str, source: ConnectionSource) -> ConnectCluster {
    ConnectCluster {
        principal: owner.clone(),
        name: ClusterName::parse(name).unwrap(),
        description: String::new(),
        labels: Labels::default(),
        details: None,
        connection: NewConnection { source, limits: ConnectionLimits::default() },
        profile: RightsProfile::default(),
        namespaces: Vec::new(),
    }
}

async fn status(rig: &Rig, name: &str) -> Cluster {
    rig.call(GetCluster { principal: rig.alice.clone(), cluster: name.to_owned() }).await.unwrap()
}

async fn until_connected(rig: &Rig, name: &str) -> Cluster {
    eventually("the cluster is hosted", || async {
        let cluster = status(rig, name).await;
        cluster.status == ClusterStatus::Connected && cluster.facts.kubernetes_version.is_some()
    })
    .await;
    status(rig, name).await
}

#[tokio::test]
async fn a_cluster_comes_and_goes_at_run_time() {
    let rig = Rig::new().await;
    let api = Api::start(None).await;
    let made = hand(&rig, &connect(&rig.alice, "far", api.source("canary-token-1"))).await.unwrap();
    assert_eq!((made.mode, made.endpoint.as_deref()), (ClusterMode::Direct, Some(api.url.as_str())));
    let hosted = until_connected(&rig, "far").await;
    assert_eq!(hosted.facts.kubernetes_version.as_deref(), Some("v1.36.3"));
    assert!(api.saw("authorization: Bearer canary-token-1"));
    assert!(!rig.files_contain(b"canary-token-1"), "a token is in the database in the clear");

    // Other credentials count from now on.
    let connection = NewConnection { source: api.source("canary-token-2"), limits: ConnectionLimits::default() };
    let request = ReconnectCluster { principal: rig.alice.clone(), cluster: "far".to_owned(), connection };
    hand(&rig, &request).await.unwrap();
    eventually("the new token is used", || async { api.saw("authorization: Bearer canary-token-2") }).await;
    assert_eq!(
        hand(&rig, &ReconnectCluster { principal: rig.bob.clone(), ..request }).await.unwrap_err().code,
        Code::NotFound
    );

    rig.call(DeleteCluster { principal: rig.alice.clone(), cluster: "far".to_owned() }).await.unwrap();
    eventually("nobody hosts it", || async { rig.replicas[0].service.sessions() == 0 }).await;
}

#[tokio::test]
async fn one_replica_hosts_and_another_takes_over() {
    let rig = Rig::with(&[], 2).await;
    let api = Api::start(None).await;
    hand(&rig, &connect(&rig.alice, "far", api.source("token"))).await.unwrap();
    until_connected(&rig, "far").await;
    let sessions = || rig.replicas.iter().map(|replica| replica.service.sessions()).collect::<Vec<_>>();
    assert_eq!(sessions().iter().sum::<usize>(), 1, "{:?}", sessions());
    let holder = sessions().iter().position(|count| *count == 1).unwrap();
    // It dies: nothing is said, nothing is let go.
    rig.replicas[holder].tasks.cut();
    rig.moved.advance(7);
    eventually("the other one took over", || async { sessions()[1 - holder] == 1 }).await;
    let cluster = until_connected(&rig, "far").await;
    // Its ledger knows that it does not know everything.
    let file = format!("hosted-agents/{}/sessions", cluster.id);
    let sessions: Value =
        serde_json::from_slice(&std::fs::read(rig.replicas[1 - holder].data.join(file)).unwrap()).unwrap();
    assert!(sessions["away_until"].is_string(), "{sessions}");
}

/// Without a folder of its own the agent refuses every operation, and the hub asks again until the deadline.
#[tokio::test]
async fn regression_hosted_agents_remember_operations_until_their_cluster_is_gone() {
    let rig = Rig::new().await;
    let api = Api::start(None).await;
    let cluster = hand(&rig, &connect(&rig.alice, "far", api.source("token"))).await.unwrap();
    until_connected(&rig, "far").await;
    let place = rig.replicas[0].data.join("hosted-agents").join(cluster.id.to_string());
    let epoch = || {
        let text = std::fs::read_to_string(place.join("sessions")).unwrap_or_default();
        let sessions: Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(sessions["away_until"].is_null(), "nobody else hosted it: {sessions}");
        sessions["epoch"].as_i64()
    };
    assert_eq!(epoch(), Some(1));
    // The same folder with other credentials: one after the other.
    let connection = NewConnection { source: api.source("token-2"), limits: ConnectionLimits::default() };
    let request = ReconnectCluster { principal: rig.alice.clone(), cluster: "far".to_owned(), connection };
    hand(&rig, &request).await.unwrap();
    eventually("the next session has begun", || async { epoch() == Some(2) }).await;
    // What nobody knows goes as well, what is no folder of a cluster stays.
    let other = rig.replicas[0].data.join("hosted-agents");
    let unknown = other.join("0198c5b0-0000-7000-8000-00000000000f");
    std::fs::create_dir(&unknown).unwrap();
    std::fs::create_dir(other.join("mine")).unwrap();
    rig.call(DeleteCluster { principal: rig.alice.clone(), cluster: "far".to_owned() }).await.unwrap();
    eventually("its folder is removed", || async { !place.exists() && !unknown.exists() }).await;
    assert!(other.join("mine").exists());
}

#[tokio::test]
async fn a_replica_that_stops_hands_over_and_one_that_starts_takes_up() {
    let mut rig = Rig::new().await;
    let api = Api::start(None).await;
    hand(&rig, &connect(&rig.alice, "far", api.source("token"))).await.unwrap();
    until_connected(&rig, "far").await;
    let first = rig.replicas.remove(0);
    first.tasks.finish(Duration::from_secs(15)).await;
    let second = rig.build().await;
    second.service.start().await.unwrap();
    rig.replicas.push(second);
    eventually("it is hosted again", || async { rig.replicas[0].service.sessions() == 1 }).await;
}

/// It kept the cluster until the last stream was cut, and cut that after two seconds.
#[tokio::test]
async fn regression_a_host_that_stops_hands_over_at_once_and_answers_what_it_carries() {
    let rig = Rig::with(&[], 2).await;
    let api = Api::start(None).await;
    let cluster = hand(&rig, &connect(&rig.alice, "far", api.source("token"))).await.unwrap();
    until_connected(&rig, "far").await;
    let holder = rig.replicas.iter().position(|replica| replica.service.sessions() == 1).unwrap();
    let (old, new) = (&rig.replicas[holder], &rig.replicas[1 - holder]);
    let head = StreamHead {
        target: StreamTarget::Agent { verb: GET_NAMESPACES.to_owned() },
        request_id: "r-1".to_owned(),
        deadline_milliseconds: 20_000,
        traceparent: None,
        assertion: Some("nobody's".to_owned()),
    };
    let mut asked = old.service.streams().open(cluster.id, &head, Class::Bulk).await.unwrap();
    asked.write_all(b"{").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (tasks, began) = (old.tasks.clone(), Instant::now());
    let stopped = tokio::spawn(async move { tasks.finish(Duration::from_secs(20)).await });
    eventually("the other one took over", || async { new.service.sessions() == 1 }).await;
    assert!(began.elapsed() < Duration::from_secs(4), "callers wait for five: {:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(began.elapsed())).await;
    asked.write_all(b"}").await.unwrap();
    asked.finish();
    let answer = crate::agent::read_all(&mut asked).await;
    assert!(answer.starts_with(b"{\"error\":{\"code\":\"identity_refused\""), "{}", String::from_utf8_lossy(&answer));
    drop(asked);
    let answered = Instant::now();
    stopped.await.unwrap();
    assert!(answered.elapsed() < Duration::from_secs(5), "{:?}", answered.elapsed());
    assert_eq!(new.service.sessions(), 1);
}

#[tokio::test]
async fn s01_s02_s03_s06_what_a_caller_names_is_looked_at() {
    let rig = Rig::new().await;
    let of = |server: &str, tls: ConnectionTls| ConnectionSource::Token {
        server: server.to_owned(),
        token: Some(Sensitive("canary".to_owned())),
        tls,
    };
    for (server, code) in [
        ("http://10.0.0.1", Code::Validation),
        ("https://a@10.0.0.1", Code::Validation),
        ("https://2130706433", Code::Validation),
        ("https://10.0.0.1:5672", Code::Validation),
        ("https://169.254.169.254", Code::AddressNotAllowed),
        ("https://metadata.google.internal", Code::AddressNotAllowed),
        ("https://[::ffff:169.254.169.254]", Code::AddressNotAllowed),
    ] {
        let fault = hand(&rig, &connect(&rig.alice, "far", of(server, ConnectionTls::default()))).await.unwrap_err();
        assert_eq!(fault.code, code, "{server}");
        assert!(!fault.detail.contains("canary"));
    }
    let broken = ConnectionTls { ca: Some("nonsense".to_owned()), ..ConnectionTls::default() };
    let fault = hand(&rig, &connect(&rig.alice, "far", of("https://10.0.0.1", broken))).await.unwrap_err();
    assert_eq!(fault.errors[0].loc, ["body", "tls_config", "ca_data"]);
    // Who may not, may not; nobody but an admin acts with the hub's own account.
    let viewer = principal(&rig.ids, "vera", 9, roadstead_contracts::identity::Role::Viewer);
    let source = of("https://10.0.0.1", ConnectionTls::default());
    assert_eq!(hand(&rig, &connect(&viewer, "far", source.clone())).await.unwrap_err().code, Code::Forbidden);
    let inside = connect(&rig.alice, "far", ConnectionSource::InCluster {});
    assert_eq!(hand(&rig, &inside).await.unwrap_err().code, Code::Forbidden);
    // What was refused left nothing behind.
    hand(&rig, &connect(&rig.alice, "far", source)).await.unwrap();
    let again = connect(&rig.alice, "far", of("https://10.0.0.2", ConnectionTls::default()));
    assert_eq!(hand(&rig, &again).await.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn s04_redirects_are_not_followed() {
    let rig = Rig::new().await;
    let elsewhere = Api::start(None).await;
    let api = Api::start(Some(format!("{}/version", elsewhere.url))).await;
    hand(&rig, &connect(&rig.alice, "far", api.source("token"))).await.unwrap();
    eventually("it was asked", || async { api.saw("GET /api/v1/nodes") || api.saw("GET /version") }).await;
    eventually("its state is known", || async { status(&rig, "far").await.facts.health.is_some() }).await;
    assert!(elsewhere.seen.lock().unwrap().is_empty());
    // Ports have digits as well.
    let facts = format!("{:?}", status(&rig, "far").await.facts).replace(&api.url, "").replace(&elsewhere.url, "");
    assert!(!facts.contains("302"), "what listens there is not told: {facts}");
}

#[tokio::test]
async fn a_profile_is_chosen_and_its_roles_are_bound() {
    let rig = Rig::new().await;
    let api = Api::start(None).await;
    let namespaces = vec![Namespace::parse("shop").unwrap()];
    let narrow = ConnectCluster {
        profile: RightsProfile::Namespaced,
        namespaces: namespaces.clone(),
        ..connect(&rig.alice, "narrow", api.source("token"))
    };
    for odd in [
        ConnectCluster { namespaces: Vec::new(), ..narrow.clone() },
        ConnectCluster { profile: RightsProfile::Admin, ..narrow.clone() },
        ConnectCluster { namespaces: vec![namespaces[0].clone(); 65], ..narrow.clone() },
    ] {
        assert_eq!(hand(&rig, &odd).await.unwrap_err().errors[0].loc, ["body", "namespaces"]);
    }
    hand(&rig, &narrow).await.unwrap();
    until_connected(&rig, "narrow").await;
    for role in ["viewer", "operator", "admin"] {
        assert!(api.saw(&format!("/namespaces/shop/rolebindings/roadstead-{role}")), "{role}");
    }
    assert!(!api.saw("clusterrolebindings"), "nothing is bound in the whole cluster");

    let wide = Api::start(None).await;
    hand(&rig, &connect(&rig.alice, "wide", wide.source("token"))).await.unwrap();
    until_connected(&rig, "wide").await;
    assert!(wide.saw("/clusterrolebindings/roadstead-admin"));
}

/// What a removed account owned goes with it; what is others' stays.
#[tokio::test]
async fn a_removed_account_leaves_nothing_behind() {
    let rig = Rig::new().await;
    let api = Api::start(None).await;
    hand(&rig, &connect(&rig.alice, "far", api.source("token"))).await.unwrap();
    until_connected(&rig, "far").await;
    let (_, unbound) = rig.join_token(&rig.alice, 5).await;
    let (_, cluster) = rig.cluster(&rig.alice, "dials").await;
    let agent = rig.call(GenerateAgentId { principal: rig.alice.clone(), cluster_seq: None }).await.unwrap();
    let (_, others) = rig.cluster(&rig.bob, "bobs").await;
    let gone =
        Event { id: rig.ids.next(), at: rig.clock.now(), fact: Fact::UserDeleted { user_id: rig.alice.user_id } };
    // Delivered twice: the second finds nothing to do.
    rig.bus.emit(&gone).await.unwrap();
    rig.bus.emit(&gone).await.unwrap();
    let there = async |name: &str| {
        rig.call(GetCluster { principal: rig.admin.clone(), cluster: name.to_owned() }).await.is_ok()
    };
    let dials = cluster.id.to_string();
    eventually("the clusters are gone", || async { !there("far").await && !there(&dials).await }).await;
    eventually("nobody hosts it", || async { rig.replicas[0].service.sessions() == 0 }).await;
    let page = PageRequest { limit: 100, offset: 0, cursor: None };
    eventually("its tokens are revoked", || async {
        let request = ListJoinTokens { principal: rig.admin.clone(), page: page.clone() };
        let tokens = rig.call(request).await.unwrap().items;
        tokens.iter().find(|token| token.id == unbound.id).is_some_and(|token| token.revoked_at.is_some())
    })
    .await;
    eventually("its agents are cut off", || async {
        let request = ListAgents { principal: rig.admin.clone(), page: page.clone(), connected_only: false };
        let agents = rig.call(request).await.unwrap().items;
        agents.iter().find(|one| one.agent_id == agent.agent_id).is_some_and(|one| one.revoked)
    })
    .await;
    assert!(there(&others.id.to_string()).await);
}
