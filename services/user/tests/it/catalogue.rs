//! Rows of the catalogue of bad input, walked over the whole table of routes (R01 to R04, R06, R08, R10, A06, U01, U02).

use roadstead_auth::agent_key::AgentKey;
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_contracts::ids::JoinTokenId;
use roadstead_http_kit::Access;
use roadstead_runtime::{Ids, SystemClock};
use roadstead_user::routes;
use serde_json::{Value, json};

use crate::rig::{Answer, BOOTSTRAP, rig};

/// Routes that change something and take no body.
const BODILESS: &[&str] =
    &["/logout", "/regenerate", "/rotate", "/oidc/logout", "/approve", "/deny", "/withdraw", "/end", "/{answer}"];
/// Every field that any route of ours takes, so that each is sent with a wrong type.
const FIELDS: [&str; 29] = [
    "username",
    "email",
    "password",
    "refresh_token",
    "current_password",
    "new_password",
    "confirm_password",
    "key_name",
    "expires_at",
    "is_active",
    "roles",
    "first_name",
    "last_name",
    "id",
    "name",
    "provider",
    "device_code",
    "code",
    "verifier",
    "token",
    "logout_token",
    "user",
    "subject",
    "permissions",
    "clusters",
    "sources",
    "scope",
    "credential",
    "browser",
];

fn bad_bodies() -> Vec<Vec<u8>> {
    let deep = "[".repeat(10_000) + "]".repeat(10_000).as_str();
    let long = format!("[{}0]", "0,".repeat(400_000));
    let mut bodies: Vec<Vec<u8>> = ["{", "{}{}", "{} x", "\u{feff}{}", "null", "[]", "7", "\"x\"", ""]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    bodies.push(b"{\"username\":\"\xff\"}".to_vec());
    bodies.push(deep.clone().into_bytes());
    bodies.push(long.clone().into_bytes());
    for wrong in ["7", "{\"a\":1}", "[{}]", "\"\\ud800\"", &deep] {
        let fields: Vec<String> = FIELDS.iter().map(|field| format!("\"{field}\":{wrong}")).collect();
        bodies.push(format!("{{{}}}", fields.join(",")).into_bytes());
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_every_bad_body() {
    let rig = rig().await;
    let owner = rig.owner().await;
    let key = owner.api_key.expose();
    let before = rig.as_key(key, "GET", "/users", None).await.body;
    let keys_before = rig.as_key(key, "GET", "/api-keys", None).await.headers["x-total-count"].clone();
    let mut walked = 0;
    for row in routes() {
        let changes = matches!(row.method.as_str(), "POST" | "PUT");
        if !changes || BODILESS.iter().any(|end| row.path.ends_with(end)) {
            continue;
        }
        walked += 1;
        let path = row.path.replace("{id}", "1").replace("{user_id}", "1").replace("{key}", "1");
        let name = format!("{} {path}", row.method);
        let send = |kind: &'static str, body: Vec<u8>| {
            let mut request = rig.request(row.method.as_str(), &path).header("content-type", kind).body(body);
            request = match row.access {
                Access::Public => request.header("X-Bootstrap-Token", BOOTSTRAP),
                _ => request.header("X-API-Key", key),
            };
            rig.send(request)
        };
        for body in bad_bodies() {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let answer = send("application/json", body).await;
            assert!(matches!(answer.status, 400 | 422), "{name} {shown}: {} {}", answer.status, answer.body);
            assert_eq!(answer.status == 422, answer.code() == "validation_failed" && !path.starts_with("/api/v1/"));
            assert!(answer.body.to_string().len() < 2_000, "{name} {shown}");
        }
        let plain = send("text/plain", b"{}".to_vec()).await;
        assert_eq!((plain.status, plain.code()), (415, "unsupported_media_type"), "{name}");
    }
    assert!(walked >= 25, "only {walked} routes take a body");
    assert_eq!(rig.as_key(key, "GET", "/users", None).await.body, before, "nothing changed");
    assert_eq!(rig.as_key(key, "GET", "/api-keys", None).await.headers["x-total-count"], keys_before);
    rig.stop().await;
}

/// Row R03: what is not for a caller to say is not taken, with every other field as it was.
#[tokio::test(flavor = "multi_thread")]
async fn r03_a_profile_takes_its_own_fields_only() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let before = rig.get(&token, "/users/me").await.body;
    let body = json!({
        "id": 77, "username": "eve", "auth_source": "oidc", "tenant_id": "x", "active": false, "confirmed": false,
        "password": "password999", "created_at": "2001-01-01T00:00:00Z", "first_name": "Ada",
    });
    let answer = rig.as_bearer(&token, "PUT", "/users/ada", Some(body)).await;
    assert!(matches!(answer.status, 200 | 422), "{}", answer.body);
    let mut after = rig.get(&token, "/users/me").await.body;
    for field in ["first_name", "updated_at"] {
        after[field] = before[field].clone();
    }
    assert_eq!(after, before);
    assert_eq!(rig.login("ada", "password123").await.status, 200);
    rig.stop().await;
}

fn without_request_id(mut answer: Answer) -> (u16, Value) {
    answer.body["request_id"] = Value::Null;
    (answer.status, answer.body)
}

/// Row R10: what is somebody else's and what is not there look the same.
#[tokio::test(flavor = "multi_thread")]
async fn r10_foreign_and_missing_look_the_same() {
    let rig = rig().await;
    rig.owner().await;
    let ada = rig.account("ada").await;
    let made = rig.as_bearer(&ada.text("access_token"), "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    let bob = rig.account("bob").await.text("access_token");
    let missing = "0198c5b0-0000-7000-8000-00000000ffff";
    let key = made.body["id"].to_string();
    for (method, path, foreign, body) in [
        ("GET", "/users/", "ada", None),
        ("PUT", "/users/", "ada", Some(json!({"first_name": "x"}))),
        ("GET", "/api-keys/", key.as_str(), None),
        ("PUT", "/api-keys/", key.as_str(), Some(json!({"key_name": "x"}))),
        ("DELETE", "/api-keys/", key.as_str(), None),
        ("DELETE", "/api/v1/auth/sessions/", &ada.text("session_id"), None),
    ] {
        let ask = |id: &str| {
            let (rig, bob, path, body) = (&rig, &bob, format!("{path}{id}"), body.clone());
            async move { rig.as_bearer(bob, method, &path, body).await }
        };
        let (one, other) = (without_request_id(ask(foreign).await), without_request_id(ask(missing).await));
        assert_eq!(one.0, 404, "{method} {path}");
        assert_eq!(one, other, "{method} {path}");
    }
    rig.stop().await;
}

/// Row A06: what agents show is nothing here.
#[tokio::test(flavor = "multi_thread")]
async fn a06_tokens_of_agents_are_no_credentials() {
    let rig = rig().await;
    rig.account("ada").await;
    let agent = AgentKey::generate().unwrap();
    let assertion = agent.sign_dial("0198c5b0-0000-7000-8000-000000000001", rig.now(), "jti").unwrap();
    let ids = Ids::system(SystemClock::shared());
    let join = TwoPart::new(Kind::Join, ids.next::<JoinTokenId>(), &ids).format();
    for row in routes() {
        if matches!(row.access, Access::Public) {
            continue;
        }
        let path = row.path.replace("{id}", "1").replace("{user_id}", "1").replace("{key}", "1");
        for text in [assertion.as_str(), join.expose()] {
            let method = row.method.as_str();
            assert_eq!(rig.as_bearer(text, method, &path, None).await.status, 401, "{method} {path}");
            assert_eq!(rig.as_key(text, method, &path, None).await.status, 401, "{method} {path}");
        }
    }
    rig.stop().await;
}

/// Row U01: a name that is read in another order than it is written, and the usual oddities.
#[tokio::test(flavor = "multi_thread")]
async fn regression_u01_names_are_read_as_they_are_written() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    for odd in ["a\u{202e}b", "a\u{2066}b", "a\u{200b}b", "a\nb", "a\u{0}b", &"x".repeat(300)] {
        let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": odd}))).await;
        assert_eq!((made.status, made.code()), (422, "validation_failed"), "{odd:?}");
        for field in ["first_name", "last_name"] {
            let changed = rig.as_bearer(&token, "PUT", "/users/ada", Some(json!({field: odd}))).await;
            assert_eq!((changed.status, changed.code()), (422, "validation_failed"), "{field} {odd:?}");
        }
    }
    for name in ["", "..", "a/b", "a\u{202e}b", "bob😀", &"x".repeat(300), "аda"] {
        let body = json!({"username": name, "email": "x@example.com", "password": "password123"});
        assert_eq!(rig.post("/api/v1/auth/register", body).await.status, 400, "{name:?}");
    }
    assert_eq!(rig.get(&token, "/api-keys").await.body, json!([]));
    rig.stop().await;
}

/// Row U02: days that are not, zones that are not, and ends in the past or out of anybody's sight.
#[tokio::test(flavor = "multi_thread")]
async fn regression_u02_times_are_real_and_in_sight() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    for odd in [
        "2027-02-30",
        "2027-02-30T00:00:00Z",
        "2027-03-01T00:00:00+25:00",
        "10000-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "2020-01-01T00:00:00Z",
        "2127-01-15T08:00:00Z",
        "9999-12-31T23:59:59Z",
        "1800000000",
        "tomorrow",
    ] {
        let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci", "expires_at": odd}))).await;
        assert_eq!((made.status, made.code()), (422, "validation_failed"), "{odd}");
        assert_eq!(made.body["errors"][0]["loc"], json!(["body", "expires_at"]), "{odd}");
    }
    let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
    let path = format!("/api-keys/{}", made.body["id"]);
    let far = rig.as_bearer(&token, "PUT", &path, Some(json!({"expires_at": "2127-01-15T08:00:00Z"}))).await;
    assert_eq!(far.status, 422);
    assert_eq!(rig.as_bearer(&token, "GET", &path, None).await.body["expires_at"], Value::Null);
    rig.stop().await;
}

/// Rows A01, A05, A09: the whole table with credentials that were good once, and with a good one in the wrong place.
#[tokio::test(flavor = "multi_thread")]
async fn no_route_takes_what_is_over() {
    let rig = rig().await;
    let token = rig.account("ada").await.text("access_token");
    let body = json!({"key_name": "short", "expires_at": "2027-01-15T09:00:00Z"});
    let ended = rig.as_bearer(&token, "POST", "/api-keys", Some(body)).await.text("api_key");
    let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "gone"}))).await;
    let revoked = made.text("api_key");
    assert_eq!(rig.as_bearer(&token, "DELETE", &format!("/api-keys/{}", made.body["id"]), None).await.status, 204);
    let good = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "good"}))).await.text("api_key");
    rig.clock.advance(chrono::TimeDelta::hours(2));
    assert_eq!(rig.as_key(&good, "GET", "/users/me", None).await.status, 200);
    let mut walked = 0;
    for row in routes() {
        if matches!(row.access, Access::Public) {
            continue;
        }
        walked += 1;
        let (method, path) = (row.method.as_str(), row.path.replace("{id}", "1").replace("{user_id}", "1"));
        assert_eq!(rig.as_bearer(&token, method, &path, None).await.status, 401, "{method} {path}: ended token");
        for key in [&ended, &revoked] {
            assert_eq!(rig.as_key(key, method, &path, None).await.status, 401, "{method} {path}: ended key");
            assert_eq!(rig.as_bearer(key, method, &path, None).await.status, 401, "{method} {path}: as a bearer");
        }
        let in_query = rig.request(method, &format!("{path}?api_key={good}&access_token={good}"));
        assert_eq!(rig.send(in_query).await.status, 401, "{method} {path}: in the query");
    }
    assert!(walked >= 30, "only {walked}");
    rig.stop().await;
}
