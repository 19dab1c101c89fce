//! Tokens of identity providers: everything that must not be believed (reliability rows A03 to A06, A15, A18).

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use roadstead_auth::Error;
use roadstead_auth::oidc::{Expected, ProviderKeys, issuer_of, verify_id_token, verify_logout_token};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::forge::{parts, start, token};

const ISSUER: &str = "https://id.example/realms/hub";
const NONCE: &str = "nonce-of-this-login";
const ACCESS: &str = "access-token-of-the-provider";

/// A provider with a P-256 key.
struct Provider {
    signing: EncodingKey,
    jwk: Value,
    point: Vec<u8>,
}

fn provider() -> &'static Provider {
    static PROVIDER: OnceLock<Provider> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        roadstead_runtime::install_crypto();
        Provider::new("k1")
    })
}

impl Provider {
    fn new(kid: &str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": part(1..33), "y": part(33..65)});
        Self { signing: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk, point }
    }

    fn keys(&self) -> ProviderKeys {
        ProviderKeys::parse(json!({"keys": [self.jwk]}).to_string().as_bytes()).unwrap()
    }

    fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.signing).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".into());
        self.sign_with(&header, claims)
    }
}

fn claims() -> Value {
    let now = start().timestamp();
    let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(ACCESS)[..16]);
    json!({
        "iss": ISSUER, "sub": "248289761001", "aud": "hub", "azp": "hub", "exp": now + 300, "iat": now, "nonce": NONCE,
        "at_hash": hash, "sid": "s-1", "email": "ada@example.com", "email_verified": true, "groups": ["/ops"],
    })
}

fn expected() -> Expected<'static> {
    Expected { issuer: ISSUER, client_id: "hub", nonce: Some(NONCE), access_token: Some(ACCESS) }
}

fn check(text: &str) -> Result<(), Error> {
    verify_id_token(text, &provider().keys(), &expected(), start()).map(|_| ())
}

#[test]
fn a_good_token_is_read() {
    let read = verify_id_token(&provider().sign(&claims()), &provider().keys(), &expected(), start()).unwrap();
    assert_eq!((read.subject.as_str(), read.session.as_deref()), ("248289761001", Some("s-1")));
    assert!(read.email_verified && read.all["groups"][0] == "/ops");
    // Providers write truths as words, too.
    for (said, is) in [(json!("true"), true), (json!("false"), false), (json!(1), false), (Value::Null, false)] {
        let mut claims = claims();
        claims["email_verified"] = said;
        let read = verify_id_token(&provider().sign(&claims), &provider().keys(), &expected(), start());
        assert_eq!(read.is_ok_and(|read| read.email_verified), is);
    }
}

#[test]
fn claims_that_are_not_ours_are_refused() {
    let now = start().timestamp();
    for (name, field, value) in [
        ("other issuer", "iss", json!("https://evil.example")),
        ("issuer with a slash", "iss", json!(format!("{ISSUER}/"))),
        ("no issuer", "iss", Value::Null),
        ("other audience", "aud", json!("other")),
        ("audience without us", "aud", json!(["other", "third"])),
        ("no audience", "aud", json!([])),
        ("other party", "azp", json!("other")),
        ("expired", "exp", json!(now - 31)),
        ("no end", "exp", Value::Null),
        ("end as a text", "exp", json!("4000000000")),
        ("from the future", "iat", json!(now + 31)),
        ("old", "iat", json!(now - 700)),
        ("no time", "iat", Value::Null),
        ("not yet", "nbf", json!(now + 31)),
        ("other nonce", "nonce", json!("other")),
        ("no nonce", "nonce", Value::Null),
        ("empty nonce", "nonce", json!("")),
        ("other access token", "at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("empty at_hash", "at_hash", json!("")),
        ("no subject", "sub", Value::Null),
        ("empty subject", "sub", json!("")),
        ("long subject", "sub", json!("x".repeat(256))),
        ("subject with a line", "sub", json!("a\nb")),
        ("a logout token", "events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
    ] {
        let mut claims = claims();
        claims[field] = value;
        assert!(check(&provider().sign(&claims)).is_err(), "{name}");
    }
    // Up to ten minutes and a leeway old, however long it is good for.
    for (age, good) in [(600, true), (630, true), (631, false), (3_600, false)] {
        let mut claims = claims();
        claims["iat"] = json!(now - age);
        assert_eq!(check(&provider().sign(&claims)).is_ok(), good, "{age}");
    }
    // Several audiences need a party, and that is us.
    let mut several = claims();
    several["aud"] = json!(["hub", "other"]);
    assert!(check(&provider().sign(&several)).is_ok());
    several.as_object_mut().unwrap().shift_remove("azp");
    assert!(check(&provider().sign(&several)).is_err());
    // What may be left out.
    let mut least = claims();
    for optional in ["azp", "at_hash", "sid", "email", "email_verified", "groups"] {
        least.as_object_mut().unwrap().shift_remove(optional);
    }
    assert!(check(&provider().sign(&least)).is_ok());
}

/// The provider itself signs these: only what is said in the header is wrong.
#[test]
fn a_provider_cannot_say_more_in_a_header_than_a_name() {
    let with = |name: &str, value: Value| {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header[name] = value;
        check(&provider().sign_with(&serde_json::from_value(header).unwrap(), &claims()))
    };
    for (name, value) in [("typ", json!("JWT")), ("typ", json!("jwt")), ("typ", Value::Null), ("cty", json!("x"))] {
        assert_eq!(with(name, value.clone()), Ok(()), "{name} {value}");
    }
    for (name, value) in [
        ("typ", json!("at+jwt")),
        ("typ", json!("logout+jwt")),
        ("jku", json!("https://evil.example/keys")),
        ("jwk", provider().jwk.clone()),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["b64"])),
        ("zip", json!("DEF")),
    ] {
        assert_eq!(with(name, value.clone()), Err(Error::Invalid), "{name} {value}");
    }
}

#[test]
fn a_token_is_read_up_to_its_bound() {
    const TOKEN_MAX: usize = 32 * 1024;
    // With this header a token can have exactly that length.
    let header: Header =
        serde_json::from_value(json!({"alg": "ES256", "cty": "x", "typ": "JWT", "kid": "k1"})).unwrap();
    let of = |length: usize| {
        let mut claims = claims();
        claims["groups"] = json!("g".repeat(length));
        provider().sign_with(&header, &claims)
    };
    let plain = of(0).len();
    let about = (TOKEN_MAX - plain) / 4 * 3;
    let longest = (about - 4..about + 4).map(of).find(|token| token.len() == TOKEN_MAX).unwrap();
    assert_eq!(check(&longest), Ok(()));
    let longer = (about - 4..about + 8).map(of).find(|token| token.len() > TOKEN_MAX).unwrap();
    assert_eq!(check(&longer), Err(Error::Invalid));
    assert_eq!(check(&of(TOKEN_MAX)), Err(Error::Invalid));
}

#[test]
fn a_login_without_a_browser_has_no_nonce() {
    let device = Expected { nonce: None, access_token: None, ..expected() };
    let judge = |claims: &Value| verify_id_token(&provider().sign(claims), &provider().keys(), &device, start());
    assert!(judge(&claims()).is_ok(), "one that is there does no harm");
    let mut least = claims();
    least.as_object_mut().unwrap().shift_remove("nonce");
    assert!(judge(&least).is_ok());
    least["at_hash"] = json!("not looked at without the access token");
    assert!(judge(&least).is_ok());
}

#[test]
fn signatures_that_are_not_the_providers_are_refused() {
    let good = provider().sign(&claims());
    let (header, body, signature) = parts(&good);
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        token(&header, &body, &signature)
    };
    let jwk = Provider::new("evil").jwk;
    for (name, text) in [
        ("alg none", with("alg", json!("none"))),
        ("alg nOnE", with("alg", json!("nOnE"))),
        ("alg RS256", with("alg", json!("RS256"))),
        ("alg ES384", with("alg", json!("ES384"))),
        ("alg EdDSA", with("alg", json!("EdDSA"))),
        ("typ", with("typ", json!("at+jwt"))),
        ("crit", with("crit", json!(["b64"]))),
        ("jwk", with("jwk", jwk)),
        ("jku", with("jku", json!("https://evil.example/keys"))),
        ("x5u", with("x5u", json!("https://evil.example/keys"))),
        ("long kid", with("kid", json!("x".repeat(300)))),
        ("no signature", format!("{}.", good.rsplit_once('.').unwrap().0)),
        ("cut", good[..good.len() - 2].to_owned()),
        ("space", format!(" {good}")),
        ("long", "a".repeat(64 * 1024)),
        ("empty", String::new()),
    ] {
        assert!(check(&text).is_err(), "{name}");
    }
    // HMAC with what everybody knows of the key (row A03).
    for secret in [provider().point.clone(), provider().jwk.to_string().into_bytes(), Vec::new()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k1".into());
        let forged = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(check(&forged), Err(Error::Invalid));
    }
    // Another key under the same name, and under a name that is not known.
    let other = Provider::new("k1");
    assert_eq!(check(&other.sign(&claims())), Err(Error::Invalid));
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k9".into());
    assert_eq!(check(&other.sign_with(&header, &claims())), Err(Error::UnknownKey));
}

#[test]
fn a_key_is_used_for_what_its_set_says() {
    let encrypting = {
        let mut jwk = provider().jwk.clone();
        jwk["use"] = json!("enc");
        jwk
    };
    assert!(ProviderKeys::parse(json!({"keys": [encrypting]}).to_string().as_bytes()).is_err());
    let mut other = provider().jwk.clone();
    other["alg"] = json!("RS256");
    let keys = ProviderKeys::parse(json!({"keys": [other]}).to_string().as_bytes());
    let judged = keys.and_then(|keys| verify_id_token(&provider().sign(&claims()), &keys, &expected(), start()));
    assert!(judged.is_err());
    // Without a name in the header one key is meant, two are a guess.
    let header = Header::new(Algorithm::ES256);
    let nameless = provider().sign_with(&header, &claims());
    assert!(check(&nameless).is_ok());
    let two = json!({"keys": [provider().jwk, Provider::new("k2").jwk]}).to_string();
    let two = ProviderKeys::parse(two.as_bytes()).unwrap();
    assert!(verify_id_token(&nameless, &two, &expected(), start()).is_err());
}

fn logout_claims() -> Value {
    let now = start().timestamp();
    json!({
        "iss": ISSUER, "aud": "hub", "iat": now, "exp": now + 60, "jti": "j-1", "sid": "s-1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    })
}

#[test]
fn logout_tokens() {
    let check =
        |claims: &Value| verify_logout_token(&provider().sign(claims), &provider().keys(), &expected(), start());
    assert_eq!(check(&logout_claims()).unwrap().session.as_deref(), Some("s-1"));
    let now = start().timestamp();
    for (name, field, value) in [
        ("an ID token", "events", Value::Null),
        ("another event", "events", json!({"http://example.com": {}})),
        ("the event as a text", "events", json!({"http://schemas.openid.net/event/backchannel-logout": "x"})),
        ("a nonce", "nonce", json!(NONCE)),
        ("nobody", "sid", Value::Null),
        ("no id", "jti", Value::Null),
        ("empty id", "jti", json!("")),
        ("other issuer", "iss", json!("https://evil.example")),
        ("other audience", "aud", json!("other")),
        ("old", "iat", json!(now - 400)),
        ("expired", "exp", json!(now - 31)),
        ("from the future", "iat", json!(now + 31)),
    ] {
        let mut claims = logout_claims();
        claims[field] = value;
        assert!(check(&claims).is_err(), "{name}");
    }
    assert!(check(&claims()).is_err(), "a login's token ends nothing");
    // By the person instead of the session; and a token without an end of its own counts for five minutes.
    let mut of_person = logout_claims();
    of_person.as_object_mut().unwrap().shift_remove("sid");
    of_person.as_object_mut().unwrap().shift_remove("exp");
    of_person["sub"] = json!("248289761001");
    let read = check(&of_person).unwrap();
    assert_eq!((read.subject.as_deref(), read.session.as_deref()), (Some("248289761001"), None));
    assert_eq!((read.expires_at, read.id.as_str()), (now + 300, "j-1"));
    assert_eq!(check(&logout_claims()).unwrap().expires_at, now + 60);
    for (age, good) in [(330, true), (331, false)] {
        of_person["iat"] = json!(now - age);
        assert_eq!(check(&of_person).is_ok(), good, "{age}");
    }
    assert!(verify_id_token(&provider().sign(&logout_claims()), &provider().keys(), &expected(), start()).is_err());
    assert_eq!(issuer_of(&provider().sign(&logout_claims())).as_deref(), Some(ISSUER));
    for odd in ["", "a.b.c", "..", "a"] {
        assert_eq!(issuer_of(odd), None, "{odd}");
    }
}
