//! What the service does, one verb a file. [`App`] is what they all work with.

mod add_passkey;
mod ask_access;
mod audit;
mod authenticate;
mod authenticate_as;
mod authenticate_peer;
mod change_api_key;
mod change_password;
mod change_policy;
mod change_user;
mod confirm_registration;
mod create_api_key;
mod decide_access;
mod delete_user;
mod device_login;
mod end_access;
mod end_session;
mod export_audit;
mod first_admin;
mod grant_cluster;
mod identify_peer;
mod last_used;
mod list_api_keys;
mod list_sessions;
mod list_users;
mod login;
mod passkey_login;
mod passkeys;
mod policies;
mod principal;
mod provider_login;
mod provider_logout;
mod prune;
mod refresh;
mod regenerate_api_key;
mod register;
mod remind_admins;
mod reset_password;
mod revoke_api_key;
mod second_factor;
mod service_accounts;
mod session_tokens;
mod set_password;
mod show_user;
mod sign_in;
mod sign_operation;
mod tell_access;
mod test_policy;
mod throttle;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use roadstead_auth::audit::CheckpointKey;
use roadstead_auth::password::Hasher;
use roadstead_bus::Bus;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::webhook::Webhooks;
use roadstead_kv::{Kv, MemoryKv};
use roadstead_runtime::{Ids, Secret, SharedClock};
use roadstead_seal::Sealer;
use roadstead_store::OutboxRelay;
use roadstead_store::audit::Trail;
use roadstead_telemetry::Metrics;
use roadstead_telemetry::metrics::labels::Authentication;

pub use add_passkey::{NewPasskey, NewPasskeyWish};
pub use authenticate::KeyFault;
pub use change_policy::Imported;
pub use change_user::UserPatch;
pub use confirm_registration::Registered;
pub use first_admin::FirstStart;
pub use login::LoginFrom;
pub use passkey_login::{PasskeyAnswer, PasskeyWish};
pub use passkeys::{PASSKEYS_OFF, PasskeyFault};
pub use policies::{RULES_PAGE_MAX, RuleFilter, RulePage};
pub use provider_login::{Begun, Finished, LoginWish, ProviderAnswer};
pub use register::Registration;
pub use remind_admins::Who;
pub use reset_password::{ResetBegun, ResetDone};
pub use session_tokens::Issued;
pub use test_policy::{Answer, QUESTIONS_MAX, Question};

use crate::export::Sink;
use crate::keys::Keys;
use crate::oidc::Providers;
use crate::options::Options;
use crate::policy::Keeper;
use crate::store::Store;

/// Everything a verb needs.
pub struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kv: Arc<dyn Kv>,
    // Stands in for the shared one when that is away: a login limit must not depend on Redis.
    local: MemoryKv,
    pub(crate) keys: Arc<Keys>,
    pub(crate) policy: Arc<Keeper>,
    pub(crate) options: Options,
    providers: Providers,
    sealer: Sealer,
    pub(crate) clock: SharedClock,
    ids: Ids,
    hasher: Hasher,
    outbox: OutboxRelay,
    pub(crate) trail: Trail,
    checkpoint_key: CheckpointKey,
    sinks: Vec<Arc<dyn Sink>>,
    last_used: last_used::LastUsed,
    metrics: Metrics,
    bus: Bus,
    chat: Option<Chat>,
}

/// The chat that is told of requests for access.
pub struct Chat {
    /// Tells it.
    pub webhooks: Webhooks,
    /// Where it is.
    pub url: Secret,
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chat")
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}

/// Where the parts of an [`App`] come from.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Quotas that replicas share.
    pub kv: Arc<dyn Kv>,
    /// Keys.
    pub keys: Arc<Keys>,
    /// The rules of the policy.
    pub policy: Arc<Keeper>,
    /// Options.
    pub options: Options,
    /// Identity providers.
    pub providers: Providers,
    /// Seals what the database must not show.
    pub sealer: Sealer,
    /// Time.
    pub clock: SharedClock,
    /// Ids and randomness.
    pub ids: Ids,
    /// Passwords.
    pub hasher: Hasher,
    /// Events.
    pub outbox: OutboxRelay,
    /// Records of what is done.
    pub trail: Trail,
    /// Signs the audit trail's checkpoints.
    pub checkpoint_key: CheckpointKey,
    /// Receivers of the audit trail.
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    /// Counts.
    pub metrics: Metrics,
    /// Asks other services.
    pub bus: Bus,
    /// The chat that is told of requests for access.
    pub chat: Option<Chat>,
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let local = MemoryKv::new(SharedClock::clone(&parts.clock));
        Self {
            store: parts.store,
            kv: parts.kv,
            local,
            keys: parts.keys,
            policy: parts.policy,
            options: parts.options,
            providers: parts.providers,
            sealer: parts.sealer,
            clock: parts.clock,
            ids: parts.ids,
            hasher: parts.hasher,
            outbox: parts.outbox,
            trail: parts.trail,
            checkpoint_key: parts.checkpoint_key,
            sinks: parts.sinks.into_iter().map(Arc::from).collect(),
            last_used: last_used::LastUsed::default(),
            metrics: parts.metrics,
            bus: parts.bus,
            chat: parts.chat,
        }
    }

    fn event(&self, fact: Fact, at: DateTime<Utc>) -> Event {
        Event { id: self.ids.next(), at, fact }
    }

    /// Counts a credential that was looked at.
    fn count(&self, credential: &'static str, accepted: bool) {
        let outcome = if accepted { "accepted" } else { "refused" };
        self.metrics.authentications.get_or_create(&Authentication { credential, outcome }).inc();
    }

    /// Hashes a password that the rules allow.
    async fn hash(&self, password: Secret) -> Result<String, Error> {
        self.hasher.hash(password).await.map_err(password_fault)
    }
}

/// Seconds after which a repeat finds room again: the whole queue of passwords is worked off in about that.
const BUSY_RETRY: u32 = 2;

fn password_fault(fault: roadstead_auth::Error) -> Error {
    if fault == roadstead_auth::Error::Busy {
        return Error::new(Code::Unavailable, "too many logins at once, try again").retry_after(BUSY_RETRY);
    }
    tracing::error!("a password could not be hashed: {fault}");
    Code::Internal.into()
}

fn key_fault(fault: roadstead_auth::Error) -> Error {
    tracing::error!("a token could not be signed: {fault}");
    Code::Internal.into()
}

/// A refused credential. What exactly is wrong with it is not told.
fn invalid_credential() -> Error {
    Error::of(Code::InvalidCredential)
}

/// MCKMT's words.
const NAME_TAKEN: &str = "username already exists";

/// Breaches of unique rules in the seeds' words.
fn taken(fault: roadstead_store::Error) -> Error {
    for (rule, words) in [
        ("users_username_key", NAME_TAKEN),
        ("users_email_key", "email already exists"),
        ("api_keys_user_id_name_key", "API key with this name already exists"),
        ("passkeys_user_id_name_key", "a passkey with this name exists already"),
        ("passkeys_credential_id_key", "this passkey was added already"),
    ] {
        if fault.is_conflict(rule) {
            return Error::new(Code::Conflict, words);
        }
    }
    fault.into()
}
