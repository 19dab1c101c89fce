//! The headers in which a caller shows who it is, and the one in which a service of ours says for whom it asks.
#![no_main]

use std::sync::LazyLock;

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use roadstead_auth::mesh::{MeshKey, SignedParts};
use roadstead_http_kit::{cookie, forward, fuzz};
use roadstead_runtime::Secret;

const NAMES: [&str; 7] =
    ["authorization", "x-api-key", "cookie", "host", "origin", "sec-fetch-site", forward::FORWARDED_HEADER];
const TARGET: &str = "/auth/login?x=1";
const NOW: i64 = 1_800_000_000;

static MESH: LazyLock<MeshKey> = LazyLock::new(|| MeshKey::new(&Secret::new("k".repeat(32))).expect("a secret"));

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some((first, value)) = line.split_first() else { continue };
        let name = NAMES[usize::from(*first) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let shown = headers.get_all("authorization").count() + headers.get_all("x-api-key").count();
    for path in ["/api/v1/clusters", "/users/me"] {
        if let Some(credential) = fuzz::credential(&headers, path) {
            assert_eq!(shown, 1, "two credentials are none");
            assert!((1..=8 * 1024).contains(&credential.expose().len()));
        }
    }
    for names in [cookie::Names::Prefixed, cookie::Names::ByHost, cookie::Names::Both] {
        for base in [cookie::SESSION, cookie::LOGIN, cookie::DEVICE] {
            if let Some(value) = cookie::read(&headers, base, names) {
                assert!((1..=4 * 1024).contains(&value.expose().len()));
            }
        }
    }
    forwarded(&mut headers);
    let own = fuzz::is_own_change(&Method::POST, &headers);
    let said = headers.contains_key("sec-fetch-site") || headers.contains_key("origin");
    assert!(!own || said, "a change that says nothing is nobody's");
});

/// A client's address is believed only as it was signed, and for a minute.
fn forwarded(headers: &mut HeaderMap) {
    let now = DateTime::from_timestamp(NOW, 0).unwrap_or_default();
    let verify = |headers: &HeaderMap| forward::verify(&MESH, "POST", TARGET, headers, now);
    assert_eq!(verify(headers), None, "nobody signed it");
    let said = headers.get(forward::FORWARDED_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = said.to_owned();
    assert!(!MESH.verify(&SignedParts { context: "bus.v1", parts: &[b"body"] }, &said));
    // The same words with a right signature: address and time still have to be ones.
    let mut words = said.split(' ');
    let (client, time) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let parts = [b"POST".as_slice(), TARGET.as_bytes(), client.as_bytes(), time.as_bytes()];
    let signature = MESH.sign(&SignedParts { context: "forwarded.v1", parts: &parts });
    let Ok(value) = HeaderValue::from_str(&format!("{client} {time} {signature}")) else { return };
    headers.insert(HeaderName::from_static(forward::FORWARDED_HEADER), value);
    if let Some(address) = verify(headers) {
        assert_eq!(Ok(address), client.parse());
        assert!(time.parse::<i64>().is_ok_and(|time| time.abs_diff(NOW) <= 60));
    }
}
