//! Every route of the table against every kind of caller who may not.

use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::identity::Action;
use roadstead_contracts::ids::ApiKeyId;
use roadstead_http_kit::{Access, RouteRow};
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use serde_json::{Value, json};

use crate::rig::{Rig, Setup};

fn settings() -> Settings {
    Settings::load(ServiceRole::Up, None, &MapEnv::default()).unwrap()
}

/// Routes that answer anybody. A new one has to be put here by hand.
const PUBLIC: [&str; 15] = [
    "GET /healthz",
    "GET /readyz",
    "GET /version",
    "GET /metrics",
    "GET /api/v1/health",
    "GET /api/v1/metrics",
    "GET /api/v3.0/cluster/health",
    "GET /api/v3.0/health",
    "GET /import/{token}.yaml",
    "GET /.well-known/roadstead",
    "GET /.well-known/jwks.json",
    "GET /api/v1/openapi.json",
    "GET /swagger/doc.json",
    "GET /swagger",
    "GET /swagger/{file:[A-Za-z0-9._-]+}",
];

#[test]
fn the_public_routes_are_these() {
    let rows = roadstead_cluster::routes(&settings());
    let open: Vec<String> = rows
        .iter()
        .filter(|row| matches!(row.access, Access::Public | Access::Optional))
        .map(|row| format!("{} {}", row.method, row.path))
        .collect();
    for name in &open {
        assert!(PUBLIC.contains(&name.as_str()), "{name} is public and not listed");
    }
    assert_eq!(open.len(), PUBLIC.len());
    let delegated = rows.iter().filter(|row| row.access == Access::Delegated);
    for row in delegated {
        let known = [
            "/api/v1/auth",
            "/api/v1/audit",
            "/api/v1/policies",
            "/api/v1/access-requests",
            "/api/v1/service-accounts",
            "/auth",
            "/api/v1.0/",
            "/users",
            "/api-keys",
            "/license",
            "/api/v1/clusters/{cluster}/proxy/",
            "/api/v1/clusters/{cluster}/terminal",
            "/api/v1/clusters/{cluster}/logs",
        ];
        assert!(known.iter().any(|prefix| row.path.starts_with(prefix)), "{} is delegated", row.path);
    }
}

const MANIFEST: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";

struct Target {
    path: String,
    body: Option<Value>,
}

fn target(rig: &Rig, row: &RouteRow, cluster: &str, agent: &str, token: &str) -> Target {
    let operation = rig.operations.rows.lock().unwrap()[0].0.id.to_string();
    let rollout = rig.operations.rollouts.lock().unwrap()[0].id.to_string();
    let path = row
        .path
        .replace("{cluster}", cluster)
        .replace("{agent}", agent)
        .replace("{token}", token)
        .replace("{operation}", &operation)
        .replace("{rollout}", &rollout)
        .replace("{namespace}", "shop")
        .replace("{kind}", "deployments")
        .replace("{what}", "pods")
        .replace("{name}", "web")
        .replace("{recording}", "0198c5b0-0000-7000-8000-000000000009")
        .replace("{account}", &rig.viewer.principal.username);
    assert!(!path.contains('{'), "{path} has a parameter that this test does not know");
    let path = if path.ends_with("/namespaces") && path.starts_with("/api/v3.0") {
        format!("{path}?agent_id={agent}")
    } else if path.ends_with("/nodes/status/cluster") {
        format!("{path}?cluster={cluster}")
    } else {
        path
    };
    let body = match (row.method.as_str(), row.path.as_str()) {
        ("POST", "/api/v1/clusters") => Some(json!({"name": "new"})),
        ("POST", "/api/v2.0/onboard" | "/onboard") => Some(json!({"cluster_name": "new"})),
        ("POST", path) if path.ends_with("/onboard-cluster") => {
            Some(json!({"cluster_name": "new", "server_url": "https://10.0.0.1", "token": "t"}))
        }
        ("POST", path) if path.contains("/execute-kubectl-direct/") => Some(json!({"command": "kubectl get pods"})),
        ("POST", "/api/v1/clusters/{cluster}/manifests") => Some(json!({"manifests": MANIFEST})),
        ("POST", "/api/v1/clusters/{cluster}/operations") => Some(json!({"kind": "apply", "manifests": MANIFEST})),
        ("POST", "/api/v1/rollouts") => Some(json!({"kind": "apply", "manifests": MANIFEST, "clusters": [cluster]})),
        ("PUT", "/api/v1/clusters/{cluster}/connection") => Some(json!({
            "auth_method": "token", "api_server_url": "https://10.0.0.1", "service_account_token": "t",
        })),
        ("POST" | "PUT", _) => Some(json!({})),
        _ => None,
    };
    Target { path, body }
}

#[tokio::test]
async fn every_route_refuses_who_may_not() {
    let rig = Rig::with(Setup { env: vec![("RATE_LIMIT_ENABLED", "false".to_owned())], ..Setup::default() }).await;
    let cluster = rig.world.add_cluster("prod", rig.operator.principal.user_id);
    let made = rig.send("POST", "/api/v1/join-tokens", Some(&rig.operator.key), Some(json!({}))).await.json();
    let (cluster, agent) = (cluster.id.to_string(), cluster.agent_id.unwrap().to_string());
    let work = json!({"kind": "apply", "manifests": MANIFEST});
    let everywhere = json!({"kind": "apply", "manifests": MANIFEST, "clusters": ["prod"], "confirmed": true});
    for (path, work) in [("/api/v1/clusters/prod/operations", work), ("/api/v1/rollouts", everywhere)] {
        let begun = rig.send("POST", path, Some(&rig.operator.key), Some(work)).await;
        assert!(matches!(begun.status, 201 | 202), "{begun:?}");
    }
    let token = made["id"].as_str().unwrap().to_owned();
    let unknown = TwoPart::new(Kind::ApiKey, rig.ids.next::<ApiKeyId>(), &rig.ids).format();
    // The user service says the same of a key that is over as of one that never was.
    let expired = TwoPart::new(Kind::ApiKey, rig.ids.next::<ApiKeyId>(), &rig.ids).format();
    let old_token = rig.token(&rig.admin);
    rig.clock.advance(chrono::Duration::hours(2));
    let mut checked = 0;
    for row in roadstead_cluster::routes(&settings()) {
        let action = match row.access {
            Access::Public | Access::Optional | Access::Delegated => continue,
            Access::Authenticated => None,
            Access::Action(action) => Some(action),
        };
        checked += 1;
        let name = format!("{} {}", row.method, row.path);
        let target = target(&rig, &row, &cluster, &agent, &token);
        let send = |headers: Vec<(&'static str, String)>| {
            let (rig, row, target) = (&rig, &row, &target);
            async move {
                let mut headers: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                headers.push(("agent_id", "0198c5b0-0000-7000-8000-000000000001"));
                rig.send_with(row.method.as_str(), &target.path, &headers, target.body.clone()).await
            }
        };
        for (what, headers) in [
            ("no credential", vec![]),
            ("malformed key", vec![("x-api-key", "rsk_1".to_owned())]),
            ("malformed bearer", vec![("authorization", "Bearer x".to_owned())]),
            ("wrong scheme", vec![("authorization", "Basic YTpi".to_owned())]),
            ("unknown key", vec![("x-api-key", unknown.expose().to_owned())]),
            ("expired key", vec![("x-api-key", expired.expose().to_owned())]),
            ("expired token", vec![("authorization", format!("Bearer {old_token}"))]),
            ("upper case", vec![("x-api-key", rig.admin.key.to_uppercase())]),
            ("prefix", vec![("x-api-key", rig.admin.key[..40].to_owned())]),
            (
                "both",
                vec![("x-api-key", rig.admin.key.clone()), ("authorization", format!("Bearer {}", rig.admin.key))],
            ),
        ] {
            let answer = send(headers).await;
            assert_eq!(answer.status, 401, "{name}: {what}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{name}: {what}");
        }
        let in_query = format!("{}?api_key={}", target.path.split('?').next().unwrap(), rig.admin.key);
        assert_eq!(rig.send(row.method.as_str(), &in_query, None, None).await.status, 401, "{name}: key in the query");

        if let Some(action) = action {
            let reads = matches!(action, Action::ClustersRead | Action::OperationsRead);
            let low = if reads { &rig.nobody } else { &rig.viewer };
            let answer = send(vec![("x-api-key", low.key.clone())]).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{name}: too low a role");
        }
        // Another operator: what is not theirs is not there. Grants are for admins, who see everything.
        let has_id =
            ["{cluster}", "{agent}", "{token}", "{operation}", "{rollout}"].iter().any(|part| row.path.contains(part))
                || ["agent_id=", "?cluster="].iter().any(|part| target.path.contains(part));
        if has_id && action != Some(Action::UsersWrite) {
            let answer = send(vec![("x-api-key", rig.other.key.clone())]).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{name}: not theirs");
        }
    }
    assert!(checked >= 20, "only {checked} routes were checked");
    // Nothing changed behind all these refusals.
    assert_eq!(rig.operations.rows.lock().unwrap().len(), 1);
    assert_eq!(rig.world.clusters.lock().unwrap().len(), 1);
    assert!(rig.world.tokens.lock().unwrap().iter().all(|(token, ..)| token.revoked_at.is_none()));
}
