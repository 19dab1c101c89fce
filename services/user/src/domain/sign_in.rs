//! Logins through an identity provider.

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::names::Username;
use serde::{Deserialize, Serialize};

/// How long somebody may take on the provider's pages.
pub const LOGIN_LIFE: TimeDelta = TimeDelta::minutes(10);
/// How long a program on the person's machine has to fetch its login.
pub const CODE_LIFE: TimeDelta = TimeDelta::minutes(1);
/// Most logins on their way at a time: whoever begins more does not mean to finish them.
pub const LOGINS_MAX: i64 = 20_000;

/// A login on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderLogin {
    /// Sealed digest of the state that the provider sends back.
    pub state: String,
    /// Which provider.
    pub provider: String,
    /// Sealed digest of what the browser that began it holds.
    pub binding: String,
    /// Where a browser goes afterwards; `None` for a client that wants JSON.
    pub next: Option<String>,
    /// A program on the person's machine that waits for it.
    pub loopback: Option<Loopback>,
    /// When it is over.
    pub expires_at: DateTime<Utc>,
}

/// A program that waits for a login on the person's machine (RFC 8252 §7.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loopback {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// What it recognises the answer by.
    pub state: String,
    /// Challenge of the verifier that it will show (S256).
    pub challenge: String,
}

/// How a session came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// Which provider.
    pub provider: String,
    /// Its address.
    pub issuer: String,
    /// Who the person is to it.
    pub subject: String,
    /// Its own session.
    pub provider_session: Option<String>,
    /// Its token, sealed: what a logout there is asked with.
    #[serde(default)]
    pub sealed_id_token: Option<String>,
}

/// A login that waits to be fetched.
#[derive(Debug, Clone)]
pub struct LoginCode {
    /// Sealed digest of the code.
    pub digest: String,
    /// Challenge of the verifier.
    pub challenge: String,
    /// Whose.
    pub user_id: UserId,
    /// How it came about.
    pub sign_in: SignIn,
    /// When it is over.
    pub expires_at: DateTime<Utc>,
}

/// An account without a password: of a person whom a provider knows, or of a machine.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Id.
    pub id: UserId,
    /// Name.
    pub username: Username,
    /// E-mail address, folded.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Where it comes from: `oidc` or `service`.
    pub source: &'static str,
    /// Roles.
    pub roles: std::collections::BTreeSet<Role>,
    /// Now.
    pub created_at: DateTime<Utc>,
}

/// `auth_source` of accounts that an identity provider made.
pub const FROM_PROVIDER: &str = "oidc";
/// `auth_source` of machines' accounts.
pub const FROM_SERVICE: &str = "service";
