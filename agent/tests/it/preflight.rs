//! The pre-flight names the broken step.

use roadstead_agent::keep::Keeper;
use roadstead_agent::net::Way;
use roadstead_agent::preflight::{Outcome, Plan, Report, run};
use roadstead_runtime::config::MapEnv;
use roadstead_runtime::{Secret, SystemClock};

use crate::api::{Api, Manner};
use crate::hub::{Hub, TOKEN};

async fn look(hub: &str, manner: Manner, env: MapEnv, token: &str) -> Report {
    let api = Api::start(manner).await;
    let cluster = api.cluster();
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::Folder(folder.path().join("state"));
    let token = Secret::new(token);
    let plan = Plan { hub, token: Some(&token), keeper: Some(&keeper), cluster: Ok(&cluster) };
    run(&plan, &Way::new(None, &env).unwrap(), &SystemClock::shared()).await
}

#[tokio::test]
async fn everything_is_fine() {
    let hub = Hub::start().await;
    let report = look(&hub.url(), Manner::default(), MapEnv::default(), TOKEN).await;
    assert_eq!(report.broken(), None, "{report}");
    for step in ["DNS", "TCP", "proxy", "TLS", "hub", "clock", "token", "Kubernetes API", "RBAC"] {
        assert_eq!(report.outcome(step), Some(Outcome::Passed), "{step} in\n{report}");
    }
}

#[tokio::test]
async fn each_step_is_named_with_its_fix() {
    let hub = Hub::start().await;
    let fine = Manner::default;
    let broken = async |url: &str, manner: Manner, env: MapEnv, token: &str| {
        let report = look(url, manner, env, token).await;
        let (step, _, fix) = report.broken().unwrap_or_else(|| panic!("{report}"));
        assert!(!fix.is_empty(), "{report}");
        step.to_owned()
    };
    assert_eq!(broken("http://no-such-host.invalid", fine(), MapEnv::default(), TOKEN).await, "DNS");
    assert_eq!(broken("http://127.0.0.1:1", fine(), MapEnv::default(), TOKEN).await, "TCP");
    let secure = hub.url().replace("http:", "https:");
    assert_eq!(broken(&secure, fine(), MapEnv::default(), TOKEN).await, "TLS");
    let proxied = MapEnv::new([("HTTPS_PROXY", "http://127.0.0.1:1")]);
    assert_eq!(broken("https://hub.example", fine(), proxied, TOKEN).await, "proxy");
    assert_eq!(broken(&hub.url(), fine(), MapEnv::default(), "nonsense").await, "token");
    let bare = Manner { may_impersonate: false, ..Manner::default() };
    assert_eq!(broken(&hub.url(), bare, MapEnv::default(), TOKEN).await, "RBAC");
    hub.state.lock().unwrap().ahead = 3_600;
    assert_eq!(broken(&hub.url(), fine(), MapEnv::default(), TOKEN).await, "clock");
    // Another server altogether.
    let api = Api::start(Manner::default()).await;
    let other = format!("http://{}", api.address);
    assert_eq!(broken(&other, fine(), MapEnv::default(), TOKEN).await, "hub");
}

#[tokio::test]
async fn a_cluster_that_is_away_is_named() {
    let hub = Hub::start().await;
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = roadstead_agent::kubernetes::Cluster::with_config(config, false).unwrap();
    let token = Secret::new(TOKEN);
    let plan = Plan { hub: &hub.url(), token: Some(&token), keeper: None, cluster: Ok(&cluster) };
    let report = run(&plan, &Way::new(None, &MapEnv::default()).unwrap(), &SystemClock::shared()).await;
    assert_eq!(report.broken().unwrap().0, "Kubernetes API", "{report}");
    assert_eq!(report.outcome("RBAC"), Some(Outcome::Skipped));
}

#[tokio::test]
async fn missing_bindings_are_made_or_named() {
    let hub = Hub::start().await;
    let report = look(&hub.url(), Manner { bound: false, ..Manner::default() }, MapEnv::default(), TOKEN).await;
    assert_eq!(report.outcome("RBAC"), Some(Outcome::Passed), "{report}");
}
