//! The Kubernetes door: what a request shows of a credential, as whom it asks to act, what it is about, and which headers go
//! on. The door's own files are built in here: they are private to its service.
#![no_main]
#![expect(dead_code, reason = "not everything of the files is called")]

#[path = "../../services/cluster/src/kubernetes/credential.rs"]
mod credential;
#[path = "../../services/cluster/src/kubernetes/vet.rs"]
mod vet;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use roadstead_http_kit::Credential;

const NAMES: [&str; 9] = [
    "authorization",
    "x-api-key",
    "sec-websocket-protocol",
    "impersonate-user",
    "impersonate-group",
    "impersonate-uid",
    "impersonate-extra-scopes",
    "connection",
    "x-remote-user",
];

/// A header on each line, its name by the first byte; the first line is method and target.
fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n').take(16);
    let first = lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.split_first() else { continue };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]), value);
        }
    }
    if let Ok(Credential::ApiKey(secret) | Credential::Bearer(secret)) = credential::read(&headers) {
        assert!((1..=8 * 1024).contains(&secret.expose().len()));
        let shown = headers.get_all("authorization").iter().count() + headers.get_all("x-api-key").iter().count();
        assert!(shown <= 1, "two credentials are none");
    }
    let asks = headers.keys().any(|name| name.as_str().starts_with("impersonate-"));
    match vet::acts_as(&headers) {
        Ok(None) => assert!(!asks, "who asked to act as somebody else is not told that it does not"),
        Ok(Some(who)) => {
            assert!((1..=128).contains(&who.user.len()) && who.user.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(asks && !who.user.starts_with("system:") && !who.user.contains(['/', ',', '"', '\\']));
            assert!(!headers.contains_key("impersonate-uid") && !headers.contains_key("impersonate-extra-scopes"));
        }
        Err(_) => {}
    }
    let onward = vet::headers(&headers);
    for name in onward.keys() {
        let name = name.as_str();
        assert!(!["authorization", "x-api-key", "connection"].contains(&name), "{name} went on");
        assert!(!name.starts_with("impersonate-") && !name.starts_with("x-remote-"), "{name} went on");
    }
    for value in onward.get_all("sec-websocket-protocol") {
        let text = String::from_utf8_lossy(value.as_bytes());
        assert!(!text.split(',').any(|word| word.trim().starts_with(vet::BEARER_PROTOCOL)), "a token went on");
    }
    let Some((method, target)) = first.split_once(' ') else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if let Ok(place) = vet::target(path, query) {
        assert!(place.tail.starts_with('/') && !place.cluster.is_empty());
        let tail = place.tail.split('?').next().unwrap_or_default();
        assert!(!tail.contains("//") && !tail.split('/').any(|part| matches!(part, "." | "..")));
        let _ = vet::kind(method, &place.tail);
    }
});
