//! Makes tokens that no honest signer makes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::Value;

pub fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// The three parts of a token, decoded where they are JSON.
pub fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut json = || serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap();
    (json(), json(), parts.next().unwrap().to_owned())
}

/// A token with these parts; the signature is kept as it is.
pub fn token(header: &Value, claims: &Value, signature: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", encode(header), encode(claims))
}

/// Every way to spoil a good token that leaves its form alone. None may verify.
pub fn spoiled(good: &str) -> Vec<(&'static str, String)> {
    let (header, claims, signature) = parts(good);
    let with_header = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        token(&header, &claims, &signature)
    };
    let with_claim = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token(&header, &claims, &signature)
    };
    let without_signature = good.rsplit_once('.').unwrap().0;
    let jwk = serde_json::json!({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    vec![
        ("alg none", with_header("alg", "none".into())),
        ("alg nOnE", with_header("alg", "nOnE".into())),
        ("alg HS256", with_header("alg", "HS256".into())),
        ("alg RS256", with_header("alg", "RS256".into())),
        ("alg ES256", with_header("alg", "ES256".into())),
        ("no alg", with_header("alg", Value::Null)),
        ("typ JWT", with_header("typ", "JWT".into())),
        ("crit", with_header("crit", serde_json::json!(["b64"]))),
        ("kid path", with_header("kid", "../../etc/passwd".into())),
        ("kid sql", with_header("kid", "' OR 1=1 --".into())),
        ("kid url", with_header("kid", "https://example.com/k".into())),
        ("jwk", with_header("jwk", jwk)),
        ("jku", with_header("jku", "https://example.com/jwks".into())),
        ("x5u", with_header("x5u", "https://example.com/x5".into())),
        ("sub changed", with_claim("sub", "0198c5b0-0000-7000-8000-000000000009".into())),
        ("exp changed", with_claim("exp", 4_000_000_000_i64.into())),
        ("no signature", format!("{without_signature}.")),
        ("two parts", without_signature.to_owned()),
        ("four parts", format!("{good}.x")),
        ("signature cut", good[..good.len() - 4].to_owned()),
        ("padded", format!("{good}=")),
        ("space before", format!(" {good}")),
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("long", "a".repeat(64 * 1024)),
    ]
}
