//! The headers in which a caller shows who it is.
#![no_main]

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use roadstead_http_kit::{cookie, fuzz};

const NAMES: [&str; 6] = ["authorization", "x-api-key", "cookie", "host", "origin", "sec-fetch-site"];

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
    let own = fuzz::is_own_change(&Method::POST, &headers);
    let said = headers.contains_key("sec-fetch-site") || headers.contains_key("origin");
    assert!(!own || said, "a change that says nothing is nobody's");
});
