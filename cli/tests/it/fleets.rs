//! Commands about many clusters, and what they hand out, against a hub that remembers what it was asked.

use std::process::Output;

use serde_json::{Value, json};

use crate::fake::{Answer, Asked, FakeHub, cluster, page};

const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n";

/// A hub with so many clusters.
fn hub(clusters: usize) -> FakeHub {
    FakeHub::start(move |asked| answer(asked, clusters))
}

fn answer(asked: &Asked, clusters: usize) -> Answer {
    let body = match asked.line().as_str() {
        "GET /api/v1/clusters" => return page(asked, clusters),
        "GET /.well-known/roadstead" => json!({ "kubernetes_url": "https://127.0.0.1:1" }),
        "GET /api/v1/auth/profile" => json!({ "username": "ada" }),
        "POST /api/v1/rollouts" => json!({ "id": "r", "state": "running", "clusters": 3, "objects": 1,
            "cluster_names": ["east", "north", "west"], "destructive": asked.body["prune"] }),
        "POST /api-keys/" => json!({ "id": 7, "api_key": "rsk_canary", "expires_at": asked.body["expires_at"] }),
        line if line.starts_with("POST /api/v1/clusters/") => json!({ "operation_id": "op", "state": "queued" }),
        line if line.starts_with("GET /api/v1/clusters/") || line.starts_with("PUT /") => cluster(1),
        other => return (404, None, json!({ "detail": other, "code": "not_found" })),
    };
    (200, None, body)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(run: &Output) -> String {
    text(&run.stderr)
}

#[test]
fn regression_a_static_kubeconfig_is_no_credential_for_the_whole_hub() {
    let hub = hub(3);
    let run = hub.run(&["kubeconfig", "quay-00001", "--static", "--lifetime", "2h"]);
    assert!(run.status.success(), "{}", said(&run));
    assert!(text(&run.stdout).contains("token: rsk_canary") && !said(&run).contains("canary"), "{}", said(&run));
    assert!(said(&run).contains("works for quay-00001 as operator at most"), "{}", said(&run));
    assert!(said(&run).contains("roadstead api-key revoke 7"), "{}", said(&run));
    let asked = hub.asked().into_iter().find(|asked| asked.method == "POST").unwrap().body;
    assert_eq!(asked["clusters"], json!([cluster(1)["id"]]));
    let words = |body: &Value| body["permissions"].to_string();
    assert!(!words(&asked).contains("*:*") && words(&asked).contains("operations:*"), "{asked}");

    let run = hub.run(&["kubeconfig", "--all", "--static", "--role", "viewer"]);
    assert!(run.status.success(), "{}", said(&run));
    let asked = hub.asked().into_iter().find(|asked| asked.method == "POST").unwrap().body;
    assert_eq!((asked["clusters"].as_array().unwrap().len(), words(&asked)), (3, r#"["*:read"]"#.to_owned()));

    for (lifetime, code) in [("30d", 0), ("31d", 2), ("721h", 2), ("0h", 2)] {
        let run = hub.run(&["kubeconfig", "quay-00001", "--static", "--lifetime", lifetime]);
        assert_eq!(run.status.code(), Some(code), "{lifetime}: {}", said(&run));
        assert!(code == 0 || lifetime == "0h" || said(&run).contains("30d at most"), "{}", said(&run));
    }
    // More clusters than a key can be held to: none is made.
    hub.asked();
    let many = self::hub(201);
    let run = many.run(&["kubeconfig", "--all", "--static"]);
    assert!(!run.status.success() && said(&run).contains("at most 200 clusters"), "{}", said(&run));
    assert!(many.asked().iter().all(|asked| asked.method == "GET"));
}

#[test]
fn regression_every_page_of_clusters_is_asked_for() {
    let hub = hub(2_345);
    let run = hub.run(&["kubeconfig", "--all"]);
    assert!(run.status.success(), "{}", said(&run));
    assert_eq!(text(&run.stdout).matches("certificate-authority-data").count(), 0);
    assert_eq!(text(&run.stdout).matches("server: ").count(), 2_345);
    hub.asked();

    let scale = ["scale", "deploy/web", "--replicas", "0", "--clusters", "env=prod"];
    let run = hub.run(&scale);
    assert!(said(&run).contains("in each of 2345 clusters (quay-00000,"), "{}", said(&run));
    let pages = hub.asked();
    assert_eq!(pages.len(), 3);
    // The filter is the caller's on every page, whatever the link says.
    assert!(pages.iter().all(|asked| asked.query("labels") == Some("env%3Dprod")), "{pages:?}");

    let run = hub.run(&["clusters", "ls", "-o", "json"]);
    let listed: Vec<Value> = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(listed.len(), 2_345);

    let hub = self::hub(10_001);
    let run = hub.run(&scale);
    assert!(said(&run).contains("more than 10000"), "{}", said(&run));
    let run = hub.run(&["kubeconfig", "--all"]);
    assert!(!run.status.success() && said(&run).contains("more than 5000"), "{}", said(&run));
}

#[test]
fn regression_what_stops_things_in_many_clusters_is_asked_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, format!("{MAP}---\n{}", MAP.replace("name: a", "name: b"))).unwrap();
    let file = file.to_str().unwrap();
    let hub = hub(12);
    let names = "in each of 12 clusters (quay-00000, quay-00001, quay-00002, quay-00003, quay-00004, quay-00005, \
                 quay-00006, quay-00007, quay-00008, quay-00009 and 2 more)?";
    let cases: [(&[&str], &str); 7] = [
        (&["delete", "-f", file], "Remove 2 objects"),
        (
            &["apply", "-f", file, "--inventory", "shop", "--prune"],
            "Apply 2 objects and remove what else the inventory shop lists,",
        ),
        (&["scale", "deploy/web", "-n", "shop", "--replicas", "0"], "Scale deploy/web of the namespace shop to 0,"),
        (&["restart", "deploy/web"], "Restart deploy/web of the namespace default pod after pod,"),
        (&["rollback", "deploy/web"], "Take deploy/web of the namespace default back to the revision before,"),
        (
            &["helm", "rollback", "buoy", "--revision", "3"],
            "Take the release buoy of the namespace default back to revision 3,",
        ),
        (&["helm", "uninstall", "buoy"], "Remove the release buoy of the namespace default with everything of it,"),
    ];
    for (command, what) in cases {
        let everywhere = [command, &["--clusters", "env=prod"]].concat();
        let run = hub.run(&everywhere);
        assert_eq!(run.status.code(), Some(2), "{command:?}: {}", said(&run));
        let asked = format!("{what} {names}");
        assert!(said(&run).starts_with(&asked) && said(&run).contains("say --yes"), "{asked}\n{}", said(&run));
        assert!(hub.asked().iter().all(|asked| asked.method == "GET"), "{command:?}");

        let run = hub.run(&[&everywhere[..], &["--yes"]].concat());
        assert!(run.status.success(), "{command:?}: {}", said(&run));
        assert_eq!(hub.asked().iter().filter(|asked| asked.method == "POST").count(), 12, "{command:?}");

        // One cluster is what was named.
        let run = hub.run(&[command, &["--cluster", "quay-00001"]].concat());
        assert!(run.status.success(), "{command:?}: {}", said(&run));
        assert_eq!(hub.asked().iter().filter(|asked| asked.method == "POST").count(), 1, "{command:?}");
    }
    // What removes and stops nothing goes on without a question.
    for command in [&["apply", "-f", file][..], &["scale", "deploy/web", "--replicas", "2"]] {
        let run = hub.run(&[command, &["--clusters", "env=prod"]].concat());
        assert!(run.status.success(), "{command:?}: {}", said(&run));
    }
}

#[test]
fn regression_a_rollout_that_removes_is_asked_first_and_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, MAP).unwrap();
    let file = file.to_str().unwrap();
    let hub = hub(3);
    let create = ["rollout", "create", "-f", file, "--clusters", "env=prod", "--inventory", "shop", "--prune"];
    let run = hub.run(&create);
    assert_eq!(run.status.code(), Some(2), "{}", said(&run));
    let asks = "Apply 1 object and remove what else the inventory lists, in each of 3 clusters (east, north and west)?";
    assert!(said(&run).starts_with(asks), "{}", said(&run));
    let asked = hub.asked();
    assert!(asked.len() == 1 && asked[0].body["confirmed"].is_null(), "{asked:?}");
    // The hub takes none without a name.
    assert_eq!(asked[0].body["name"], file);

    let run = hub.run(&[&create[..], &["--yes", "--name", "spring"]].concat());
    assert!(run.status.success(), "{}", said(&run));
    let asked = hub.asked();
    assert_eq!((&asked[0].body["confirmed"], &asked[0].body["name"]), (&json!(true), &json!("spring")));
}

#[test]
fn regression_a_direct_cluster_takes_a_client_certificate_and_other_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (certificate, key, token) = (file("crt", "CRT"), file("key", "canary-key"), file("token", "canary-token\n"));
    let hub = FakeHub::start(|asked| match asked.method.as_str() {
        "POST" | "PUT" => (200, None, cluster(1)),
        _ => (404, None, json!({})),
    });
    let server = ["--server", "https://10.0.0.1:6443"];
    let shown = ["--client-certificate", &certificate, "--client-key", &key];
    let run = hub.run(&[&["clusters", "add", "quay-00001"][..], &server, &shown].concat());
    assert!(run.status.success(), "{}", said(&run));
    let of_certificate = json!({ "auth_method": "token", "api_server_url": "https://10.0.0.1:6443",
        "tls_config": { "cert_data": "CRT", "key_data": "canary-key" } });
    assert_eq!(hub.asked()[0].body["connection"], of_certificate);

    let connection = ["clusters", "connection", "quay-00001"];
    let run = hub.run(&[&connection[..], &server, &shown, &["--qps", "20"]].concat());
    assert!(run.status.success() && text(&run.stdout).contains("reached at https://10.0.0.1:6443"), "{}", said(&run));
    let asked = hub.asked().remove(0);
    assert_eq!(asked.line(), "PUT /api/v1/clusters/quay-00001/connection");
    assert_eq!((&asked.body["tls_config"], &asked.body["qps"]), (&of_certificate["tls_config"], &json!(20.0)));

    let run = hub.run(&[&connection[..], &server, &["--token-file", &token]].concat());
    assert!(run.status.success() && !said(&run).contains("canary"), "{}", said(&run));
    assert_eq!(hub.asked()[0].body["service_account_token"], "canary-token");
    assert!(hub.run(&[&connection[..], &["--in-cluster"]].concat()).status.success());
    assert_eq!(hub.asked()[0].body, json!({ "auth_method": "in_cluster" }));

    let half = [&server[..], &shown[..2]].concat();
    let both = [&server[..], &["--in-cluster"]].concat();
    for wrong in [&server[..], &[], &shown, &half, &both] {
        let run = hub.run(&[&connection[..], wrong].concat());
        assert_eq!(run.status.code(), Some(2), "{wrong:?}: {}", said(&run));
    }
    assert!(hub.asked().is_empty());
}

#[test]
fn regression_a_kubectl_that_is_not_there_is_named() {
    let hub = hub(1);
    let home = tempfile::tempdir().unwrap();
    for verb in ["logs", "exec", "port-forward", "top"] {
        let mut command = hub.command(home.path(), &[verb, "quay-00001", "pod/web"]);
        let run = command.env("PATH", home.path()).output().unwrap();
        let said = said(&run);
        assert_eq!(run.status.code(), Some(1), "{said}");
        let parts = [format!("`roadstead {verb}` starts kubectl"), "install kubectl 1.22 or later".to_owned()];
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}
