//! More rights for a while: who may ask, who decides, what it gives, and that it is over when it is.

use std::sync::Arc;

use chrono::TimeDelta;
use roadstead_auth::token::api_key_proof;
use roadstead_bus::{Router, ServeOptions};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{ClusterId, TypedId as _};
use roadstead_contracts::message::{Authenticate, Cluster, ClusterMode, ClusterStatus, GetCluster, GrantCluster};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::policy::ClusterFacts;
use roadstead_contracts::{Error, queue};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::rig::{Answer, Rig, context, eventually, rig, rig_with};

const ALL: &str = "/api/v1/access-requests";

fn prod() -> ClusterId {
    ClusterId::from_uuid(uuid::Uuid::from_u128(7))
}

/// One cluster, as onboarding would tell of it.
async fn with_registry(rig: &Rig) {
    let now = rig.now();
    let router = Router::new(queue::CLUSTER_REGISTRY).on(move |asked: GetCluster, _| async move {
        let named = asked.cluster == "prod" || asked.cluster == prod().to_string();
        if !named || !asked.principal.can_see(prod(), None) {
            return Err(Error::not_found("Cluster not found"));
        }
        Ok(Cluster {
            id: prod(),
            seq: 1,
            name: ClusterName::parse("prod").unwrap(),
            description: String::new(),
            labels: Labels::default(),
            mode: ClusterMode::Agent,
            endpoint: None,
            status: ClusterStatus::Connected,
            owner_id: None,
            agent_id: None,
            facts: roadstead_contracts::message::ClusterFacts::default(),
            last_seen_at: None,
            created_at: now,
            updated_at: now,
        })
    });
    rig.bus.serve(router, ServeOptions::default()).await.unwrap();
}

fn wish() -> Value {
    json!({
        "role": "operator", "clusters": ["prod"], "namespaces": ["shop"], "duration_seconds": 600,
        "reason": "the shop is down",
    })
}

/// Somebody with a key.
struct Person {
    key: String,
}

impl Person {
    /// Made by an admin with a role.
    async fn of(rig: &Rig, admin: &str, name: &str, role: &str) -> Self {
        let body = json!({
            "username": name, "email": format!("{name}@example.com"), "password": "password123", "roles": role,
        });
        let made = rig.as_key(admin, "POST", "/users", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let token = rig.login(name, "password123").await.text("access_token");
        let key = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "tests"}))).await.text("api_key");
        Self { key }
    }

    async fn send(&self, rig: &Rig, method: &str, path: &str, body: Option<Value>) -> Answer {
        rig.as_key(&self.key, method, path, body).await
    }

    async fn ask(&self, rig: &Rig, body: Value) -> String {
        let asked = self.send(rig, "POST", ALL, Some(body)).await;
        assert_eq!(asked.status, 201, "{}", asked.body);
        assert_eq!(asked.body["state"], "pending");
        asked.text("id")
    }

    async fn on(&self, rig: &Rig, id: &str, verb: &str) -> Answer {
        self.send(rig, "POST", &format!("{ALL}/{id}/{verb}"), None).await
    }

    async fn principal(&self, rig: &Rig) -> Principal {
        let credential = api_key_proof(&self.key).unwrap();
        let question = Authenticate { credential, cluster_id: None, source: None, raise: None };
        rig.bus.call(&question, &context()).await.unwrap().principal
    }

    /// Whether a shell in a namespace of the cluster is allowed at this moment, by what the doors know.
    async fn may_exec(&self, rig: &Rig, namespace: &str) -> bool {
        let facts = ClusterFacts { id: prod(), name: Some("prod".to_owned()), labels: None, owner: None };
        let shell = RequestKind::of("create", "pods/exec", Some(namespace));
        roadstead_policy::judge(&self.principal(rig).await, &facts, &shell, rig.now()).verdict.allowed
    }
}

async fn people(rig: &Rig) -> (Person, Person) {
    with_registry(rig).await;
    let owner = Person { key: rig.owner().await.api_key.expose().to_owned() };
    let ada = Person::of(rig, &owner.key, "ada", "viewer").await;
    (owner, ada)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_counts_until_its_time() {
    let rig = rig().await;
    let (owner, ada) = people(&rig).await;
    let id = ada.ask(&rig, wish()).await;
    assert!(!ada.may_exec(&rig, "shop").await);
    let waiting = owner.send(&rig, "GET", &format!("{ALL}?state=pending"), None).await;
    assert_eq!((waiting.status, waiting.headers["x-total-count"].to_str().unwrap()), (200, "1"));
    assert_eq!(waiting.body[0]["reason"], "the shop is down");

    let body = json!({"duration_seconds": 300, "note": "go on"});
    let given = owner.send(&rig, "POST", &format!("{ALL}/{id}/approve"), Some(body)).await;
    assert_eq!((given.status, &given.body["state"]), (200, &json!("approved")), "{}", given.body);
    assert_eq!((&given.body["decided_by"], &given.body["note"]), (&json!("owner"), &json!("go on")));
    assert_eq!(given.body["until"], "2027-01-15T08:05:00Z");
    assert!(ada.may_exec(&rig, "shop").await);
    assert!(!ada.may_exec(&rig, "bank").await, "in that namespace and no other");
    let rule = ada.principal(&rig).await.rules.remove(0);
    assert_eq!(rule.origin, Some(format!("access-request:{id}")));
    assert_eq!(rule.clusters.names.iter().collect::<Vec<_>>(), [&prod().to_string()], "by id, not by name");

    rig.clock.advance(TimeDelta::seconds(300) - TimeDelta::microseconds(1));
    assert!(ada.may_exec(&rig, "shop").await);
    // At the very instant of its end, whether anything swept or not.
    rig.clock.advance(TimeDelta::microseconds(1));
    assert!(!ada.may_exec(&rig, "shop").await);
    let over = ada.send(&rig, "GET", &format!("{ALL}/{id}"), None).await;
    assert_eq!((&over.body["state"], &over.body["ended_at"]), (&json!("ended"), &json!("2027-01-15T08:05:00Z")));
    for (who, verb) in [(&owner, "approve"), (&owner, "end"), (&ada, "end"), (&ada, "withdraw")] {
        let late = who.on(&rig, &id, verb).await;
        assert_eq!((late.status, late.code()), (409, "conflict"), "{verb}: {}", late.body);
    }
    // The rule goes by itself, and that is written down.
    eventually("the rule is gone", || async { ada.principal(&rig).await.rules.is_empty() }).await;
    let ends = || async { owner.send(&rig, "GET", "/api/v1/audit?action=access.end&actor=time", None).await };
    eventually("the end is in the trail", || async {
        ends().await.body.as_array().is_some_and(|rows| rows.len() == 1)
    })
    .await;
    let trail = owner.send(&rig, "GET", "/api/v1/audit?action=access.approve&outcome=succeeded", None).await;
    assert_eq!(trail.body[0]["record"]["resource"]["name"], json!(id));
    assert_eq!(trail.body[0]["record"]["detail"]["user"], "ada");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_is_the_policys_to_say() {
    let rig = rig().await;
    let (owner, ada) = people(&rig).await;
    let bob = Person::of(&rig, &owner.key, "bob", "viewer").await;
    let cyd = Person::of(&rig, &owner.key, "cyd", "operator").await;
    let id = ada.ask(&rig, wish()).await;
    // Others' requests are not there, for those who do not decide on them.
    for who in [&bob, &cyd] {
        for (method, path) in [("GET", String::new()), ("POST", "/approve".to_owned()), ("POST", "/end".to_owned())] {
            let answer = who.send(&rig, method, &format!("{ALL}/{id}{path}"), None).await;
            assert_eq!((answer.status, answer.code()), (404, "not_found"), "{method} {path}");
        }
        assert_eq!(who.send(&rig, "GET", ALL, None).await.body, json!([]));
    }
    let own = ada.on(&rig, &id, "approve").await;
    assert_eq!((own.status, own.code()), (403, "forbidden"));
    assert_eq!(own.body["errors"][0]["loc"], json!(["permission", "access:approve"]));
    // Nor does an admin decide on what it asks for itself.
    let mine = owner.ask(&rig, wish()).await;
    for verb in ["approve", "deny"] {
        assert_eq!(owner.on(&rig, &mine, verb).await.status, 403, "{verb}");
    }
    assert_eq!(owner.on(&rig, &mine, "withdraw").await.body["state"], "withdrawn");

    // A rule names who decides besides: here somebody who is no admin.
    let rule = json!({
        "name": "approvers", "effect": "allow", "subjects": ["user:cyd"], "permissions": ["access:approve"],
    });
    let made = owner.send(&rig, "POST", "/api/v1/policies", Some(rule)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(cyd.send(&rig, "GET", ALL, None).await.headers["x-total-count"], "2");
    // Not what cyd cannot see …
    let unseen = cyd.on(&rig, &id, "approve").await;
    assert_eq!((unseen.status, unseen.code()), (409, "conflict"), "{}", unseen.body);
    let principal = owner.principal(&rig).await;
    let grant = GrantCluster { principal, cluster_id: prod(), account: "cyd".to_owned() };
    rig.bus.call(&grant, &context()).await.unwrap();
    // … nor what cyd does not have, nor where cyd cannot tell which clusters it is about.
    let more =
        ada.ask(&rig, json!({"role": "admin", "clusters": ["prod"], "duration_seconds": 60, "reason": "x"})).await;
    let wide =
        ada.ask(&rig, json!({"role": "viewer", "labels": "env=prod", "duration_seconds": 60, "reason": "x"})).await;
    for id in [&more, &wide] {
        let refused = cyd.on(&rig, id, "approve").await;
        assert_eq!((refused.status, refused.code()), (403, "escalation"), "{}", refused.body);
    }
    assert_eq!(cyd.on(&rig, &id, "approve").await.status, 200);
    assert!(ada.may_exec(&rig, "shop").await);
    assert_eq!(cyd.on(&rig, &more, "deny").await.body["state"], "denied");

    // What somebody was given for a while is not passed on.
    let borrowed =
        bob.ask(&rig, json!({"role": "operator", "clusters": ["prod"], "duration_seconds": 60, "reason": "x"})).await;
    let rule = json!({
        "name": "approvers-too", "effect": "allow", "subjects": ["user:ada"], "permissions": ["access:approve"],
    });
    assert_eq!(owner.send(&rig, "POST", "/api/v1/policies", Some(rule)).await.status, 201);
    let refused = ada.on(&rig, &borrowed, "approve").await;
    assert_eq!((refused.status, refused.code()), (403, "escalation"), "{}", refused.body);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_for_a_while_on_a_cluster_gives_nothing_of_the_hub() {
    let rig = rig().await;
    let (owner, ada) = people(&rig).await;
    let id = ada.ask(&rig, json!({"role": "admin", "clusters": ["prod"], "duration_seconds": 60, "reason": "x"})).await;
    assert_eq!(owner.on(&rig, &id, "approve").await.status, 200);
    assert!(ada.may_exec(&rig, "any").await);
    for (method, path) in [
        ("GET", "/users"),
        ("GET", "/api/v1/audit"),
        ("GET", "/api/v1/policies"),
        ("GET", "/api/v1/service-accounts"),
        ("DELETE", "/users/2"),
    ] {
        assert_eq!(ada.send(&rig, method, path, None).await.status, 403, "{method} {path}");
    }
    let other = owner.ask(&rig, wish()).await;
    assert_eq!(ada.on(&rig, &other, "approve").await.status, 404);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_decisions_at_once_are_one() {
    let rig = rig().await;
    let (owner, ada) = people(&rig).await;
    let second = Person::of(&rig, &owner.key, "second", "admin").await;
    for round in 0..4 {
        let id = ada.ask(&rig, wish()).await;
        let (one, other) = if round % 2 == 0 {
            tokio::join!(owner.on(&rig, &id, "approve"), second.on(&rig, &id, "approve"))
        } else {
            tokio::join!(owner.on(&rig, &id, "approve"), ada.on(&rig, &id, "withdraw"))
        };
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}: {} {}", one.body, other.body);
        let approved = round % 2 == 0 || one.status == 200;
        assert_eq!(ada.principal(&rig).await.rules.len(), usize::from(approved), "round {round}");
        let state = ada.send(&rig, "GET", &format!("{ALL}/{id}"), None).await.text("state");
        assert_eq!(state, if approved { "approved" } else { "withdrawn" });
        if approved {
            let (one, other) = tokio::join!(ada.on(&rig, &id, "end"), owner.on(&rig, &id, "end"));
            let mut statuses = [one.status, other.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409]);
            assert!(ada.principal(&rig).await.rules.is_empty(), "ended, so gone at once");
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_for_a_later_account_of_the_same_name() {
    let rig = rig().await;
    let (owner, ada) = people(&rig).await;
    let id = ada.ask(&rig, wish()).await;
    assert_eq!(owner.on(&rig, &id, "approve").await.status, 200);
    assert_eq!(owner.send(&rig, "DELETE", "/users/ada", None).await.status, 204);
    let again = Person::of(&rig, &owner.key, "ada", "viewer").await;
    assert!(again.principal(&rig).await.rules.is_empty());
    assert_eq!(again.send(&rig, "GET", ALL, None).await.body, json!([]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_are_refused_and_old_ones_lapse() {
    let rig = rig_with(&[("ROADSTEAD_ACCESS_MAX_DURATION", "1h"), ("ROADSTEAD_ACCESS_REQUEST_LIFETIME", "2h")]).await;
    let (owner, ada) = people(&rig).await;
    for (field, value) in [
        ("role", json!("root")),
        ("role", json!(null)),
        ("permissions", json!(["users:write"])),
        ("clusters", json!(["Not A Name"])),
        (
            "clusters",
            json!(vec!["a".repeat(63); 1].into_iter().chain((0..100).map(|n| format!("c{n}"))).collect::<Vec<_>>()),
        ),
        ("labels", json!("a in (b)")),
        ("namespaces", json!(["Shop"])),
        ("duration_seconds", json!(0)),
        ("duration_seconds", json!(3_601)),
        ("duration_seconds", json!(-1)),
        ("reason", json!("")),
        ("reason", json!("a\u{202e}b")),
        ("user_id", json!("somebody else")),
    ] {
        let mut body = wish();
        body[field] = value.clone();
        let refused = ada.send(&rig, "POST", ALL, Some(body)).await;
        assert_eq!(refused.status, 400, "{field} {value}: {}", refused.body);
    }
    assert_eq!(ada.send(&rig, "GET", ALL, None).await.body, json!([]));
    let id = ada.ask(&rig, wish()).await;
    for body in
        [json!({"duration_seconds": 601}), json!({"duration_seconds": 1}), json!({"note": "a\nb"}), json!({"x": 1})]
    {
        let refused = owner.send(&rig, "POST", &format!("{ALL}/{id}/approve"), Some(body)).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    for odd in
        ["state=over", "mine=yes", "limit=0", "limit=1001", "offset=-1", "cursor=x", "state=pending&state=denied"]
    {
        assert_eq!(ada.send(&rig, "GET", &format!("{ALL}?{odd}"), None).await.status, 400, "{odd}");
    }
    let missing = owner.on(&rig, "0198c5b0-0000-7000-8000-00000000ffff", "approve").await;
    assert_eq!((missing.status, missing.code()), (404, "not_found"));
    let elsewhere =
        ada.ask(&rig, json!({"role": "viewer", "clusters": ["gone"], "duration_seconds": 60, "reason": "x"})).await;
    let refused = owner.on(&rig, &elsewhere, "approve").await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"), "{}", refused.body);
    rig.clock.advance(TimeDelta::hours(2));
    let late = owner.on(&rig, &id, "approve").await;
    assert_eq!((late.status, late.detail()), (409, "nobody decided on the request in time"));
    assert_eq!(ada.send(&rig, "GET", &format!("{ALL}?state=lapsed&limit=1"), None).await.headers["x-total-count"], "2");
    assert!(ada.principal(&rig).await.rules.is_empty());
    // Neither a key with a scope nor anybody with too many questions.
    let scoped = json!({"key_name": "scoped", "permissions": ["clusters:read"]});
    let key = ada.send(&rig, "POST", "/api-keys", Some(scoped)).await.text("api_key");
    assert_eq!(rig.as_key(&key, "POST", ALL, Some(wish())).await.code(), "escalation");
    for _ in 0..20 {
        ada.ask(&rig, wish()).await;
    }
    assert_eq!(ada.send(&rig, "POST", ALL, Some(wish())).await.status, 409);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chat_is_told_signed_until_it_takes_it() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let env = [("ROADSTEAD_ACCESS_WEBHOOK_URL", url.as_str()), ("ROADSTEAD_ACCESS_WEBHOOK_SECRET", SECRET)];
    let rig = Arc::new(rig_with(&env).await);
    let (owner, ada) = people(&rig).await;
    let id = ada
        .ask(&rig, json!({"role": "viewer", "clusters": ["prod"], "duration_seconds": 60, "reason": "<!here> look"}))
        .await;
    let first = take(&listener, "500 no").await;
    // The pauses are by the rig's clock.
    let hurry = async {
        loop {
            rig.clock.advance(TimeDelta::seconds(5));
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let second = tokio::select! {
        second = take(&listener, "204 yes") => second,
        () = hurry => unreachable!(),
    };
    assert_eq!(header(&first, "roadstead-webhook-id"), header(&second, "roadstead-webhook-id"));
    let (_, body) = second.split_once("\r\n\r\n").unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&told["event"], &told["access_request"]["id"]), (&json!("access.requested"), &json!(id)));
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("ada asks for the role viewer on prod") && !text.contains("<!here>"), "{text}");
    let timestamp = header(&second, "roadstead-webhook-timestamp");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = aws_lc_rs::hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let signature = signature.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(header(&second, "roadstead-webhook-signature"), format!("v1={signature}"));
    assert_eq!(owner.on(&rig, &id, "deny").await.status, 200);
    let third = take(&listener, "200 yes").await;
    assert!(third.contains("access.denied") && third.contains("owner did not give ada"), "{third}");
    let rig = Arc::into_inner(rig).unwrap();
    rig.stop().await;
}

/// Takes one request and answers with a status; gives the request's text.
async fn take(listener: &TcpListener, status: &str) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut text = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let read = socket.read(&mut chunk).await.unwrap();
        assert!(read > 0, "cut");
        text.extend_from_slice(&chunk[..read]);
        let whole = String::from_utf8_lossy(&text);
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_some_and(|length| body.len() >= length.parse::<usize>().unwrap()) {
            break;
        }
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    socket.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix)).unwrap();
    &line[prefix.len()..]
}
