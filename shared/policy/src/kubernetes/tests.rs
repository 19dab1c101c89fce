use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn parts(line: &str) -> (&str, &str, Option<&str>) {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    (method, path, query)
}

fn told(line: &str) -> String {
    let (method, path, query) = parts(line);
    let path = canonical(path).unwrap();
    match info(method, &path, query).unwrap() {
        None => "-".to_owned(),
        Some(Info { verb, group, resource, subresource, namespace, .. }) => {
            format!("{verb} {} {}", kind_of(group, resource, subresource), namespace.unwrap_or("-"))
        }
    }
}

/// The rows of the API server's own test of `RequestInfo`, in this crate's words.
#[test]
fn requests_are_read_as_the_api_server_reads_them() {
    for (line, expected) in [
        ("GET /api/v1/namespaces", "list namespaces -"),
        ("GET /api/v1/namespaces/other", "get namespaces other"),
        ("GET /api/v1/namespaces/other/pods", "list pods other"),
        ("GET /api/v1/namespaces/other/pods/foo", "get pods other"),
        ("HEAD /api/v1/namespaces/other/pods/foo", "get pods other"),
        ("GET /api/v1/pods", "list pods -"),
        ("HEAD /api/v1/pods", "list pods -"),
        ("GET /api/v1/watch/pods", "watch pods -"),
        ("GET /api/v1/watch/namespaces/other/pods", "watch pods other"),
        ("GET /api/v1/watch/namespaces/other/pods/foo", "watch pods other"),
        ("GET /api/v1/namespaces/other/pods?watch=1", "watch pods other"),
        ("GET /api/v1/namespaces/other/pods?watch=true", "watch pods other"),
        ("GET /api/v1/namespaces/other/pods?watch=", "watch pods other"),
        ("GET /api/v1/namespaces/other/pods?watch", "watch pods other"),
        ("GET /api/v1/namespaces/other/pods?w%61tch=yes", "watch pods other"),
        ("GET /api/v1/namespaces/other/pods?watch=false&watch=true", "list pods other"),
        ("GET /api/v1/namespaces/other/pods?watch=FALSE", "list pods other"),
        ("GET /api/v1/namespaces/other/pods?watch=0&a=b", "list pods other"),
        ("GET /api/v1/namespaces/other/pods?fieldSelector=metadata.name%3Dfoo", "list pods other"),
        ("GET /api/v1/namespaces/other/pods?watch=1&fieldSelector=metadata.name==foo", "watch pods other"),
        ("GET /api/v1/namespaces/other/pods?fieldSelector=metadata.name%21%3Dfoo", "list pods other"),
        ("GET /api/v1/pods?fieldSelector=metadata.namespace=a", "list pods -"),
        // A pair with a semicolon is none (Go's `url.ParseQuery`).
        ("GET /api/v1/pods?watch=1;a=b", "list pods -"),
        ("GET /api/v1/pods?&&watch=1", "watch pods -"),
        ("GET /api/v1/namespaces/other/pods/foo?watch=true", "get pods other"),
        ("POST /api/v1/namespaces/other/pods", "create pods other"),
        ("POST /api/v1/namespaces/other/pods/foo/binding", "create pods/binding other"),
        ("PUT /api/v1/namespaces/other/pods/foo", "update pods other"),
        ("PUT /api/v1/namespaces/other/finalize", "update namespaces/finalize other"),
        ("GET /api/v1/namespaces/other/status", "get namespaces/status other"),
        ("PATCH /api/v1/namespaces/other/pods/foo", "patch pods other"),
        ("DELETE /api/v1/namespaces/other/pods/foo", "delete pods other"),
        ("DELETE /api/v1/namespaces/other/pods", "deletecollection pods other"),
        ("DELETE /api/v1/nodes", "deletecollection nodes -"),
        ("GET /api/v1/namespaces/other/pods/foo/log", "get pods/log other"),
        ("GET /api/v1/namespaces/other/pods/foo/exec?command=sh", "get pods/exec other"),
        ("GET /api/v1/namespaces/other/services/https:b:443/proxy/x/y", "get services/proxy other"),
        ("GET /api/v1/proxy/namespaces/other/pods/foo", "proxy pods other"),
        ("GET /api/v1/proxy/namespaces/other/pods/foo/subpath/not/a/subresource", "proxy pods other"),
        ("GET /api/v1/proxy/nodes/n", "proxy nodes -"),
        ("GET /api/v1/nodes/n/proxy/run", "get nodes/proxy -"),
        ("GET /apis/apps/v1/deployments", "list deployments.apps -"),
        ("GET /apis/apps/v1/namespaces/a/deployments/b/scale", "get deployments.apps/scale a"),
        ("GET /apis/apps/v1/watch/namespaces/a/deployments", "watch deployments.apps a"),
        ("GET /apis/x.io/v1/namespaces/a/things", "list things.x.io a"),
        ("OPTIONS /api/v1/pods", " pods -"),
        ("GET /api/v1/namespaces/a/pods/", "list pods a"),
        // No resources.
        ("GET /", "-"),
        ("GET /api", "-"),
        ("GET /api/v1", "-"),
        ("GET /api/v1/", "-"),
        ("GET /apis/apps", "-"),
        ("GET /apis/apps/v1", "-"),
        ("POST /version", "-"),
        ("GET /openapi/v3/apis/apps/v1", "-"),
        ("GET /apisx/a/b/c", "-"),
    ] {
        assert_eq!(told(line), expected, "{line}");
    }
}

#[test]
fn a_second_meaning_is_refused() {
    for path in [
        "",
        "api/v1",
        "//api/v1/pods",
        "/api//v1/pods",
        "/api/v1/pods//",
        "/api/v1/./pods",
        "/api/v1/../v1/pods",
        "/api/v1/%2e%2e/pods",
        "/api/v1/namespaces%2Fa/pods",
        "/api/v1/namespaces/a%5cb/pods",
        "/api/v1/namespaces/a\\b/pods",
        "/api/v1/namespaces/a%00/pods",
        "/api/v1/namespaces/a;x=1/pods",
        "/api/v1/namespaces/a%252fb/pods",
        "/api/v1/namespaces/a%zz/pods",
        "/api/v1/namespaces/%ff/pods",
        "/api/v1/watch",
        "/API/v1/pods",
        "/api/v1/Pods",
        "/api/v1/namespaces/A/pods",
        "/api/v1/Namespaces/a/Pods",
        "/apis/Apps/v1/deployments",
        "/api/v1/namespaces/a/pods/b/Exec",
        "/api/v1/pods#x",
    ] {
        let read = read("GET", path, None);
        assert_eq!(read.unwrap_err().code, Code::BadRequest, "{path}");
    }
}

#[test]
fn places_and_classes() {
    for (line, place_of, class_of) in [
        ("GET /api/v1/pods", Place::EveryNamespace, Class::Read),
        ("DELETE /apis/x.io/v1/things", Place::EveryNamespace, Class::Write),
        ("GET /api/v1/nodes", Place::Cluster, Class::Read),
        ("GET /api/v1/namespaces", Place::Cluster, Class::Read),
        ("GET /api/v1/namespaces/a", Place::Namespace("a"), Class::Read),
        ("GET /api/v1/namespaces/a/pods/b/log", Place::Namespace("a"), Class::Read),
        ("GET /api/v1/namespaces/a/pods/b/exec", Place::Namespace("a"), Class::Write),
        ("GET /api/v1/nodes/n/proxy/run", Place::Cluster, Class::Write),
        ("GET /api/v1/proxy/nodes/n", Place::Cluster, Class::Write),
        ("GET /apis/x.io/v1/things/a", Place::Cluster, Class::Read),
        ("PATCH /apis/apps/v1/namespaces/a/deployments/b", Place::Namespace("a"), Class::Write),
        ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Place::Cluster, Class::Discovery),
        ("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", Place::Cluster, Class::Write),
        ("GET /apis/apps/v1", Place::Cluster, Class::Discovery),
        ("GET /openapi/v3/apis/apps/v1", Place::Cluster, Class::Discovery),
        ("GET /healthz", Place::Cluster, Class::Discovery),
        ("GET /metrics", Place::Cluster, Class::Read),
        ("GET /logs/", Place::Cluster, Class::Read),
        ("POST /debug/pprof", Place::Cluster, Class::Write),
        ("GET /", Place::Cluster, Class::Discovery),
        ("POST /version", Place::Cluster, Class::Write),
        ("POST /", Place::Cluster, Class::Write),
        ("PUT /healthz", Place::Cluster, Class::Write),
        ("GET /healthz/etcd", Place::Cluster, Class::Read),
        // What has no resource has no namespaces to span, whatever the method is called.
        ("LIST /metrics", Place::Cluster, Class::Read),
        ("GET /debug/exec", Place::Cluster, Class::Read),
        ("GET /apis/x.io/v1/nodes", Place::EveryNamespace, Class::Read),
    ] {
        let (method, path, query) = parts(line);
        let request = read(method, path, query).unwrap();
        assert_eq!((place(&request), class(&request)), (place_of, class_of), "{line}");
    }
}

#[test]
fn a_path_without_a_resource_keeps_one_spelling() {
    for (path, kind) in [("/logs/", Some("/logs")), ("/logs", Some("/logs")), ("/LOGS", Some("/logs")), ("/", None)] {
        assert_eq!(read("GET", path, None).unwrap().kind.as_deref(), kind, "{path}");
    }
}

#[test]
fn paths_are_read_up_to_their_bound() {
    let of = |length: usize| format!("/logs/{}", "a".repeat(length - "/logs/".len()));
    assert_eq!(PATH_MAX, 16_384);
    assert!(read("GET", &of(PATH_MAX), None).is_ok());
    for length in [PATH_MAX + 1, PATH_MAX * 2] {
        assert_eq!(read("GET", &of(length), None).unwrap_err().code, Code::UriTooLong);
    }
}

#[test]
fn kinds_of_objects() {
    for (api_version, kind, expected) in [
        ("v1", "Pod", "pods"),
        ("v1", "Endpoints", "endpoints"),
        ("apps/v1", "Deployment", "deployments.apps"),
        ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies.networking.k8s.io"),
        ("networking.k8s.io/v1", "Ingress", "ingresses.networking.k8s.io"),
        ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices.discovery.k8s.io"),
        ("storage.k8s.io/v1", "StorageClass", "storageclasses.storage.k8s.io"),
        ("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities.storage.k8s.io"),
        ("gateway.networking.k8s.io/v1", "Gateway", "gateways.gateway.networking.k8s.io"),
        ("networking.k8s.io/v1", "IPAddress", "ipaddresses.networking.k8s.io"),
        ("v1", "ComponentStatus", "componentstatuses"),
    ] {
        let key = ObjectKey {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: None,
            name: "x".to_owned(),
        };
        assert_eq!(kind_of_object(&key), expected);
    }
}

#[test]
fn a_request_is_taken_apart() {
    let told = |line: &str| {
        let (method, path, query) = parts(line);
        super::parts(method, path, query).unwrap().map(|found| {
            let kind = found.kind();
            let Parts { verb, group, resource, subresource, namespace, name } = found;
            assert_eq!(kind, if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") });
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            format!("{verb} {kind} {} {} {}", text(subresource), text(namespace), text(name))
        })
    };
    for (line, expected) in [
        ("GET /api/v1/pods?watch=1", "watch pods - - -"),
        ("GET /api/v1/namespaces/a", "get namespaces - a a"),
        ("PUT /api/v1/namespaces/a/finalize", "update namespaces finalize a a"),
        ("GET /apis/apps/v1/namespaces/a/deployments/b/scale", "get deployments.apps scale a b"),
        ("DELETE /apis/apps/v1/namespaces/a/deployments", "deletecollection deployments.apps - a -"),
    ] {
        assert_eq!(told(line).as_deref(), Some(expected), "{line}");
    }
    assert_eq!(told("GET /version"), None);
    assert!(super::parts("GET", "/api//v1", None).is_err());
}

#[test]
fn only_kinds_of_ones_own_have_another_name() {
    for (api_version, kind, expected) in [
        ("example.org/v1", "Mouse", Some("mouse.example.org")),
        ("v1", "Pod", None),
        ("apps/v1", "Deployment", None),
        ("networking.k8s.io/v1", "Ingress", None),
    ] {
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        let key = ObjectKey { api_version, kind, namespace: None, name: "x".to_owned() };
        assert_eq!(other_kind_of_object(&key).as_deref(), expected, "{key:?}");
    }
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("api".to_owned()),
        Just("apis".to_owned()),
        Just("v1".to_owned()),
        Just("apps".to_owned()),
        Just("namespaces".to_owned()),
        Just("watch".to_owned()),
        Just("proxy".to_owned()),
        Just("status".to_owned()),
        Just("secrets".to_owned()),
        Just("pods".to_owned()),
        "[a-z][a-z0-9-]{0,6}",
    ]
}

proptest! {
    #[test]
    fn no_spelling_is_read_as_something_else(
        segments in prop::collection::vec(segment(), 1..8),
        method in prop_oneof![Just("GET"), Just("POST"), Just("DELETE"), Just("PATCH")],
        marks in prop::collection::vec(0_u8..40, 80),
        slash in any::<bool>(),
    ) {
        let plain = format!("/{}", segments.join("/"));
        let mut spelt = String::new();
        for (byte, mark) in plain.bytes().zip(marks.iter().cycle()) {
            match mark {
                0 => drop(write!(spelt, "%{byte:02x}")),
                1 => drop(write!(spelt, "%{byte:02X}")),
                2 => spelt.push(char::from(byte).to_ascii_uppercase()),
                3 if byte == b'/' => spelt.push_str("//"),
                4 if byte == b'/' => spelt.push_str("/./"),
                5 if byte == b'/' => spelt.push_str("/x/../"),
                6 => drop(write!(spelt, "%25{byte:02x}")),
                _ => spelt.push(char::from(byte)),
            }
        }
        if slash {
            spelt.push('/');
        }
        if let Ok(found) = read(method, &spelt, None) {
            prop_assert_eq!(Ok(found), read(method, &plain, None), "{} for {}", spelt, plain);
        }
    }

    #[test]
    fn odd_requests_do_not_panic(method in "[A-Za-z]{0,8}", path in "[/a-zA-Z?%.;\\\\0-9]{0,80}", query in "[a-z=&%+;0-9]{0,60}") {
        if let Ok(request) = read(&method, &path, Some(&query)) {
            let _ = (class(&request), place(&request));
        }
    }
}
