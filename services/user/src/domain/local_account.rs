//! What belongs to accounts with a password here; passkeys are beside ([`super::Passkey`]).

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{SessionId, UserId};
use uuid::Uuid;

/// How long a link to set a new password works: until tomorrow.
pub const RESET_LIFE: TimeDelta = TimeDelta::hours(24);
/// Recovery codes of an account: enough to lose a few.
pub const RECOVERY_CODES: usize = 10;

/// A link with which somebody sets a new password.
#[derive(Debug, Clone)]
pub struct NewReset {
    /// Public half.
    pub id: Uuid,
    /// Whose password.
    pub user_id: UserId,
    /// Sealed digest of the secret half.
    pub digest: String,
    /// Which admin made it.
    pub created_by: UserId,
    /// When it is over.
    pub expires_at: DateTime<Utc>,
    /// Whether the second factors go with the old password.
    pub remove_second_factors: bool,
}

/// A link that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenReset {
    /// Whose password.
    pub user_id: UserId,
    /// Whether the second factors go with the old password.
    pub remove_second_factors: bool,
}

/// A new password, and what goes with the old one.
#[derive(Debug, Clone, Copy)]
pub struct NewPassword<'a> {
    /// Its hash.
    pub hash: &'a str,
    /// The one session that stays.
    pub keep: Option<SessionId>,
    /// Whether every second factor goes, too.
    pub remove_second_factors: bool,
}

impl<'a> NewPassword<'a> {
    /// One that ends every session and leaves second factors as they are.
    pub fn new(hash: &'a str) -> Self {
        Self { hash, keep: None, remove_second_factors: false }
    }
}

/// What an account asks for beside its password. A passkey signs in without the password, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SecondFactors {
    /// How many passkeys.
    pub passkeys: usize,
    /// Whether codes of an authenticator app are asked for.
    pub authenticator_app: bool,
}

/// The authenticator app of an account.
#[derive(Debug, Clone)]
pub struct Authenticator {
    /// The secret, sealed.
    pub sealed_secret: String,
    /// Whether it was shown to work; codes are asked for from then on.
    pub confirmed: bool,
    /// The last step whose code was used.
    pub last_step: i64,
}
