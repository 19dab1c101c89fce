//! An identity provider that does what a test tells it to: signs its own tokens, and spoils them where it should.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use roadstead_runtime::{Clock as _, ManualClock};
use serde_json::{Value, json};

pub const CLIENT: &str = "hub";
pub const SECRET: &str = "p@s/w#? of the hub, 32 bytes long";

/// What was agreed when somebody logged in at the provider.
#[derive(Clone)]
struct Grant {
    nonce: String,
    challenge: String,
    redirect: String,
    claims: Value,
}

struct Key {
    kid: String,
    signing: EncodingKey,
    jwk: Value,
}

impl Key {
    fn new(kid: &str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": part(1..33), "y": part(33..65)});
        Self { kid: kid.to_owned(), signing: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk }
    }
}

pub struct State {
    key: Key,
    published: Vec<Value>,
    grants: HashMap<String, Grant>,
    /// Codes that were turned in: a second time is refused, as the standard asks.
    used: Vec<String>,
    next: u32,
    /// Answers 500 to everything.
    pub away: bool,
    /// Replaces claims of the next ID tokens; null removes one.
    pub spoil: Value,
    /// Replaces parts of the discovery document.
    pub document: Value,
    /// Answers this for the key set.
    pub keys_text: Option<String>,
    /// Redirects the key set there.
    pub keys_redirect: Option<String>,
    /// A device login was approved, by whom.
    pub device: Option<Value>,
    pub key_fetches: u32,
    pub discovery_fetches: u32,
}

#[derive(Clone)]
pub struct Provider {
    pub url: String,
    pub state: Arc<Mutex<State>>,
    clock: ManualClock,
}

impl Provider {
    pub fn start(clock: ManualClock) -> Self {
        let key = Key::new("k1");
        let state = Arc::new(Mutex::new(State {
            published: vec![key.jwk.clone()],
            key,
            grants: HashMap::new(),
            used: Vec::new(),
            next: 0,
            away: false,
            spoil: json!({}),
            document: json!({}),
            keys_text: None,
            keys_redirect: None,
            device: None,
            key_fetches: 0,
            discovery_fetches: 0,
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self { url, state, clock };
        let shared = web::Data::new(provider.clone());
        std::thread::spawn(move || {
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(shared.clone())
                    .route("/.well-known/openid-configuration", web::get().to(discovery))
                    .route("/keys", web::get().to(keys))
                    .route("/token", web::post().to(token))
                    .route("/device", web::post().to(device))
            });
            actix_web::rt::System::new().block_on(server.workers(1).listen(listener).unwrap().run())
        });
        provider
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Signs with another key from now on, and publishes it beside the old one.
    pub fn rotate(&self, kid: &str) {
        self.with(|state| {
            state.key = Key::new(kid);
            state.published.push(state.key.jwk.clone());
        });
    }

    /// Somebody logs in on the provider's page that `url` leads to. Answers the query of the way back.
    pub fn approve(&self, url: &str, claims: Value) -> Vec<(String, String)> {
        let query = pairs(url);
        let one = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        assert!(url.starts_with(&format!("{}/authorize?", self.url)), "{url}");
        assert_eq!(one("response_type").as_deref(), Some("code"));
        assert_eq!(one("client_id").as_deref(), Some(CLIENT));
        assert_eq!(one("code_challenge_method").as_deref(), Some("S256"), "PKCE");
        let grant = Grant {
            nonce: one("nonce").unwrap(),
            challenge: one("code_challenge").unwrap(),
            redirect: one("redirect_uri").unwrap(),
            claims,
        };
        assert!(grant.nonce.len() >= 43 && grant.challenge.len() == 43 && one("scope").unwrap().contains("openid"));
        let code = self.with(|state| {
            state.next += 1;
            let code = format!("code-{}", state.next);
            state.grants.insert(code.clone(), grant);
            code
        });
        vec![("code".into(), code), ("state".into(), one("state").unwrap()), ("iss".into(), self.url.clone())]
    }

    /// A logout token.
    pub fn logout_token(&self, claims: &Value) -> String {
        let now = self.clock.now().timestamp();
        let mut all = json!({
            "iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 60, "jti": "j-1",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        merge(&mut all, claims);
        self.with(|state| state.sign(&all, "logout+jwt"))
    }
}

impl State {
    fn sign(&self, claims: &Value, typ: &str) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key.kid.clone());
        header.typ = Some(typ.to_owned());
        jsonwebtoken::encode(&header, claims, &self.key.signing).unwrap()
    }

    fn id_token(&self, issuer: &str, now: i64, nonce: Option<&str>, claims: &Value) -> String {
        let mut all = json!({"iss": issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "sid": "provider-session"});
        if let Some(nonce) = nonce {
            all["nonce"] = nonce.into();
        }
        merge(&mut all, claims);
        merge(&mut all, &self.spoil);
        self.sign(&all, "JWT")
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        if value.is_null() {
            into.as_object_mut().unwrap().shift_remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

pub fn pairs(url: &str) -> Vec<(String, String)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    serde_urlencoded::from_str(query).unwrap()
}

async fn discovery(provider: web::Data<Provider>) -> HttpResponse {
    provider.with(|state| {
        state.discovery_fetches += 1;
        if state.away {
            return HttpResponse::InternalServerError().finish();
        }
        let url = &provider.url;
        let mut document = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/keys"),
            "end_session_endpoint": format!("{url}/logout"),
            "device_authorization_endpoint": format!("{url}/device"),
            "authorization_response_iss_parameter_supported": true,
        });
        merge(&mut document, &state.document);
        HttpResponse::Ok().json(document)
    })
}

async fn keys(provider: web::Data<Provider>) -> HttpResponse {
    provider.with(|state| {
        state.key_fetches += 1;
        if state.away {
            return HttpResponse::InternalServerError().finish();
        }
        if let Some(url) = &state.keys_redirect {
            return HttpResponse::Found().insert_header(("location", url.as_str())).finish();
        }
        match &state.keys_text {
            Some(text) => HttpResponse::Ok().body(text.clone()),
            None => HttpResponse::Ok().json(json!({"keys": state.published})),
        }
    })
}

async fn token(provider: web::Data<Provider>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let form: HashMap<String, String> = serde_urlencoded::from_bytes(&body).unwrap();
    let refuse = |why: &str| HttpResponse::BadRequest().json(json!({"error": why}));
    // Name and secret are form-encoded inside Basic (RFC 6749 §2.3.1).
    let escaped = serde_urlencoded::to_string([("", SECRET)]).unwrap();
    let basic =
        base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{}", escaped.trim_start_matches('=')));
    let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Basic {basic}")) {
        return refuse("invalid_client");
    }
    let now = provider.clock.now().timestamp();
    provider.with(|state| {
        if state.away {
            return HttpResponse::InternalServerError().finish();
        }
        let answer = |id_token: String| {
            HttpResponse::Ok().json(json!({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token}))
        };
        if form["grant_type"].ends_with("device_code") {
            if form.get("code_verifier").is_none_or(|verifier| verifier.len() < 43) {
                return refuse("invalid_grant");
            }
            return match (form["device_code"].as_str(), &state.device) {
                ("device-1", Some(claims)) => answer(state.id_token(&provider.url, now, None, claims)),
                ("device-1", None) => refuse("authorization_pending"),
                _ => refuse("expired_token"),
            };
        }
        let code = form["code"].clone();
        if state.used.contains(&code) {
            return refuse("invalid_grant");
        }
        let Some(grant) = state.grants.get(&code).cloned() else { return refuse("invalid_grant") };
        state.used.push(code);
        let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
        let proven = roadstead_auth::oidc::challenge(verifier) == grant.challenge && verifier.len() >= 43;
        if !proven || form["redirect_uri"] != grant.redirect {
            return refuse("invalid_grant");
        }
        answer(state.id_token(&provider.url, now, Some(&grant.nonce), &grant.claims))
    })
}

async fn device(provider: web::Data<Provider>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "device_code": "device-1", "user_code": "WDJB-MJHT", "verification_uri": format!("{}/approve", provider.url),
        "verification_uri_complete": format!("{}/approve?c=WDJB-MJHT", provider.url), "expires_in": 600, "interval": 1,
    }))
}
