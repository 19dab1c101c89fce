use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use serde_json::json;

use super::*;

/// A door that answers by path, and tells which paths were asked.
fn door(answers: impl Fn(&str, &str) -> (u16, Value) + Send + 'static) -> (Door, Receiver<String>) {
    roadstead_runtime::install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let lines = BufReader::new(&client).lines().map_while(Result::ok);
            let asked = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
            let path = asked.split(' ').nth(1).unwrap().strip_prefix("/k/quay").unwrap().to_owned();
            let (status, body) = answers(&path, &asked);
            // Before the answer, so that it is there for whoever has it.
            let _ = tell.send(path);
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nRetry-After: 0\r\n");
            let answer =
                format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    let client = reqwest::Client::builder().build().unwrap();
    (Door { client, url, token: "t".to_owned() }, told)
}

fn asked(told: &Receiver<String>) -> Vec<String> {
    std::iter::from_fn(|| told.try_recv().ok()).collect()
}

/// A new API server's list of all groups, as KEP-3352 has it.
fn aggregated(path: &str) -> Value {
    let resource = |plural: &str, kind: &str, singular: &str, short: &str, scope: &str| {
        json!({ "resource": plural, "responseKind": { "kind": kind }, "singularResource": singular, "shortNames": [short],
                "scope": scope, "verbs": ["list"], "subresources": [{ "subresource": "status" }] })
    };
    let group = |name: &str, versions: Value| {
        let metadata = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
        json!({ "metadata": metadata, "versions": versions })
    };
    let items = match path {
        "/api" => json!([group(
            "",
            json!([{ "version": "v1", "resources": [
            resource("pods", "Pod", "pod", "po", "Namespaced"), resource("nodes", "Node", "node", "no", "Cluster")] }])
        )]),
        _ => json!([
            group(
                "apps",
                json!([{ "version": "v1", "resources": [
                resource("deployments", "Deployment", "deployment", "deploy", "Namespaced")] }])
            ),
            group(
                "example.org",
                json!([
                { "version": "v2", "resources": [resource("ships", "Ship", "ship", "sh", "Cluster")] },
                { "version": "v1", "resources": [resource("boats", "Boat", "boat", "bt", "Cluster")] }])
            ),
        ]),
    };
    json!({ "kind": "APIGroupDiscoveryList", "items": items })
}

#[tokio::test]
async fn regression_a_kind_is_found_in_two_questions() {
    let (door, told) = door(|path, asked| {
        assert!(asked.contains("as=APIGroupDiscoveryList"), "{asked}");
        (200, aggregated(path))
    });
    for (wanted, base, plural, namespaced, questions) in [
        ("po", "/api/v1", "pods", true, vec!["/api"]),
        ("Node", "/api/v1", "nodes", false, vec!["/api"]),
        ("deploy", "/apis/apps/v1", "deployments", true, vec!["/api", "/apis"]),
        ("ships.example.org", "/apis/example.org/v2", "ships", false, vec!["/apis"]),
        // Only in a version that is not the preferred one.
        ("boat", "/apis/example.org/v1", "boats", false, vec!["/api", "/apis"]),
    ] {
        let kind = Kind { base: base.to_owned(), plural: plural.to_owned(), namespaced };
        assert_eq!(door.find("quay", wanted).await.unwrap(), kind, "{wanted}");
        assert_eq!(asked(&told), questions, "{wanted}");
    }
    assert_eq!(door.find("quay", "nothing").await.unwrap_err().to_string(), "it has no kind nothing");
    assert!(door.find("quay", "ships.apps").await.is_err());
}

#[tokio::test]
async fn an_older_api_server_is_asked_group_after_group() {
    let (door, told) = door(|path, _| {
        let group = |name: &str| json!({ "name": name, "preferredVersion": { "groupVersion": format!("{name}/v1") } });
        match path {
            "/api" => (200, json!({ "kind": "APIVersions", "versions": ["v1"] })),
            "/api/v1" => (200, json!({ "resources": [{ "name": "pods", "kind": "Pod", "namespaced": true }] })),
            "/apis" => (200, json!({ "kind": "APIGroupList", "groups": [group("away"), group("apps")] })),
            "/apis/apps/v1" => (
                200,
                json!({ "resources": [{ "name": "deployments/scale", "kind": "Scale" },
                { "name": "deployments", "kind": "Deployment", "shortNames": ["deploy"], "namespaced": true }] }),
            ),
            _ => (503, json!({})),
        }
    });
    assert_eq!(door.find("quay", "pod").await.unwrap().plural, "pods");
    assert_eq!(asked(&told), ["/api", "/api/v1"]);
    assert_eq!(door.find("quay", "deploy").await.unwrap().base, "/apis/apps/v1");
    assert_eq!(asked(&told), ["/api", "/api/v1", "/apis", "/apis/away/v1", "/apis/apps/v1"]);
    assert!(door.find("quay", "scale").await.is_err());
}

#[tokio::test]
async fn a_door_that_had_enough_is_asked_once_more() {
    let times = std::sync::atomic::AtomicU32::new(0);
    let (door, _told) = door(move |path, _| match times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => (429, json!({ "message": "roadstead: Rate limit exceeded" })),
        _ => (200, aggregated(path)),
    });
    assert_eq!(door.find("quay", "pods").await.unwrap().plural, "pods");
}

#[test]
fn pages_become_one_list() {
    let page = |name: &str, next: &str| json!({ "metadata": { "continue": next }, "rows": [{ "cells": [name] }] });
    let mut whole = page("a", "t/1");
    assert_eq!(rest(&whole).as_deref(), Some("t%2F1"));
    extend(&mut whole, page("b", ""));
    assert_eq!((rest(&whole), array(&whole["rows"]).len()), (None, 2));
}
