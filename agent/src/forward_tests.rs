use roadstead_tunnel::exchange::{Answer, ask};
use roadstead_tunnel::{Class, Event, Options, Role, start};

use super::*;

fn person() -> Person {
    Person {
        user: HeaderValue::from_static("roadstead:ada"),
        groups: vec![HeaderValue::from_static("roadstead:viewer")],
        only: None,
    }
}

#[test]
fn nothing_of_the_hop_survives_beside_the_person() {
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("authorization", "Bearer hub"), ("cookie", "a=b"), ("x-api-key", "k"), ("host", "evil"), ("accept", "a/b")]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    become_person(&mut headers, &person()).unwrap();
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "impersonate-group", "impersonate-user"]);
}

#[test]
fn a_hub_cannot_name_another_person() {
    for name in ["impersonate-user", "impersonate-group", "impersonate-extra-x", "x-remote-user"] {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("system:masters"));
        assert_eq!(become_person(&mut headers, &person()).unwrap_err().status(), 403, "{name}");
    }
}

#[test]
fn what_a_rule_gave_is_spent_on_nothing_else() {
    let only = Some(RequestKind::of("patch", "deployments.apps", Some("team-a")));
    let raised = Person { only, ..person() };
    let check = |person: &Person, method: &str, uri: &str| {
        person.check(&Request::builder().method(method).uri(uri).body(()).unwrap()).is_ok()
    };
    assert!(check(&raised, "PATCH", "/apis/apps/v1/namespaces/team-a/deployments/web?force=true"));
    for (method, uri) in [
        ("GET", "/apis/apps/v1/namespaces/team-a/deployments/web"),
        ("PATCH", "/apis/apps/v1/namespaces/team-b/deployments/web"),
        ("PATCH", "/apis/apps/v1/namespaces/team-a/deployments/web/scale"),
        ("PATCH", "/api/v1/namespaces/team-a/secrets/web"),
        ("PATCH", "/apis/apps/v1/namespaces/team-a/../team-a/deployments/web"),
        ("PATCH", "/apis/apps/v1/namespaces/team%2Da%2f/deployments/web"),
        ("DELETE", "/apis/apps/v1/namespaces/team-a/deployments"),
    ] {
        assert!(!check(&raised, method, uri), "{method} {uri}");
        assert!(check(&person(), method, uri));
    }
    let looks = Person { only: Some(RequestKind::discovery()), ..person() };
    assert!(check(&looks, "GET", "/openapi/v3/apis/apps/v1") && check(&looks, "HEAD", "/version"));
    assert!(!check(&looks, "GET", "/metrics") && !check(&looks, "GET", "/api/v1/namespaces"));
}

#[test]
fn regression_a_quiet_log_is_not_cut_by_the_clusters_timeout() {
    let silent = |path: &str| may_be_silent(&Method::GET, &path.parse().unwrap());
    for path in [
        "/api/v1/namespaces/a/pods/b/log?follow=true&tailLines=1",
        "/api/v1/namespaces/a/pods/b/l%6Fg?f%6Fllow=1",
        "/api/v1/namespaces/a/services/b/proxy/slow?x=1",
        "/api/v1/namespaces/a/pods/b/proxy",
        "/api/v1/nodes/n/proxy/stats/summary",
        "/api/v1/proxy/nodes/n/metrics",
    ] {
        assert!(silent(path), "{path}");
    }
    for path in [
        "/api/v1/namespaces/a/pods/b/log",
        "/api/v1/namespaces/a/pods/b/log?follow=false",
        "/api/v1/namespaces/a/pods?follow=true",
        "/apis/example.org/v1/namespaces/a/pods/b/log?follow=true",
        "/version?follow=true",
    ] {
        assert!(!silent(path), "{path}");
    }
}

/// An API server that takes requests and says nothing.
#[tokio::test]
async fn regression_a_quiet_log_outlives_the_clusters_timeout() {
    roadstead_runtime::install_crypto();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(format!("http://{}", silent.local_addr().unwrap()).parse().unwrap());
    let reach = Reach { limit: Some(Duration::from_millis(100)), ..Reach::default() };
    let forwarder = Forwarder::new(&config, &reach).unwrap();
    let tasks = roadstead_runtime::Tasks::new();
    let (hub, agent) = roadstead_tunnel::transport::pipe();
    let (hub, _answers) = start(hub, Role::Hub, Options::default(), &tasks);
    let (_agent, mut incoming) = start(agent, Role::Agent, Options::default(), &tasks);
    for (path, waits) in [("/api/v1/pods", false), ("/api/v1/namespaces/a/pods/b/log?follow=true", true)] {
        let near = hub.open(Bytes::from_static(b"{}"), Class::Interactive).unwrap();
        let Some(Event::Stream { stream, .. }) = incoming.next().await else { panic!("no stream") };
        let asked = ask(near, Request::get(path).body(Empty::<Bytes>::new()).unwrap(), &tasks);
        let both = async { tokio::join!(asked, forward(stream, Ok(person()), &forwarder)).0.unwrap() };
        match tokio::time::timeout(Duration::from_secs(2), both).await {
            Ok(Answer::Plain(answer)) => {
                assert!(!waits && answer.status() == StatusCode::GATEWAY_TIMEOUT, "{path}");
            }
            Ok(Answer::Switched(..)) => panic!("{path} switched"),
            Err(_) => assert!(waits, "{path}"),
        }
    }
}

#[test]
fn refusals_are_statuses() {
    let refused = refusal(&Error::of(roadstead_contracts::Code::AgentBusy).retry_after(1));
    assert_eq!((refused.status().as_u16(), &refused.headers()[RETRY_AFTER]), (503, &HeaderValue::from(1)));
}
