//! Rules of the policy at the front door: every way to a cluster, each both allowed and refused.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_cluster::KubernetesLink;
use roadstead_contracts::agent::StreamHead;
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Principal, Reach, Role};
use roadstead_contracts::ids::{ApiKeyId, ClusterId, RuleId, UserId};
use roadstead_contracts::message::{Cluster, SessionFacts};
use roadstead_contracts::policy::{ClustersDraft, Effect, Rule, RuleDraft};
use roadstead_contracts::{Code, Result};
use roadstead_http_kit::tls::Files;
use roadstead_relay::AgentStreams;
use roadstead_tunnel::{Class, Stream};
use serde_json::{Value, json};

use crate::owners::{noon, principal};
use crate::rig::{Answer, Rig, Setup};

/// An agent that has no room: what gets as far as to it was let in, and it tells as whom.
#[derive(Default)]
struct Busy(Mutex<Vec<String>>);

#[async_trait]
impl AgentStreams for Busy {
    async fn open(&self, _: ClusterId, head: StreamHead, _: Class) -> Result<Stream> {
        self.0.lock().unwrap().push(head.assertion.unwrap());
        Err(Code::AgentBusy.into())
    }

    async fn open_session(&self, session: SessionFacts, head: StreamHead, class: Class) -> Result<Stream> {
        self.open(session.cluster_id, head, class).await
    }
}

struct Door {
    rig: Rig,
    agent: Arc<Busy>,
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

struct Person {
    key: String,
    proof: (ApiKeyId, String),
}

impl Door {
    async fn new() -> Self {
        roadstead_runtime::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let authority = roadstead_auth::authority::Authority::generate(noon()).unwrap();
        let leaf = authority.issue(&["localhost".to_owned()], noon()).unwrap();
        let file = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let files = Files { key: file("key.pem", leaf.key.expose()), certificate: file("chain.pem", &leaf.chain) };
        let agent = Arc::new(Busy::default());
        let streams = Arc::clone(&agent) as Arc<dyn AgentStreams>;
        let kubernetes = KubernetesLink { streams, files, authority: authority.certificate.clone() };
        let env =
            vec![("ROADSTEAD_SERVER_KUBERNETES_PORT", "0".to_owned()), ("RATE_LIMIT_ENABLED", "false".to_owned())];
        let rig = Rig::with(Setup { env, kubernetes: Some(kubernetes), ..Setup::default() }).await;
        let cluster = rig.world.add_cluster("quay", rig.operator.principal.user_id);
        Self { rig, agent, cluster, _folder: folder }
    }

    fn person(&self, name: &str, roles: &[Role], granted: bool, rules: Vec<Rule>) -> Person {
        let reach = Reach::Granted(granted.then_some(self.cluster.id).into_iter().collect());
        let user: UserId = self.rig.ids.next();
        let who = Principal { rules, ..principal(user, 90, name, roles, reach) };
        let id: ApiKeyId = self.rig.ids.next();
        let token = TwoPart::new(Kind::ApiKey, id, &self.rig.ids);
        let person = Person { key: token.format().expose().to_owned(), proof: (id, token.digest()) };
        self.rig.world.keys.lock().unwrap().insert(person.proof.clone(), who);
        person
    }

    fn rule(&self, name: &str, effect: Effect, permissions: &[&str], namespaces: &[&str], kinds: &[&str]) -> Rule {
        let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let draft = RuleDraft {
            name: name.to_owned(),
            effect,
            subjects: vec!["*".to_owned()],
            permissions: texts(permissions),
            clusters: ClustersDraft { names: vec!["quay".to_owned()], labels: None },
            namespaces: texts(namespaces),
            kinds: texts(kinds),
            verbs: Vec::new(),
            until: None,
            reason: None,
        };
        draft.checked(self.rig.ids.next::<RuleId>()).unwrap()
    }

    async fn proxy(&self, who: &Person, method: &str, path: &str) -> Answer {
        let path = format!("/api/v1/clusters/quay/proxy{path}");
        self.rig.send(method, &path, Some(&who.key), None).await
    }

    /// What came of it: as whom it reached the agent, else the status.
    async fn told(&self, who: &Person, method: &str, path: &str) -> String {
        self.agent.0.lock().unwrap().clear();
        let answer = self.proxy(who, method, path).await;
        let reached = self.agent.0.lock().unwrap().pop();
        assert_eq!(reached.is_some(), answer.status == 503, "{method} {path}: {answer:?}");
        reached.map_or(answer.status.to_string(), |assertion| {
            assertion.split('.').take(if assertion.starts_with("raised") { 2 } else { 1 }).collect::<Vec<_>>().join(" ")
        })
    }
}

const IN_A: &str = "/apis/apps/v1/namespaces/team-a/deployments/web";
const IN_B: &str = "/apis/apps/v1/namespaces/team-b/deployments/web";

#[tokio::test]
async fn the_proxy_asks_about_each_request() {
    let door = Door::new().await;
    let in_a = || vec![door.rule("team-a", Effect::Allow, &["clusters:*", "operations:*", "*:read"], &["team-a"], &[])];
    let no_secrets = || vec![door.rule("no-secrets", Effect::Deny, &["*:*"], &[], &["secrets"])];
    let viewer = door.person("vera", &[Role::Viewer], true, in_a());
    let of_namespace = door.person("nan", &[], false, in_a());
    let operator = door.person("opal", &[Role::Operator], true, no_secrets());
    let stranger = door.person("sam", &[Role::Operator], false, no_secrets());
    for (who, method, path, expected) in [
        (&viewer, "PATCH", IN_A, "raised operator"),
        (&viewer, "PATCH", IN_B, "signed"),
        (&viewer, "GET", "/api/v1/pods?limit=1", "signed"),
        (&of_namespace, "PATCH", IN_A, "raised operator"),
        (&of_namespace, "GET", "/openapi/v3", "raised viewer"),
        (&of_namespace, "PATCH", IN_B, "403"),
        (&of_namespace, "GET", "/api/v1/pods", "403"),
        (&of_namespace, "DELETE", "/api/v1/namespaces/team-a/pods", "raised operator"),
        (&of_namespace, "GET", "/api/v1/nodes/n/proxy/run", "403"),
        (&operator, "GET", "/api/v1/namespaces/x/pods", "signed"),
        (&operator, "GET", "/api/v1/namespaces/x/secrets/y", "403"),
        (&operator, "GET", "/api/v1/secrets", "403"),
        (&operator, "DELETE", "/api/v1/namespaces/x/secrets/y", "403"),
        (&stranger, "GET", "/api/v1/namespaces/x/pods", "404"),
        (&stranger, "GET", "/api/v1/namespaces/x/secrets", "404"),
    ] {
        assert_eq!(door.told(who, method, path).await, expected, "{method} {path}");
    }
    // However the path is spelt: refused as no path, or with the plain one's verdict.
    for path in [
        "/api/v1/namespaces/x/secrets/",
        "/api/v1/namespaces/x/%73ecrets",
        "/api/v1/namespaces/x/secrets/y?watch=1",
        "/api/v1/watch/namespaces/x/secrets",
        "/api/v1/namespaces/x/Secrets",
        "/api/v1//namespaces/x/secrets",
        "/api/v1/namespaces/x/./secrets",
        "/api/v1/namespaces/x/pods/../secrets",
        "/api/v1/namespaces/x%2fsecrets",
        "/API/v1/namespaces/x/secrets",
    ] {
        let told = door.told(&operator, "GET", path).await;
        assert!(told == "403" || told == "400", "{path}: {told}");
    }
    // In Kubernetes' words: what is missing, which rule, whom to ask.
    let denied = door.proxy(&operator, "GET", "/api/v1/secrets").await.json();
    let message = denied["message"].as_str().unwrap();
    assert!(message.contains("the rule no-secrets denies clusters:read; ask an admin of this hub"), "{message}");
    assert_eq!(denied["details"]["causes"][1]["field"], "rule.no-secrets");
    let missing = door.proxy(&of_namespace, "PATCH", IN_B).await.json();
    assert!(missing["message"].as_str().unwrap().contains("operations:write is missing"), "{missing}");
}

#[tokio::test]
async fn p05_a_namespace_ends_where_it_ends() {
    let door = Door::new().await;
    let in_a = |words: &[&str]| vec![door.rule("team-a", Effect::Allow, words, &["team-a"], &[])];
    let writer = door.person("nan", &[], false, in_a(&["clusters:*", "operations:*", "*:read"]));
    let reader = door.person("rea", &[], false, in_a(&["*:read"]));
    for (method, path) in [
        // Everywhere at once, whatever the query narrows it to.
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/pods?fieldSelector=metadata.namespace%3Dteam-a"),
        ("GET", "/api/v1/pods?fieldSelector=metadata.namespace%3Dteam-b"),
        ("GET", "/api/v1/watch/pods"),
        ("GET", "/apis/apps/v1/deployments?watch=1"),
        // Another namespace, alone or behind one's own.
        ("GET", "/api/v1/namespaces/team-b/pods"),
        ("GET", "/api/v1/namespaces/team-b"),
        ("GET", "/api/v1/namespaces/team-b/pods?fieldSelector=metadata.namespace%3Dteam-a"),
        ("GET", "/api/v1/namespaces/team-ab/pods"),
        ("POST", "/api/v1/namespaces/team-b/pods/x/exec?command=id"),
        ("GET", "/api/v1/namespaces/team-b/services/x/proxy/"),
        // Collections.
        ("DELETE", "/api/v1/pods"),
        ("DELETE", "/api/v1/namespaces/team-b/pods"),
        ("DELETE", "/apis/apps/v1/deployments?labelSelector=a%3Db"),
        ("DELETE", "/api/v1/namespaces"),
        // What is in no namespace.
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/nodes/n/proxy/run"),
        ("POST", "/api/v1/nodes/n/proxy/run/team-a/web/main"),
        ("GET", "/api/v1/nodes/n/proxy/pods?namespace=team-a"),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
        ("GET", "/logs/kube-apiserver.log"),
        ("GET", "/metrics"),
    ] {
        assert_eq!(door.told(&writer, method, path).await, "403", "{method} {path}");
    }
    // Its own it has, whatever the selector names: the path says where.
    for (method, path) in [
        ("GET", "/api/v1/namespaces/team-a/pods?fieldSelector=metadata.namespace%3Dteam-b"),
        ("DELETE", "/api/v1/namespaces/team-a/pods"),
    ] {
        assert!(door.told(&writer, method, path).await.starts_with("raised"), "{method} {path}");
    }
    // Who may only read there changes nothing and opens no way in.
    for (method, path) in [
        ("DELETE", "/api/v1/namespaces/team-a/pods"),
        ("DELETE", "/api/v1/namespaces/team-a/pods/x"),
        ("POST", "/api/v1/namespaces/team-a/pods/x/exec?command=id"),
        ("GET", "/api/v1/namespaces/team-a/pods/x/exec?command=id"),
        ("GET", "/api/v1/namespaces/team-a/pods/x/proxy/"),
        ("POST", "/api/v1/namespaces/team-a/pods/x/eviction"),
    ] {
        assert_eq!(door.told(&reader, method, path).await, "403", "{method} {path}");
    }
    assert_eq!(door.told(&reader, "GET", "/api/v1/namespaces/team-a/pods").await, "raised viewer");
}

#[tokio::test]
async fn a_rule_that_ends_is_noticed_at_once() {
    let door = Door::new().await;
    let rules = vec![door.rule("team-a", Effect::Allow, &["operations:*", "*:read"], &["team-a"], &[])];
    let viewer = door.person("vera", &[Role::Viewer], true, rules);
    assert_eq!(door.told(&viewer, "PATCH", IN_A).await, "raised operator");
    door.rig.world.keys.lock().unwrap().get_mut(&viewer.proof).unwrap().rules.clear();
    assert_eq!(door.told(&viewer, "PATCH", IN_A).await, "raised operator", "nobody has said anything yet");
    door.rig.emit(Fact::PolicyChanged {}).await;
    for _ in 0..500 {
        if door.told(&viewer, "PATCH", IN_A).await == "signed" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the rule lives on");
}

#[tokio::test]
async fn terminals_and_logs_are_asked_about_too() {
    let door = Door::new().await;
    let rules = vec![
        door.rule("team-a", Effect::Allow, &["clusters:*", "operations:*", "*:read"], &["team-a"], &[]),
        door.rule("no-shells", Effect::Deny, &["operations:write"], &[], &["pods/exec"]),
    ];
    let person = door.person("nan", &[], false, rules);
    let open = async |route: &str, namespace: &str| {
        let path = format!("/api/v1/clusters/quay/{route}?namespace={namespace}&pod=web");
        let headers = [
            ("x-api-key", person.key.as_str()),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("sec-websocket-protocol", if route == "logs" { "roadstead.logs.v1" } else { "roadstead.terminal.v1" }),
        ];
        // Only the status: whoever asked for a socket reads no body.
        let request = door.rig.http.get(door.rig.url(&path));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(open("logs", "team-a").await, 503);
    assert_eq!(open("logs", "team-b").await, 403);
    assert_eq!(open("terminal", "team-a").await, 403);
    assert_eq!(door.agent.0.lock().unwrap().as_slice(), ["raised.operator.x"]);
}

#[tokio::test]
async fn routes_ask_the_policy() {
    let door = Door::new().await;
    let (quay, rig) = ("/api/v1/clusters/quay", &door.rig);
    let manages = door.rule("manages", Effect::Allow, &["clusters:manage", "*:read"], &[], &[]);
    let keeper = door.person("kit", &[], false, vec![manages]);
    let held = door.rule("held", Effect::Deny, &["clusters:delete"], &[], &[]);
    let mut everywhere = door.rule("nothing-starts", Effect::Deny, &["operations:write"], &[], &[]);
    everywhere.clusters = roadstead_contracts::policy::Clusters::default();
    let operator = door.person("opal", &[Role::Operator], true, vec![held, everywhere]);
    // A permission that no role gives; what it is about the owner of the cluster decides.
    assert_eq!(rig.get("/api/v1/join-tokens", Some(&keeper.key)).await.status, 200);
    assert_eq!(rig.get(quay, Some(&keeper.key)).await.status, 200);
    assert_eq!(rig.send("DELETE", quay, Some(&keeper.key), None).await.code(), "forbidden");
    // A rule for everything stops at the route, and is named.
    let path = "/api/v1/rollouts";
    let refused = rig.send("POST", path, Some(&operator.key), Some(json!({}))).await.json();
    assert_eq!(refused["errors"][0]["loc"], json!(["rule", "nothing-starts"]), "{refused}");
    assert!(refused["errors"][0]["msg"].as_str().unwrap().contains("ask an admin of this hub"), "{refused}");
}

#[tokio::test]
async fn can_says_which_rule() {
    let door = Door::new().await;
    let rules = vec![
        door.rule("team-a", Effect::Allow, &["clusters:*", "operations:*", "*:read"], &["team-a"], &[]),
        door.rule("no-secrets", Effect::Deny, &["*:*"], &[], &["secrets"]),
    ];
    let person = door.person("nan", &[], false, rules);
    let can = async |query: &str| -> Value {
        let answer = door.rig.get(&format!("/api/v1/auth/can?{query}"), Some(&person.key)).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json()
    };
    for (query, allowed, rule) in [
        ("permission=operations:write&cluster=quay", false, None),
        ("cluster=quay&kind=deployments.apps&verb=patch&namespace=team-a", true, Some("team-a")),
        ("cluster=quay&kind=deployments.apps&verb=patch&namespace=team-b", false, None),
        ("cluster=quay&kind=deployments.apps", false, None),
        ("cluster=quay&kind=secrets&namespace=team-a", false, Some("no-secrets")),
        ("permission=operations:write&cluster=quay&kind=pods&namespace=team-a", true, Some("team-a")),
        ("cluster=elsewhere&kind=pods", false, None),
    ] {
        let said = can(query).await;
        assert_eq!(said["allowed"], allowed, "{query}: {said}");
        assert_eq!(said["rule"]["name"].as_str(), rule, "{query}: {said}");
        assert_eq!(said["ask"].is_string(), !allowed, "{query}: {said}");
    }
    for odd in
        ["kind=pods", "cluster=quay&kind=*", "cluster=quay&kind=pods&namespace=A", "permission=clusters:read&verb=get"]
    {
        assert_eq!(door.rig.get(&format!("/api/v1/auth/can?{odd}"), Some(&person.key)).await.status, 400, "{odd}");
    }
}

#[tokio::test]
async fn namespaces_are_listed_by_whoever_may_see_some() {
    let door = Door::new().await;
    let rules = vec![door.rule("team-a", Effect::Allow, &["*:read"], &["team-a"], &[])];
    let person = door.person("nan", &[], false, rules);
    let answer = door.rig.get("/api/v1/clusters/quay/namespaces", Some(&person.key)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Onboarding leaves out what is not shown; what it is given is good for no more than discovery.
    let asked = door.rig.world.bodies.lock().unwrap().clone();
    assert!(asked.contains(r#""request":{"verb":"get"}"#), "{asked}");
}
