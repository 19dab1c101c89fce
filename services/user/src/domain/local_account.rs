//! What belongs to accounts with a password here.

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::UserId;
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
