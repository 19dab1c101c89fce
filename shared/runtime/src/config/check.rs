//! What one setting means for another: addresses are completed, and what must not run is refused.

use std::time::Duration;

use super::address::{Address, check_web};
use super::layers::{Layer, Values};
use super::transport::{Files, check_audit, check_own, refuse_plain, secure_database};
use super::value::Setting;
use super::{DefaultRole, JwtAlgorithm, Leaked, Registration, ServiceRole, Settings};
use crate::Secret;

/// Shortest shared secret: the output of SHA-256, below which HMAC is weaker than its hash (RFC 2104 §3).
const SHARED_SECRET_MIN: usize = 32;
/// Longest password that is taken; bounds the rule, not the hash.
const PASSWORD_LENGTH_MAX: usize = 128;
/// Fewest characters of a password outside development.
const PASSWORD_LENGTH_MIN: usize = 8;
/// Least room for request bodies: an upload of manifests is up to 9 MiB with what is around it, and an eighth is not for it.
const BODIES_LEAST: super::Bytes = super::Bytes(16 * 1024 * 1024);

/// Where brokers take TLS.
const AMQPS_PORT: u16 = 5671;

/// Name of the file of master keys in a hub's own folder.
pub const KEYRING: &str = "seal-keys";

/// Secrets that stand in the seeds' documents or are everybody's first guess.
const SAMPLES: &[&str] = &[
    "your-super-secret-jwt-key",
    "your-super-secret-jwt-key-change-in-production",
    "your-production-secret-key",
    "your-secret-key-here",
    "your-secret-key",
    "your-secure-password",
    "your-redis-password",
    "your-agent-token",
    "your-password",
    "your-llm-api-key",
    "your-api-key",
    "your-token",
    "password123",
    "admin123",
    "test123",
    "mckmt",
    "password",
    "passw0rd",
    "secret",
    "changeme",
    "change-me",
    "changeit",
    "admin",
];
/// Beginnings of placeholders.
const SAMPLE_PREFIXES: &[&str] = &["your-", "change-me", "changeme", "replace-me"];

pub(super) fn resolve(role: ServiceRole, settings: &mut Settings, values: &mut Values) {
    resolve_database(role, settings, values);
    secure_database(&mut settings.database, values);
    resolve_rabbitmq(role, settings, values);
    resolve_redis(role, settings, values);
    resolve_registration(role, settings);
    resolve_seal(role, settings, values);
    check_samples(settings, values);
    check_shared_secrets(role, settings, values);
    check_figures(settings, values);
    check_oidc(settings, values);
    if settings.authorization.strategy == super::Strategy::NoAuth && !settings.dev {
        values
            .problem("authorization.strategy", "no-auth lets everybody do everything: it starts only with dev = true");
    }
    check_audit(&settings.audit, values);
    check_own(role, settings, values);
    for (key, url) in [
        ("user.url", Some(&settings.user.url)),
        ("server.public_url", settings.server.public_url.as_ref()),
        ("server.agent_public_url", settings.server.agent_public_url.as_ref()),
        ("telemetry.otlp_endpoint", settings.telemetry.otlp_endpoint.as_ref()),
    ] {
        if let Some(url) = url
            && let Err(message) = check_web(url)
        {
            values.problem(key, message);
        }
    }
    if settings.logging.debug && settings.logging.level != super::LogLevel::Trace {
        settings.logging.level = super::LogLevel::Debug;
    }
}

fn resolve_registration(role: ServiceRole, settings: &mut Settings) {
    if settings.user.registration == Registration::Auto {
        let open = settings.dev || (role == ServiceRole::Up && settings.server.host.is_loopback());
        settings.user.registration = if open { Registration::Open } else { Registration::Closed };
    }
    if settings.auth.password.refuse_leaked == Leaked::Auto {
        let trial = settings.dev || (role == ServiceRole::Up && settings.server.host.is_loopback());
        settings.auth.password.refuse_leaked = if trial { Leaked::Take } else { Leaked::Refuse };
    }
}

/// Services that seal something need a key; a hub that has its folder to itself keeps one there.
fn resolve_seal(role: ServiceRole, settings: &mut Settings, values: &mut Values) {
    if settings.seal.master_key.is_some() && settings.seal.keyring_file.is_some() {
        let names = format!("{} and {}", values.source("seal.master_key"), values.source("seal.keyring_file"));
        values.problems.push(super::Problem::new(names, "contradict each other; set one of them"));
    }
    if settings.seal.master_key.is_some() || settings.seal.keyring_file.is_some() {
        return;
    }
    let own_folder = role == ServiceRole::Up || role == ServiceRole::Tool || settings.dev;
    if own_folder {
        settings.seal.keyring_file = Some(settings.data_dir.join(KEYRING));
    } else if role != ServiceRole::Cluster {
        values.problem(
            "seal.master_key",
            "must be set, the same for every replica: base64 of 32 bytes (make one with: openssl rand -base64 32), or \
             seal.keyring_file",
        );
    }
}

fn resolve_database(role: ServiceRole, settings: &mut Settings, values: &mut Values) {
    const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let database = &mut settings.database;
    if !SSL_MODES.contains(&database.ssl_mode.as_str()) {
        values.problem("database.ssl_mode", format!("must be one of {}", SSL_MODES.join(", ")));
    }
    if !database.url.is_empty() {
        let text = database.url.expose().to_owned();
        if text.starts_with("sqlite:") {
            return;
        }
        match Address::parse(&text) {
            Ok(address) if matches!(address.scheme.as_str(), "postgres" | "postgresql") => {
                let parts = [
                    ("database.host", Some(address.host.clone())),
                    ("database.port", Some(address.port.unwrap_or(5432).to_string())),
                    ("database.user", address.user.clone()),
                    ("database.password", address.password.clone()),
                    ("database.name", address.path.clone()),
                ];
                check_parts("database.url", &parts, values);
            }
            Ok(_) => values.problem("database.url", "must begin with postgres:// or sqlite:"),
            Err(message) => values.problem("database.url", message),
        }
        return;
    }
    if !database.host.is_empty() {
        if database.user.is_empty() {
            values.problem("database.user", "must be set beside database.host");
        }
        let address = Address {
            scheme: "postgres".to_owned(),
            user: Some(database.user.clone()),
            password: (!database.password.is_empty()).then(|| database.password.expose().to_owned()),
            host: database.host.clone(),
            port: Some(database.port),
            path: Some(database.name.clone()),
            query: Some(format!("sslmode={}", database.ssl_mode)),
        };
        database.url = address.build();
        return;
    }
    let keeps_data = !matches!(role, ServiceRole::Cluster);
    if role.is_mesh() && keeps_data && !settings.dev {
        values
            .problem("database.url", "must be set (or DATABASE_URL, or the parts database.host, user, password, name)");
    } else {
        database.url = Secret::new(format!("sqlite:{}", settings.data_dir.display()));
    }
}

fn resolve_rabbitmq(role: ServiceRole, settings: &mut Settings, values: &mut Values) {
    let rabbitmq = &mut settings.rabbitmq;
    let files = Files {
        ca: rabbitmq.ca_file.as_ref(),
        certificate: rabbitmq.cert_file.as_ref(),
        key: rabbitmq.key_file.as_ref(),
    };
    files.check("rabbitmq.", values);
    let tls = rabbitmq.tls || files.ask();
    let port = if tls && values.layer("rabbitmq.port").is_none() { AMQPS_PORT } else { rabbitmq.port };
    let mut address = Address {
        scheme: if tls { "amqps" } else { "amqp" }.to_owned(),
        user: Some(rabbitmq.user.clone()),
        password: Some(rabbitmq.password.expose().to_owned()),
        host: rabbitmq.host.clone(),
        port: Some(port),
        path: Some(rabbitmq.vhost.clone()),
        query: None,
    };
    if let Some(url) = &rabbitmq.url {
        match Address::parse(url.expose()) {
            Ok(given) if matches!(given.scheme.as_str(), "amqp" | "amqps") => {
                refuse_plain("rabbitmq.url", &given, ["amqp", "amqps"], tls, values);
                let port = if given.scheme == "amqps" { AMQPS_PORT } else { 5672 };
                let parts = [
                    ("rabbitmq.host", Some(given.host.clone())),
                    ("rabbitmq.port", Some(given.port.unwrap_or(port).to_string())),
                    ("rabbitmq.user", given.user.clone()),
                    ("rabbitmq.password", given.password.clone()),
                    ("rabbitmq.vhost", Some(given.path.clone().unwrap_or_else(|| "/".to_owned()))),
                ];
                check_parts("rabbitmq.url", &parts, values);
                address = given;
            }
            Ok(_) => values.problem("rabbitmq.url", "must begin with amqp:// or amqps://"),
            Err(message) => values.problem("rabbitmq.url", message),
        }
    }
    if !role.is_mesh() {
        rabbitmq.url = None;
        return;
    }
    let user = address.user.as_deref().unwrap_or("guest");
    let password = address.password.as_deref().unwrap_or("guest");
    if !settings.dev && user == "guest" && password == "guest" {
        let key = if values.layer("rabbitmq.url").is_some() { "rabbitmq.url" } else { "rabbitmq.password" };
        values.problem(key, "guest/guest is refused outside development: give the hub a broker user of its own");
    }
    if rabbitmq.url.is_none() {
        rabbitmq.url = Some(address.build());
    }
}

fn resolve_redis(role: ServiceRole, settings: &mut Settings, values: &mut Values) {
    let redis = &mut settings.redis;
    let files =
        Files { ca: redis.ca_file.as_ref(), certificate: redis.cert_file.as_ref(), key: redis.key_file.as_ref() };
    files.check("redis.", values);
    let tls = redis.tls || files.ask();
    if let Some(url) = &redis.url {
        match Address::parse(url.expose()) {
            Ok(given) if matches!(given.scheme.as_str(), "redis" | "rediss") => {
                refuse_plain("redis.url", &given, ["redis", "rediss"], tls, values);
                let parts = [
                    ("redis.host", Some(given.host.clone())),
                    ("redis.port", Some(given.port.unwrap_or(6379).to_string())),
                    ("redis.password", given.password.clone()),
                    ("redis.db", Some(given.path.clone().unwrap_or_else(|| "0".to_owned()))),
                ];
                check_parts("redis.url", &parts, values);
            }
            Ok(_) => values.problem("redis.url", "must begin with redis:// or rediss://"),
            Err(message) => values.problem("redis.url", message),
        }
    }
    if !role.is_mesh() {
        redis.url = None;
    } else if redis.url.is_none() {
        let address = Address {
            scheme: if tls { "rediss" } else { "redis" }.to_owned(),
            user: None,
            password: (!redis.password.is_empty()).then(|| redis.password.expose().to_owned()),
            host: redis.host.clone(),
            port: Some(redis.port),
            path: Some(redis.db.to_string()),
            query: None,
        };
        redis.url = Some(address.build());
    }
}

/// A URL and parts that were set in the same place or above it must agree. Parts below the URL are replaced by it.
fn check_parts(url: &str, parts: &[(&str, Option<String>)], values: &mut Values) {
    let Some(layer) = values.layer(url) else { return };
    for (key, expected) in parts {
        let set_here: Option<Layer> = values.layer(key).filter(|part| *part >= layer);
        if set_here.is_some() && values.text(key).map(str::trim) != Some(expected.as_deref().unwrap_or_default()) {
            let names = format!("{} and {}", values.source(url), values.source(key));
            values.problems.push(super::Problem::new(names, "contradict each other; set the URL or the parts"));
        }
    }
}

fn is_sample(text: &str) -> bool {
    let folded = text.trim().to_ascii_lowercase();
    SAMPLES.contains(&folded.as_str()) || SAMPLE_PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
}

fn check_samples(settings: &Settings, values: &mut Values) {
    if settings.dev {
        return;
    }
    for row in values.rows().filter(|row| row.secret) {
        let Some(text) = values.text(row.key) else { continue };
        let inner = Address::parse(text).ok().and_then(|address| address.password);
        if is_sample(text) || inner.as_deref().is_some_and(is_sample) {
            values.problem(
                row.key,
                "is a sample from a document; everybody knows it (set one of your own, or dev: true)",
            );
        }
    }
}

fn check_shared_secrets(role: ServiceRole, settings: &Settings, values: &mut Values) {
    let short = format!("must be at least {SHARED_SECRET_MIN} bytes (make one with: openssl rand -hex 32)");
    match &settings.mesh.secret {
        None if role.is_mesh() => {
            values.problem("mesh.secret", format!("must be set, the same for every service: {short}"));
        }
        Some(secret) if !settings.dev && secret.expose().len() < SHARED_SECRET_MIN => {
            values.problem("mesh.secret", short.clone());
        }
        _ => {}
    }
    let jwt = &settings.auth.jwt;
    if jwt.algorithm == JwtAlgorithm::Hs256 {
        match &jwt.secret {
            None => values.problem("auth.jwt.secret", format!("must be set for hs256: {short}")),
            Some(secret) if !settings.dev && secret.expose().len() < SHARED_SECRET_MIN => {
                values.problem("auth.jwt.secret", short.clone());
            }
            Some(_) => {}
        }
    }
    if let Some(token) = &settings.auth.bootstrap_token
        && !settings.dev
        && token.expose().len() < SHARED_SECRET_MIN
    {
        values.problem("auth.bootstrap_token", short);
    }
}

/// What one provider needs; the user service checks the file of the others when it reads it.
fn check_oidc(settings: &Settings, values: &mut Values) {
    let oidc = &settings.auth.oidc;
    if !oidc.enabled {
        return;
    }
    for (key, text) in [("auth.oidc.issuer", &oidc.issuer), ("auth.oidc.client_id", &oidc.client_id)] {
        if text.is_empty() {
            values.problem(key, "must be set where auth.oidc.enabled is true");
        }
    }
    if oidc.redirect_url.is_none() && settings.server.public_url.is_none() {
        values.problem("auth.oidc.redirect_url", "must be set where auth.oidc.enabled is true (or server.public_url)");
    }
    for (key, url) in [("auth.oidc.issuer", Some(&oidc.issuer)), ("auth.oidc.redirect_url", oidc.redirect_url.as_ref())]
    {
        if let Some(url) = url.filter(|url| !url.is_empty())
            && let Err(message) = check_web(url)
        {
            values.problem(key, message);
        }
    }
    for role in oidc.role_map.values() {
        if DefaultRole::parse(role).is_err() {
            values.problem("auth.oidc.role_map", "must map to viewer, operator or admin");
        }
    }
}

fn check_figures(settings: &Settings, values: &mut Values) {
    // A method of a store ends after 20 s, the wait for its connection included.
    if settings.database.acquire_timeout > Duration::from_secs(10) {
        values.problem("database.acquire_timeout", "must be at most 10s");
    }
    let zero = "must be more than zero";
    for (key, duration) in [
        ("server.read_timeout", settings.server.read_timeout),
        ("database.acquire_timeout", settings.database.acquire_timeout),
        ("database.max_lifetime", settings.database.max_lifetime),
        ("auth.jwt.expiration", settings.auth.jwt.expiration),
        ("auth.jwt.refresh_expiration", settings.auth.jwt.refresh_expiration),
        ("agents.heartbeat_interval", settings.agents.heartbeat_interval),
        ("agents.handshake_timeout", settings.agents.handshake_timeout),
        ("agents.request_timeout", settings.agents.request_timeout),
    ] {
        if duration == Duration::ZERO {
            values.problem(key, zero);
        }
    }
    for (key, number) in [
        ("database.max_connections", settings.database.max_connections),
        ("redis.pool_size", settings.redis.pool_size),
        ("rate_limit.requests_per_minute", settings.rate_limit.requests_per_minute),
        ("rate_limit.api_per_minute", settings.rate_limit.api_per_minute),
        ("rate_limit.login_per_minute", settings.rate_limit.login_per_minute),
        ("rate_limit.generate_agent_id_per_minute", settings.rate_limit.generate_agent_id_per_minute),
        ("rate_limit.onboard_per_minute", settings.rate_limit.onboard_per_minute),
        ("agents.admit_per_second", settings.agents.admit_per_second),
        ("agents.max_sessions", settings.agents.max_sessions),
    ] {
        if number == 0 {
            values.problem(key, zero);
        }
    }
    if settings.database.min_connections > Some(settings.database.max_connections) {
        values.problem("database.min_connections", "must not be more than database.max_connections");
    }
    if settings.agents.offline_after <= settings.agents.heartbeat_interval {
        values.problem("agents.offline_after", "must be longer than agents.heartbeat_interval");
    }
    if settings.auth.jwt.refresh_expiration < settings.auth.jwt.expiration {
        values.problem("auth.jwt.refresh_expiration", "must not be shorter than auth.jwt.expiration");
    }
    let length = settings.auth.password.min_length;
    let least = if settings.dev { 1 } else { PASSWORD_LENGTH_MIN };
    if !(least..=PASSWORD_LENGTH_MAX).contains(&length) {
        values.problem("auth.password.min_length", format!("must be from {least} to {PASSWORD_LENGTH_MAX}"));
    }
    if settings.user.default_role == super::DefaultRole::Admin && !settings.dev {
        values.problem(
            "user.default_role",
            "admin is refused outside development: every new account could do everything",
        );
    }
    if settings.server.body_limit < super::Bytes::parse("1KiB").unwrap_or(super::Bytes(1024)) {
        values.problem("server.body_limit", "must be at least 1KiB");
    }
    if settings.server.bodies_limit < BODIES_LEAST {
        values.problem("server.bodies_limit", "must be at least 16MiB");
    } else if settings.server.bodies_limit.0 / 2 < settings.server.body_limit.0 {
        values.problem("server.bodies_limit", "must be at least twice server.body_limit");
    }
}
