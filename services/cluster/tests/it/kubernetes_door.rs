//! The Kubernetes door as clients find it: whoever is nobody is counted and written down within bounds, and is in nobody's way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::audit::{ActorKind, Ended, Phase};
use roadstead_contracts::identity::CredentialKind;
use roadstead_contracts::ids::ApiKeyId;
use roadstead_contracts::scope::Scope;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::audit::records;
use crate::played::{Played, with_cluster_and};
use crate::rig::Rig;

const VERSION: &str = "/k/quay/version";
const PODS: &str = "/k/quay/api/v1/namespaces/a/pods";
const LOG: &str = "/api/v1/namespaces/a/pods/b/log";

struct Hub {
    rig: Rig,
    client: reqwest::Client,
    _played: std::sync::Arc<Played>,
    _folder: tempfile::TempDir,
}

impl Hub {
    async fn new(env: &[(&'static str, &str)]) -> Self {
        let answers: BTreeMap<&'static str, Value> =
            [("/version", json!({"gitVersion": "v1"})), (LOG, json!("a line"))].into();
        let (rig, played, folder) = with_cluster_and(answers, env).await;
        rig.world.add_cluster("quay", rig.operator.principal.user_id);
        let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
        Self { rig, client, _played: played, _folder: folder }
    }

    /// The status that a request is answered with.
    async fn ask(&self, method: &str, path: &str, key: Option<&str>, from: Option<&str>) -> u16 {
        let url = format!("https://{}{path}", self.rig.service.kubernetes_address().unwrap());
        let mut request = self.client.request(method.parse().unwrap(), url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(from) = from {
            request = request.header("x-forwarded-for", from);
        }
        request.send().await.unwrap().status().as_u16()
    }

    async fn get(&self, key: &str) -> u16 {
        self.ask("GET", VERSION, Some(key), None).await
    }

    fn wrong_key(&self) -> String {
        TwoPart::new(Kind::ApiKey, self.rig.ids.next::<ApiKeyId>(), &self.rig.ids).format().expose().to_owned()
    }

    fn rows(&self, action: &str) -> usize {
        self.rig.trail.lock().unwrap().iter().filter(|record| record.action.as_str() == action).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_others_that_guess_hold_up_no_good_credential() {
    let hub = Hub::new(&[]).await;
    let (key, token) = (hub.rig.operator.key.clone(), hub.rig.token(&hub.rig.operator));
    assert_eq!(hub.get(&key).await, 200);
    // Nothing is known of the key any more, but that it was good.
    hub.rig.clock.advance(chrono::Duration::seconds(4));
    let mut last = 0;
    for _ in 0..80 {
        last = hub.get(&hub.wrong_key()).await;
    }
    assert_eq!(last, 429, "guessing ends");
    assert_eq!(hub.get(&token).await, 200, "a token whose signature holds is no guess");
    assert_eq!(hub.get(&key).await, 200, "neither is a key that was good just now");
    assert_eq!(hub.get(&hub.wrong_key()).await, 429);
    // A revoked session ends itself and nobody else.
    hub.rig.world.sessions.lock().unwrap().remove(&hub.rig.operator.session);
    hub.rig.clock.advance(chrono::Duration::seconds(4));
    assert_eq!(hub.get(&token).await, 401);
    for _ in 0..80 {
        last = hub.get(&token).await;
    }
    assert_eq!(last, 429);
    assert_eq!(hub.get(&key).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_flood_of_nobody_leaves_the_trail_to_others() {
    let hub = Hub::new(&[]).await;
    let mut statuses = BTreeMap::<u16, u32>::new();
    for _ in 0..300 {
        *statuses.entry(hub.ask("POST", PODS, None, None).await).or_default() += 1;
    }
    assert_eq!(statuses, [(401, 60), (429, 240)].into());
    let found = records(&hub.rig, "kubernetes.flood", 1).await;
    assert_eq!((found[0].actor.kind, found[0].outcome.unwrap().result), (ActorKind::Anonymous, Ended::Refused));
    assert_eq!(records(&hub.rig, "kubernetes.create", 60).await.len(), 60);
    // Who may is not held up, and who may not is written down by name, whatever they show.
    assert_eq!(hub.ask("POST", PODS, Some(&hub.rig.operator.key), None).await, 404, "as the cluster says");
    let token = hub.rig.token(&hub.rig.viewer);
    assert_eq!(hub.ask("DELETE", &format!("{PODS}/b"), Some(&token), None).await, 404);
    let refused = records(&hub.rig, "kubernetes.delete", 1).await;
    let viewer = hub.rig.viewer.principal.username.as_str();
    assert_eq!(refused[0].actor.name.as_ref().unwrap().as_str(), viewer);
    assert_eq!((hub.rows("kubernetes.create"), hub.rows("kubernetes.flood")), (62, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_behind_a_proxy_the_client_counts_and_not_the_proxy() {
    let hub = Hub::new(&[("ROADSTEAD_SERVER_TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let (client, stranger) = (Some("203.0.113.9"), Some("198.51.100.1"));
    // A key that is held to addresses.
    let rig = &hub.rig;
    let id: ApiKeyId = rig.ids.next();
    let token = TwoPart::new(Kind::ApiKey, id, &rig.ids);
    let sources = Scope { sources: Some(["203.0.113.0/24".to_owned()].into()), ..Scope::default() };
    let mut held = rig.operator.principal.clone();
    (held.credential, held.scope) = (CredentialKind::ApiKey(id), Some(sources));
    rig.world.keys.lock().unwrap().insert((id, token.digest()), held);
    let key = token.format().expose().to_owned();
    assert_eq!(hub.ask("GET", VERSION, Some(&key), client).await, 200);
    assert_eq!(hub.ask("GET", VERSION, Some(&key), stranger).await, 403);
    assert_eq!(hub.ask("GET", VERSION, Some(&key), None).await, 403, "the proxy itself is another address");
    // The trail has the client, and one client's guesses are its own.
    for _ in 0..70 {
        hub.ask("POST", PODS, None, stranger).await;
    }
    assert_eq!(hub.ask("POST", PODS, None, stranger).await, 429);
    assert_eq!(hub.ask("POST", PODS, None, client).await, 401);
    let of = async |source: &str| {
        let found = records(&hub.rig, "kubernetes.create", 1).await;
        found.iter().filter(|one| one.origin.source.unwrap().to_string() == source).count()
    };
    let began = Instant::now();
    while of("203.0.113.9").await == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "the client is not on the trail");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A few more where so many requests take longer than a second.
    assert!((60..71).contains(&of("198.51.100.1").await));
}

/// What docs/browser-sessions.md promises: a row for each session, a log's as well.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_log_in_a_browser_is_a_row() {
    let hub = Hub::new(&[]).await;
    let mut page = TcpStream::connect(hub.rig.service.address()).await.unwrap();
    let head = format!(
        "GET /api/v1/clusters/quay/logs?namespace=a&pod=b HTTP/1.1\r\nHost: hub\r\nX-API-Key: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: roadstead.logs.v1\r\n\r\n",
        hub.rig.operator.key
    );
    page.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(Duration::from_secs(10), page.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    let found = records(&hub.rig, "kubernetes.logs", 2).await;
    assert_eq!((found[0].phase, found[1].outcome.unwrap().result), (Phase::Intent, Ended::Succeeded));
    assert_eq!(found[0].resource.name.as_ref().unwrap().as_str(), "b");
    // kubectl's are reads like others.
    let path = format!("/k/quay{LOG}");
    assert_eq!(hub.ask("GET", &path, Some(&hub.rig.operator.key), None).await, 200);
    assert_eq!(hub.rows("kubernetes.logs"), 2);
}
