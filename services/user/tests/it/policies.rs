//! Rules over HTTP: written, exported, imported, asked what they would decide; and what they do to callers.

use chrono::TimeDelta;
use roadstead_auth::token::api_key_proof;
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::message::Authenticate;
use roadstead_contracts::policy::Effect;
use roadstead_policy::{Asked, decide};
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, context, eventually, rig};

fn rule(name: &str, effect: &str, subjects: &[&str], permissions: &[&str]) -> Value {
    json!({"name": name, "effect": effect, "subjects": subjects, "permissions": permissions})
}

async fn yaml(rig: &Rig, key: &str, path: &str, text: &str) -> Answer {
    let request = rig.request("POST", path).header("X-API-Key", key).header("content-type", "application/yaml");
    rig.send(request.body(text.to_owned())).await
}

/// An account of its own with a key, and the key.
async fn keyed(rig: &Rig, name: &str) -> String {
    let token = rig.account(name).await.text("access_token");
    rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "k"}))).await.text("api_key")
}

async fn principal(rig: &Rig, key: &str) -> Principal {
    let question =
        Authenticate { credential: api_key_proof(key).unwrap(), cluster_id: None, source: None, raise: None };
    rig.bus.call(&question, &context()).await.unwrap().principal
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_written_and_read() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let mut body = rule("no-secrets", "deny", &["role:viewer", "*"], &["*:*"]);
    body["clusters"] = json!({"names": ["prod"], "labels": "env=prod, tier != 1"});
    body["kinds"] = json!(["secrets"]);
    body["reason"] = json!("audit finding 7");
    let made = rig.as_key(key, "POST", "/api/v1/policies", Some(body.clone())).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["clusters"], json!({"names": ["prod"], "labels": "env=prod,tier!=1"}));
    assert_eq!(
        (&made.body["active"], &made.body["origin"], &made.body["until"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    let twin = rig.as_key(key, "POST", "/api/v1/policies", Some(body.clone())).await;
    assert_eq!((twin.status, twin.code()), (409, "conflict"));
    for which in ["no-secrets".to_owned(), made.text("id")] {
        let shown = rig.as_key(key, "GET", &format!("/api/v1/policies/{which}"), None).await;
        assert_eq!((shown.status, &shown.body), (200, &made.body));
    }
    body["name"] = json!("no-secrets-at-all");
    body["clusters"] = json!({});
    let changed = rig.as_key(key, "PUT", "/api/v1/policies/no-secrets", Some(body)).await;
    assert_eq!((changed.status, &changed.body["id"]), (200, &made.body["id"]), "{}", changed.body);
    assert_eq!(rig.as_key(key, "GET", "/api/v1/policies/no-secrets", None).await.status, 404);
    let all = rig.as_key(key, "GET", "/api/v1/policies?subject=role:viewer", None).await;
    assert_eq!((all.headers["x-total-count"].to_str().unwrap(), all.body.as_array().unwrap().len()), ("1", 1));
    assert_eq!(rig.as_key(key, "GET", "/api/v1/policies?subject=user:bob", None).await.body, json!([]));
    let path = "/api/v1/policies/no-secrets-at-all";
    assert_eq!(rig.as_key(key, "DELETE", path, None).await.status, 204);
    assert_eq!(rig.as_key(key, "DELETE", path, None).await.status, 404);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let body = json!({
        "name": "Bad Name", "effect": "deny", "subjects": ["ada"], "permissions": ["clusters:impersonate"],
        "clusters": {"labels": "=x"}, "namespaces": ["A"], "until": "2020-01-01T00:00:00Z",
    });
    let early = rig.as_key(key, "POST", "/api/v1/policies", Some(body.clone())).await;
    assert_eq!((early.status, &early.body["errors"][0]["loc"]), (400, &json!(["body", "until"])));
    let mut body = body;
    body["until"] = Value::Null;
    let made = rig.as_key(key, "POST", "/api/v1/policies", Some(body)).await;
    assert_eq!((made.status, made.code()), (400, "validation_failed"));
    let mut places: Vec<&str> =
        made.body["errors"].as_array().unwrap().iter().map(|fault| fault["loc"][1].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["clusters", "name", "namespaces", "permissions", "subjects"]);
    for query in ["limit=0", "limit=1001", "limit=x", "subject=ada"] {
        assert_eq!(rig.as_key(key, "GET", &format!("/api/v1/policies?{query}"), None).await.status, 400, "{query}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_out_and_in() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let text = "rules:\n\
        - name: team-a\n  effect: allow\n  subjects: ['group:team-a']\n  permissions: ['*:read', 'operations:write']\n  \
          clusters: {labels: env=dev}\n  namespaces: [team-a, team-a-*]\n\
        - {name: freeze, effect: deny, subjects: ['*'], permissions: ['operations:write'], until: '2027-02-01T00:00:00Z'}\n";
    let done = yaml(&rig, key, "/api/v1/policies/import", text).await;
    assert_eq!((done.status, &done.body), (200, &json!({"created": 2, "changed": 0, "unchanged": 0, "removed": 0})));
    let exported = rig.as_key(key, "GET", "/api/v1/policies/export", None).await;
    assert_eq!(exported.headers["content-type"], "application/yaml");
    let file = exported.body.as_str().unwrap().to_owned();
    let again = yaml(&rig, key, "/api/v1/policies/import?replace=true", &file).await;
    assert_eq!(again.body, json!({"created": 0, "changed": 0, "unchanged": 2, "removed": 0}), "{file}");
    let one = json!({"rules": [rule("freeze", "deny", &["role:operator"], &["operations:write"])]});
    let done = rig.as_key(key, "POST", "/api/v1/policies/import?replace=true", Some(one)).await;
    assert_eq!(done.body, json!({"created": 0, "changed": 1, "unchanged": 0, "removed": 1}));

    // A wrong word is told with its place, in both spellings of a file.
    let wrong = rule("b", "allowed", &["*"], &["users:read"]);
    let rules = json!({"rules": [rule("a", "allow", &["*"], &["users:read"]), wrong.clone()]});
    let flow = serde_json::to_string(&rules).unwrap();
    for refused in [
        rig.as_key(key, "POST", "/api/v1/policies/import", Some(rules)).await,
        yaml(&rig, key, "/api/v1/policies/import", &flow).await,
    ] {
        assert_eq!((refused.status, refused.detail()), (400, "rules[1].effect: expected `allow` or `deny`"));
    }
    let refused = rig.as_key(key, "POST", "/api/v1/policies", Some(wrong)).await;
    assert_eq!((refused.status, refused.detail()), (400, "effect: expected `allow` or `deny`"));

    let before = rig.as_key(key, "GET", "/api/v1/policies", None).await.body;
    for (text, status) in [
        ("rules: [{name: x}]", 400),
        (
            "rules:\n- {name: ok, effect: deny, subjects: ['*'], permissions: ['users:read']}\n- {name: bad, effect: deny, subjects: [x], permissions: ['users:read']}",
            400,
        ),
        ("rules: [&a [*a, *a]]", 400),
        ("not: rules", 400),
        ("", 400),
    ] {
        let refused = yaml(&rig, key, "/api/v1/policies/import?replace=true", text).await;
        assert_eq!(refused.status, status, "{text}: {}", refused.body);
    }
    let twice =
        json!({"rules": [rule("a", "deny", &["*"], &["users:read"]), rule("a", "deny", &["*"], &["users:read"])]});
    let refused = rig.as_key(key, "POST", "/api/v1/policies/import", Some(twice)).await;
    assert_eq!(refused.body["errors"][0]["loc"], json!(["body", "rules", "1", "name"]));
    assert_eq!(rig.as_key(key, "GET", "/api/v1/policies", None).await.body, before, "all or nothing");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_come_in_pages() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let rules: Vec<Value> = (0..25)
        .map(|number| rule(&format!("rule-{number:02}"), "allow", &["user:somebody"], &["clusters:read"]))
        .collect();
    let done = rig.as_key(key, "POST", "/api/v1/policies/import", Some(json!({"rules": rules}))).await;
    assert_eq!(done.body["created"], json!(25), "{}", done.body);
    let (mut path, mut names) = ("/api/v1/policies?limit=10".to_owned(), Vec::new());
    loop {
        let page = rig.as_key(key, "GET", &path, None).await;
        assert_eq!(page.headers["x-total-count"], "25");
        names.extend(page.body.as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap().to_owned()));
        let Some(link) = page.headers.get("link") else { break };
        path = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    }
    assert_eq!(names, (0..25).map(|number| format!("rule-{number:02}")).collect::<Vec<_>>());
    rig.stop().await;
}

/// Row Z02: nobody gives what they do not have, and nobody locks themselves out.
#[tokio::test(flavor = "multi_thread")]
async fn z02_rules_give_no_more_than_their_writer_has() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let root = owner.api_key.expose();
    let ada = keyed(&rig, "ada").await;
    let more = rule("mine", "allow", &["user:ada"], &["operations:write"]);
    let refused = rig.as_key(&ada, "POST", "/api/v1/policies", Some(more.clone())).await;
    assert_eq!((refused.status, refused.code()), (403, "forbidden"));
    // Somebody who was given the rules to look after, and nothing else.
    let given = rule("ada-keeps-rules", "allow", &["user:ada"], &["system:*", "users:*"]);
    assert_eq!(rig.as_key(root, "POST", "/api/v1/policies", Some(given)).await.status, 201);
    assert_eq!(rig.as_key(&ada, "GET", "/api/v1/policies", None).await.status, 200);
    let refused = rig.as_key(&ada, "POST", "/api/v1/policies", Some(more)).await;
    assert_eq!((refused.status, refused.code()), (403, "escalation"), "{}", refused.body);
    let deny = rule("ada-denies", "deny", &["role:operator"], &["operations:write"]);
    assert_eq!(rig.as_key(&ada, "POST", "/api/v1/policies", Some(deny)).await.status, 201);
    // With the accounts to look after comes no way to become an admin.
    let who = json!({"roles": ["Super Admin"]});
    let path = format!("/users/{}", owner.username);
    for (method, path, body) in [
        ("PUT", "/users/ada".to_owned(), Some(who)),
        ("DELETE", path.clone(), None),
        ("PUT", path, Some(json!({"is_active": false}))),
        ("POST", "/api/v1/auth/password-resets".to_owned(), Some(json!({"user": owner.username}))),
    ] {
        let refused = rig.as_key(&ada, method, &path, body).await;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.body);
    }
    for (name, subjects) in [("out", "*"), ("out", "role:admin"), ("out", "user:owner")] {
        let out = rig.as_key(root, "POST", "/api/v1/policies", Some(rule(name, "deny", &[subjects], &["*:*"]))).await;
        assert_eq!((out.status, out.code()), (409, "conflict"), "{subjects}: {}", out.body);
    }
    let scoped =
        rig.as_key(root, "POST", "/api-keys", Some(json!({"key_name": "s", "permissions": ["system:*"]}))).await;
    let body = rule("by-a-scoped-key", "deny", &["user:ada"], &["users:read"]);
    let refused = rig.as_key(&scoped.text("api_key"), "POST", "/api/v1/policies", Some(body)).await;
    assert_eq!((refused.status, refused.code()), (403, "escalation"));
    rig.stop().await;
}

/// Row A08: a change of the rules counts with the next question, and everybody who remembers answers hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a08_rules_travel_with_callers() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let root = owner.api_key.expose();
    let ada = keyed(&rig, "ada").await;
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = heard.clone();
    rig.bus
        .subscribe(roadstead_bus::Subscriber::Own, &["policy.*"], move |event| {
            assert_eq!(event.fact, Fact::PolicyChanged {});
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::future::ready(Ok(()))
        })
        .await
        .unwrap();
    assert!(principal(&rig, &ada).await.rules.is_empty());
    let mut hour = rule("an-hour", "allow", &["user:ada", "user:bob"], &["operations:write"]);
    hour["until"] = json!(rig.now() + TimeDelta::hours(1));
    assert_eq!(rig.as_key(root, "POST", "/api/v1/policies", Some(hour)).await.status, 201);
    let who = principal(&rig, &ada).await;
    assert_eq!(who.rules.len(), 1);
    assert_eq!(who.rules[0].subjects.iter().map(ToString::to_string).collect::<Vec<_>>(), ["user:ada"]);
    let asked = Asked::hub(Action::OperationsWrite);
    assert!(decide(&who, &asked, rig.now()).allowed);
    assert!(!decide(&who, &asked, rig.now() + TimeDelta::hours(1)).allowed, "it ends by itself");
    assert!(principal(&rig, root).await.rules.is_empty());

    let freeze = rule("freeze", "deny", &["*"], &["operations:write"]);
    assert_eq!(rig.as_key(root, "POST", "/api/v1/policies", Some(freeze)).await.status, 201);
    let who = principal(&rig, &ada).await;
    assert_eq!(who.rules.iter().map(|rule| rule.effect).collect::<Vec<_>>(), [Effect::Deny, Effect::Allow]);
    assert!(!decide(&who, &asked, rig.now()).allowed);
    eventually("the doors hear of both", || {
        let heard = heard.load(std::sync::atomic::Ordering::Relaxed);
        async move { heard >= 2 }
    })
    .await;
    rig.clock.advance(TimeDelta::hours(2));
    let told = principal(&rig, &ada).await.rules;
    assert_eq!(told.len(), 1, "what is over does not travel");
    let shown = rig.as_key(root, "GET", "/api/v1/policies/an-hour", None).await;
    assert_eq!(shown.body["active"], json!(false));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deny_rules_hold_for_this_services_own_routes() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let root = owner.api_key.expose();
    keyed(&rig, "ada").await;
    let body = rule("accounts-are-frozen", "deny", &["*"], &["users:write", "users:delete"]);
    assert_eq!(rig.as_key(root, "POST", "/api/v1/policies", Some(body)).await.status, 201);
    let refused = rig.as_key(root, "DELETE", "/users/ada", None).await;
    assert_eq!((refused.status, refused.code()), (403, "forbidden"));
    assert_eq!(refused.body["errors"][0]["loc"], json!(["rule", "accounts-are-frozen"]), "{}", refused.body);
    let refused = rig.as_key(root, "PUT", "/users/ada", Some(json!({"is_active": false}))).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_decided_is_told_and_nothing_saved() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let root = owner.api_key.expose();
    keyed(&rig, "ada").await;
    let mut allow = rule("team", "allow", &["user:ada", "group:ops"], &["*:read", "operations:write"]);
    allow["clusters"] = json!({"labels": "env=dev"});
    allow["namespaces"] = json!(["team-a"]);
    let question = |extra: Value| {
        let mut question = json!({
            "permission": "operations:write", "cluster": "shop", "labels": {"env": "dev"}, "namespace": "team-a",
            "kind": "deployments.apps", "verb": "create",
        });
        question.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        question
    };
    let questions = json!([
        question(json!({"user": "ada"})),
        question(json!({"groups": ["ops"]})),
        question(json!({"user": "ada", "namespace": "*"})),
        question(json!({"user": "ada", "labels": {"env": "prod"}})),
        question(json!({"roles": ["admin"]})),
    ]);
    // Nobody keeps a registry here: answer for it.
    let body = json!({"rules": [allow, rule("freeze", "deny", &["role:admin"], &["operations:write"])], "questions": questions});
    crate::policy_strategies::serve_registry(&rig).await;
    let answers = rig.as_key(root, "POST", "/api/v1/policies/test", Some(body.clone())).await;
    assert_eq!(answers.status, 200, "{}", answers.body);
    let told: Vec<(bool, bool, Value)> = answers
        .body
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["allowed"] == true, one["allowed_now"] == true, one["rule"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (true, false, json!("team")),
            (true, false, json!("team")),
            (false, false, Value::Null),
            (false, false, Value::Null),
            (false, true, json!("freeze")),
        ],
        "{}",
        answers.body
    );
    assert_eq!(rig.as_key(root, "GET", "/api/v1/policies", None).await.body, json!([]));
    let odd = json!({"questions": [{"permission": "nodes:read", "user": "ada"}]});
    let refused = rig.as_key(root, "POST", "/api/v1/policies/test", Some(odd)).await;
    assert_eq!(refused.body["errors"][0]["loc"], json!(["body", "questions", "0", "permission"]));
    for odd in [
        json!({"permission": "users:read"}),
        json!({"permission": "users:read", "user": "nobody-at-all"}),
        json!({"permission": "users:read", "user": "ada", "roles": ["viewer"]}),
        json!({"permission": "clusters:read", "user": "ada", "kind": "pods"}),
        json!({"permission": "clusters:read", "roles": ["root"]}),
    ] {
        let refused = rig.as_key(root, "POST", "/api/v1/policies/test", Some(json!({"questions": [odd]}))).await;
        assert_eq!((refused.status, refused.code()), (400, "validation_failed"), "{odd}: {}", refused.body);
    }
    let many: Vec<Value> = vec![json!({"permission": "users:read", "user": "ada"}); 101];
    assert_eq!(rig.as_key(root, "POST", "/api/v1/policies/test", Some(json!({"questions": many}))).await.status, 400);
    rig.stop().await;
}
