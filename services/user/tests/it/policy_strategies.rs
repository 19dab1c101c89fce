//! The strategies, and what happens when the policy cannot be read (row Z04).

use std::path::Path;

use roadstead_auth::token::api_key_proof;
use roadstead_bus::{Router, ServeOptions};
use roadstead_contracts::identity::{Action, Principal, Reach, Role};
use roadstead_contracts::message::{Authenticate, GetCluster};
use roadstead_contracts::{Code, Error, Result, queue};
use serde_json::json;

use crate::rig::{Rig, context, eventually, rig, start};

/// A registry without clusters.
pub async fn serve_registry(rig: &Rig) {
    let router = Router::new(queue::CLUSTER_REGISTRY)
        .on(|_: GetCluster, _| async { Err(Error::new(Code::NotFound, "Cluster not found")) });
    rig.bus.serve(router, ServeOptions::default()).await.unwrap();
}

async fn ask(rig: &Rig, key: &str) -> Result<Principal> {
    let question =
        Authenticate { credential: api_key_proof(key).unwrap(), cluster_id: None, source: None, raise: None };
    Ok(rig.bus.call(&question, &context()).await?.principal)
}

async fn ready(rig: &Rig) -> (u16, String) {
    let answer = rig.send(rig.request("GET", "/readyz")).await;
    (answer.status, answer.body.to_string())
}

async fn sqlite(folder: &Path) -> sqlx::SqlitePool {
    let file = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            path.file_stem().is_some_and(|stem| stem == "user")
                && path.extension().is_some_and(|end| end == "db" || end == "sqlite")
        })
        .expect("the service's file");
    sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap()
}

/// Row Z04: a rule that cannot be read may be the one that denies. Nothing is allowed, and `/readyz` says so, until it
/// can be read again.
#[tokio::test(flavor = "multi_thread")]
async fn z04_a_rule_that_cannot_be_read_denies_everything() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let body = json!({"name": "a", "effect": "deny", "subjects": ["*"], "permissions": ["users:delete"]});
    assert_eq!(rig.as_key(key, "POST", "/api/v1/policies", Some(body)).await.status, 201);
    assert_eq!(ready(&rig).await.0, 200);
    let pool = sqlite(rig.folder.path()).await;
    let good: String = sqlx::query_scalar("SELECT rule FROM policy_rules").fetch_one(&pool).await.unwrap();
    for odd in [
        "{}",
        "x",
        &good.replace("deny", "maybe"),
        &good.replace("users:delete", "users:*:*"),
        &good.replace("\"a\"", "\"b\""),
    ] {
        sqlx::query("UPDATE policy_rules SET rule = $1").bind(odd).execute(&pool).await.unwrap();
        sqlx::query("UPDATE policy_state SET version = version + 1").execute(&pool).await.unwrap();
        eventually("everything is denied", || async { ask(&rig, key).await.is_err() }).await;
        let fault = ask(&rig, key).await.unwrap_err();
        assert_eq!(fault.code, Code::Unavailable, "{fault:?}");
        let answer = rig.as_key(key, "GET", "/users/me", None).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        let (status, text) = ready(&rig).await;
        assert!(status == 503 && text.contains("policy"), "{status} {text}");
        sqlx::query("UPDATE policy_rules SET rule = $1").bind(&good).execute(&pool).await.unwrap();
        eventually("it is back", || async { ask(&rig, key).await.is_ok() }).await;
        eventually("and says so", || async { ready(&rig).await.0 == 200 }).await;
    }
    rig.stop().await;
}

/// Row Z04: the rules are away.
#[tokio::test(flavor = "multi_thread")]
async fn z04_without_its_store_nothing_is_allowed() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    assert!(ask(&rig, key).await.is_ok());
    let pool = sqlite(rig.folder.path()).await;
    sqlx::query("ALTER TABLE policy_state RENAME TO away").execute(&pool).await.unwrap();
    eventually("nothing is allowed", || async { ask(&rig, key).await.is_err() }).await;
    assert_eq!(ready(&rig).await.0, 503);
    sqlx::query("ALTER TABLE away RENAME TO policy_state").execute(&pool).await.unwrap();
    eventually("it is back", || async { ask(&rig, key).await.is_ok() && ready(&rig).await.0 == 200 }).await;
    rig.stop().await;
}

/// Row Z04: Casbin's files. The service starts, says that it is not ready, and denies.
#[tokio::test(flavor = "multi_thread")]
async fn z04_broken_files_of_casbin_deny_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (model, lines) = (folder.path().join("model.conf"), folder.path().join("policy.csv"));
    std::fs::write(&lines, "p, ada, operations, write\ng, bob, builders\np, builders, clusters, manage\n").unwrap();
    let (model_text, lines_text) = (model.display().to_string(), lines.display().to_string());
    let env = [
        ("MCKMT_AUTH_RBAC_STRATEGY", "casbin"),
        ("MCKMT_AUTH_RBAC_CASBIN_MODEL_FILE", model_text.as_str()),
        ("MCKMT_AUTH_RBAC_CASBIN_POLICY_FILE", lines_text.as_str()),
    ];
    let rig = start(tempfile::tempdir().unwrap(), &env).await;
    let (status, text) = ready(&rig).await;
    assert!(status == 503 && text.contains("policy"), "{status} {text}: the model is not there");
    std::fs::write(&model, include_str!("casbin_model.conf")).unwrap();
    eventually("the model is read", || async { ready(&rig).await.0 == 200 }).await;

    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let mut keys = Vec::new();
    for name in ["ada", "bob", "builders"] {
        let token = rig.account(name).await.text("access_token");
        keys.push(rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "k"}))).await.text("api_key"));
    }
    let root = ask(&rig, key).await.unwrap();
    assert!(Action::ALL.iter().all(|action| root.allows(*action)));
    let (ada, bob, builders) =
        (ask(&rig, &keys[0]).await.unwrap(), ask(&rig, &keys[1]).await.unwrap(), ask(&rig, &keys[2]).await.unwrap());
    assert!(ada.allows(Action::OperationsWrite) && ada.allows(Action::ClustersRead), "beside the role's own words");
    assert!(!ada.allows(Action::ClustersManage) && !ada.allows(Action::AuditRead));
    assert!(bob.allows(Action::ClustersManage) && !builders.allows(Action::ClustersManage));

    std::fs::write(&lines, "p, ada, operations, write\np, ada, operations\n").unwrap();
    eventually("a line that cannot be read denies everything", || async {
        ask(&rig, key).await.is_err() && ready(&rig).await.0 == 503
    })
    .await;
    std::fs::write(&lines, "p, ada, operations, cancel\n").unwrap();
    eventually("the lines are read again", || async {
        ask(&rig, &keys[0])
            .await
            .is_ok_and(|ada| ada.allows(Action::OperationsCancel) && !ada.allows(Action::OperationsWrite))
    })
    .await;
    rig.stop().await;
}

/// Casbin takes unlimited allow rules as lines; what denies are rules with it, too.
#[tokio::test(flavor = "multi_thread")]
async fn rules_count_with_casbin() {
    let rig = start(tempfile::tempdir().unwrap(), &[("ROADSTEAD_AUTHORIZATION_STRATEGY", "casbin")]).await;
    let owner = rig.owner().await;
    let root = owner.api_key.expose();
    let token = rig.account("ada").await.text("access_token");
    let key = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "k"}))).await.text("api_key");
    for (name, effect, permission) in [("a", "allow", "operations:write"), ("b", "deny", "clusters:read")] {
        let body = json!({"name": name, "effect": effect, "subjects": ["user:ada"], "permissions": [permission]});
        assert_eq!(rig.as_key(root, "POST", "/api/v1/policies", Some(body)).await.status, 201);
    }
    let ada = ask(&rig, &key).await.unwrap();
    assert!(ada.allows(Action::OperationsWrite), "{:?}", ada.permissions);
    let reads = roadstead_policy::decide(&ada, &roadstead_policy::Asked::hub(Action::ClustersRead), rig.now());
    assert_eq!((reads.allowed, reads.rule().map(|(_, name)| name)), (false, Some("b")));
    rig.stop().await;
}

/// For trying things out: whoever logs in may do everything.
#[tokio::test(flavor = "multi_thread")]
async fn no_auth_is_for_development() {
    let env = [("MCKMT_AUTH_RBAC_STRATEGY", "no-auth"), ("ROADSTEAD_DEV", "true")];
    let rig = start(tempfile::tempdir().unwrap(), &env).await;
    let token = rig.account("ada").await.text("access_token");
    assert_eq!(rig.get(&token, "/users").await.status, 200);
    let key = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "k"}))).await.text("api_key");
    let ada = ask(&rig, &key).await.unwrap();
    assert_eq!((ada.roles, ada.reach), ([Role::Admin].into(), Reach::All));
    assert_eq!(rig.send(rig.request("GET", "/users")).await.status, 401, "a credential it takes");
    rig.stop().await;
}
