//! Clusters that the hub reaches by itself, and recorded sessions: what the door makes of them, and that nothing secret of them
//! rides the bus.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_cluster::Handovers;
use roadstead_contracts::agent::VerbAnswer;
use roadstead_contracts::audit::Ended;
use roadstead_contracts::message::{
    ClusterMode, ConnectCluster, ConnectionSource, Handover as _, ListRecordings, Page, ReadRecording,
    ReconnectCluster, Recording, RecordingPart, SessionFacts,
};
use roadstead_contracts::{Code, Error, Result};
use serde_json::json;

use crate::owners::World;
use crate::rig::Rig;

/// Onboarding, as far as requests that are handed over go.
pub struct Onboarding(pub Arc<World>);

#[async_trait]
impl Handovers for Onboarding {
    async fn hand_over(&self, verb: &'static str, body: Bytes, _: &str) -> Result<Vec<u8>> {
        let world = &self.0;
        let answer = match verb {
            ConnectCluster::VERB => pack(serde_json::from_slice(&body).map(|asked: ConnectCluster| {
                if world.clusters.lock().unwrap().iter().any(|(cluster, _)| cluster.name == asked.name) {
                    return Err(Code::Conflict.into());
                }
                let mut cluster = world.add_cluster(asked.name.as_str(), asked.principal.user_id);
                if let Some(details) = asked.details {
                    world.details.lock().unwrap().insert(cluster.id, details);
                }
                world.rights.lock().unwrap().push((asked.profile, asked.namespaces));
                let ConnectionSource::Token { server, .. } = asked.connection.source else { return Ok(cluster) };
                if !server.starts_with("https://") {
                    return Err(Error::field(&["body", "api_server_url"], "value_error", "not an address"));
                }
                let mut clusters = world.clusters.lock().unwrap();
                let (stored, _) = clusters.last_mut().unwrap();
                (stored.mode, stored.endpoint) = (ClusterMode::Direct, Some(server));
                cluster.clone_from(stored);
                Ok(cluster)
            })),
            ReconnectCluster::VERB => pack(
                serde_json::from_slice(&body)
                    .map(|asked: ReconnectCluster| world.find(&asked.principal, &asked.cluster)),
            ),
            ListRecordings::VERB => pack(serde_json::from_slice(&body).map(|asked: ListRecordings| {
                let items = vec![recording(world, &asked.principal)];
                Ok::<_, Error>(Page { items, total: 1, next_cursor: None })
            })),
            ReadRecording::VERB => pack(serde_json::from_slice(&body).map(|asked: ReadRecording| match asked.part {
                0 => Ok(RecordingPart { lines: "{\"version\":2}\n".to_owned(), next: Some(1) }),
                1 => Ok(RecordingPart { lines: "[0.1,\"o\",\"hello\"]\n".to_owned(), next: None }),
                _ => Err(Error::not_found("Recording not found")),
            })),
            _ => panic!("{verb}"),
        };
        Ok(answer)
    }
}

fn pack<T: serde::Serialize>(answer: serde_json::Result<Result<T>>) -> Vec<u8> {
    serde_json::to_vec(&match answer.unwrap() {
        Ok(reply) => VerbAnswer::Ok(reply),
        Err(fault) => VerbAnswer::Error(fault),
    })
    .unwrap()
}

fn recording(world: &World, who: &roadstead_contracts::identity::Principal) -> Recording {
    Recording {
        id: world.ids.next(),
        seq: 1,
        session: SessionFacts {
            user_id: who.user_id,
            username: who.username.clone(),
            cluster_id: world.ids.next(),
            cluster_name: "prod".to_owned(),
            namespace: "default".to_owned(),
            pod: "web".to_owned(),
            container: None,
            verb: "exec".to_owned(),
            command: vec!["sh".to_owned()],
            tty: true,
            protocol: "websocket".to_owned(),
        },
        request_id: "r-1".to_owned(),
        started_at: crate::owners::noon(),
        ended_at: None,
        bytes: 7,
    }
}

#[tokio::test]
async fn a_direct_cluster_is_made_and_its_token_rides_no_queue() {
    let rig = Rig::new().await;
    let body = json!({
        "name": "far", "mode": "direct",
        "connection": {
            "auth_method": "token", "api_server_url": "https://10.0.0.1:6443", "service_account_token": "canary-token",
            "tls_config": {"insecure": false}, "qps": 20.0, "burst": 40, "timeout": "10s",
        },
    });
    let made = rig.send("POST", "/api/v1/clusters", Some(&rig.operator.key), Some(body)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!((made["mode"].as_str(), made["endpoint"].as_str()), (Some("direct"), Some("https://10.0.0.1:6443")));
    assert!(made.get("join").is_none(), "nobody joins it");
    assert!(!made.to_string().contains("canary") && !rig.world.bodies.lock().unwrap().contains("canary"));
    for (field, body) in [
        ("connection", json!({"name": "far", "mode": "direct"})),
        ("mode", json!({"name": "far", "connection": {"auth_method": "in_cluster"}})),
        ("mode", json!({"name": "far", "mode": "magic"})),
        (
            "insecure",
            json!({"name": "far", "mode": "direct", "connection": {"auth_method": "token", "tls_config": {"insecure": true}}}),
        ),
    ] {
        let refused = rig.send("POST", "/api/v1/clusters", Some(&rig.operator.key), Some(body)).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let named = refused.json()["errors"][0]["loc"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(named, field);
    }
}

#[tokio::test]
async fn recordings_are_listed_and_given_part_by_part() {
    let rig = Rig::new().await;
    let list = rig.send("GET", "/api/v1/recordings", Some(&rig.operator.key), None).await;
    assert_eq!((list.status, list.header("x-total-count")), (200, "1"));
    let id = list.json()[0]["id"].as_str().unwrap().to_owned();
    let cast = rig.send("GET", &format!("/api/v1/recordings/{id}"), Some(&rig.operator.key), None).await;
    assert_eq!((cast.status, cast.header("content-type")), (200, "application/x-asciicast"));
    assert_eq!(cast.text, "{\"version\":2}\n[0.1,\"o\",\"hello\"]\n");
    let odd = rig.send("GET", "/api/v1/recordings/7", Some(&rig.operator.key), None).await;
    assert_eq!(odd.status, 404);
    // Who looked at what somebody did is in the trail; who only looked at the list is not.
    let found = crate::audit::records(&rig, "recording.read", 4).await;
    assert_eq!(found[0].resource.name.as_ref().unwrap().as_str(), id);
    assert_eq!(found[0].actor.name.as_ref().unwrap().as_str(), rig.operator.principal.username);
    let told: Vec<_> = found.iter().filter_map(|record| record.outcome).map(|outcome| outcome.result).collect();
    assert_eq!(told, [Ended::Succeeded, Ended::Refused]);
}

/// Row W02: no page but the hub's own opens a terminal, and nothing is opened without a credential.
#[tokio::test]
async fn w02_pages_of_others_open_no_terminal() {
    let rig = Rig::new().await;
    rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let path = "/api/v1/clusters/prod/terminal?namespace=a&pod=w";
    let upgrade = |origin: &'static str, key: &'static str| {
        let mut headers = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "roadstead.terminal.v1"),
        ];
        if !origin.is_empty() {
            headers.push(("origin", origin));
        }
        if !key.is_empty() {
            headers.push(("x-api-key", key));
        }
        headers
    };
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let answer = rig.send_with("GET", path, &upgrade(origin, ""), None).await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
    }
    // No door here, so whoever gets past the page's rule is told so.
    let answer = rig.send_with("GET", path, &upgrade("", ""), None).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    for odd in ["/api/v1/clusters/prod/terminal", "/api/v1/clusters/prod/logs?namespace=a&pod=../x"] {
        let answer = rig.send_with("GET", odd, &upgrade("", ""), None).await;
        assert_eq!(answer.status, 400, "{odd}: {answer:?}");
    }
    let plain = rig.send("GET", path, Some(&rig.operator.key), None).await;
    assert_eq!(plain.status, 400, "{plain:?}");
}
