//! What the service takes from the settings.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use roadstead_auth::webauthn::Party;
use roadstead_contracts::identity::Role;
use roadstead_runtime::Secret;
use roadstead_runtime::config::{DefaultRole, JwtAlgorithm, Leaked, Registration, Settings, Strategy};

use crate::domain::PasswordPolicy;

/// Name of the key file in the data folder, when the settings name none.
const KEY_FILE: &str = "identity-keys.json";

/// The service's options.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the settings")]
pub struct Options {
    /// Address its HTTP listens on.
    pub host: IpAddr,
    /// Port of it.
    pub port: u16,
    /// File of the private keys.
    pub key_file: PathBuf,
    /// Whether the file is the service's own, to be rotated by itself.
    pub own_key_file: bool,
    /// Shared secret of HS256; EdDSA without one.
    pub hs256: Option<Secret>,
    /// Issuer of access tokens.
    pub issuer: String,
    /// Audience of access tokens.
    pub audience: String,
    /// Life of an access token.
    pub access_lifetime: Duration,
    /// Life of a refresh token.
    pub refresh_lifetime: Duration,
    /// Whether browsers reach the hub by TLS, as far as the settings tell.
    pub by_tls: bool,
    /// Address of the hub as its clients know it.
    pub public_url: Option<String>,
    /// Whether people log in with a password at all.
    pub password_login: bool,
    /// Who the hub is to browsers' passkeys; none where they are off.
    pub party: Option<Party>,
    /// What a password must be.
    pub password: PasswordPolicy,
    /// Lets whoever holds it make the first admin.
    pub bootstrap_token: Option<Secret>,
    /// Whether anyone may make an account.
    pub registration_open: bool,
    /// Whether anyone may ask for an account, which an admin confirms.
    pub registration_confirmed: bool,
    /// Roles of a new account.
    pub default_roles: BTreeSet<Role>,
    /// What the permission words of roles are asked of.
    pub authorization: AuthorizationOptions,
    /// Whether every account sees every cluster.
    pub dev: bool,
    /// Broker users of the seeds' peers, and the accounts they stand for.
    pub queue_peers: BTreeMap<String, String>,
    /// Logins a minute for each account and source; `None` when quotas are off.
    pub login_per_minute: Option<u32>,
    /// Quotas of the routes.
    pub rates: roadstead_http_kit::RateSettings,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Largest body.
    pub body_limit: usize,
    /// Most bytes of all bodies that are held at once.
    pub bodies_limit: usize,
    /// How long a request's head and its body may take each.
    pub read_timeout: Duration,
    /// How the audit trail is kept.
    pub audit: roadstead_runtime::config::Audit,
    /// Rights for a while.
    pub access: AccessOptions,
    /// How long running requests may take after a stop signal.
    pub grace: Duration,
    /// Whether `/metrics` is served.
    pub metrics: bool,
}

/// What the permission words of roles are asked of.
#[derive(Debug, Clone)]
pub struct AuthorizationOptions {
    /// What.
    pub strategy: Strategy,
    /// Casbin's model, when it is not the seed's.
    pub casbin_model_file: Option<PathBuf>,
    /// Casbin's lines beside the hub's own.
    pub casbin_policy_file: Option<PathBuf>,
}

/// Rights that are asked for and given for a while.
#[derive(Debug, Clone)]
pub struct AccessOptions {
    /// Longest time for which they are given.
    pub longest: Duration,
    /// How long a request can be decided on.
    pub request_lifetime: Duration,
}

impl AccessOptions {
    /// Longest time for which they are given, seconds.
    pub fn seconds_max(&self) -> u32 {
        u32::try_from(self.longest.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Options {
    /// Reads the settings.
    pub fn of(settings: &Settings) -> Self {
        let rules = &settings.auth.password;
        let jwt = &settings.auth.jwt;
        let named = settings.auth.identity_key_file.clone();
        Self {
            host: settings.user.host,
            port: settings.user.port,
            own_key_file: named.is_none(),
            key_file: named.unwrap_or_else(|| settings.data_dir.join(KEY_FILE)),
            hs256: jwt.secret.clone().filter(|_| jwt.algorithm == JwtAlgorithm::Hs256),
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            access_lifetime: jwt.expiration,
            refresh_lifetime: jwt.refresh_expiration,
            by_tls: settings.tls.enabled
                || settings.server.public_url.as_ref().is_some_and(|url| url.starts_with("https://")),
            public_url: settings.server.public_url.clone(),
            password_login: rules.enabled,
            party: settings.server.public_url.as_deref().filter(|_| rules.enabled).and_then(Party::at),
            password: PasswordPolicy {
                min_length: rules.min_length,
                uppercase: rules.require_uppercase,
                lowercase: rules.require_lowercase,
                numbers: rules.require_numbers,
                special: rules.require_special_chars,
                refuse_leaked: rules.refuse_leaked == Leaked::Refuse,
            },
            bootstrap_token: settings.auth.bootstrap_token.clone(),
            registration_open: settings.user.registration == Registration::Open,
            registration_confirmed: settings.user.registration == Registration::Confirmed,
            default_roles: [default_role(settings.user.default_role)].into(),
            authorization: AuthorizationOptions {
                strategy: settings.authorization.strategy,
                casbin_model_file: settings.authorization.casbin_model_file.clone(),
                casbin_policy_file: settings.authorization.casbin_policy_file.clone(),
            },
            dev: settings.dev,
            queue_peers: settings.compat.queue_peers.clone(),
            login_per_minute: settings.rate_limit.enabled.then_some(settings.rate_limit.login_per_minute),
            rates: roadstead_http_kit::RateSettings {
                enabled: settings.rate_limit.enabled,
                seed: settings.rate_limit.requests_per_minute,
                api: settings.rate_limit.api_per_minute,
                login: settings.rate_limit.login_per_minute,
            },
            trusted_proxies: settings.server.trusted_proxies.clone(),
            body_limit: settings.server.body_limit.0,
            bodies_limit: settings.server.bodies_limit.0,
            read_timeout: settings.server.read_timeout,
            audit: settings.audit.clone(),
            access: AccessOptions {
                longest: settings.access.max_duration,
                request_lifetime: settings.access.request_lifetime,
            },
            grace: settings.server.shutdown_grace,
            metrics: settings.metrics.at_doors(),
        }
    }
}

fn default_role(role: DefaultRole) -> Role {
    match role {
        DefaultRole::Viewer => Role::Viewer,
        DefaultRole::Operator => Role::Operator,
        DefaultRole::Admin => Role::Admin,
    }
}
