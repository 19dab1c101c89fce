//! Accounts that people ask for and an admin confirms.

use chrono::TimeDelta;

/// How long a registration waits for an admin.
pub const REGISTRATION_LIFE: TimeDelta = TimeDelta::days(7);
/// How long it is told what became of it.
pub const REGISTRATION_KEPT: TimeDelta = TimeDelta::days(30);
/// Most that wait: anybody may fill this, an admin looks at far fewer.
pub const REGISTRATIONS_MAX: i64 = 1_000;

/// What became of a registration, in KubeSage's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationState {
    /// It waits.
    Pending,
    /// The account is there.
    Confirmed,
    /// There is none.
    Rejected,
    /// Nobody confirmed in time.
    Expired,
}

impl RegistrationState {
    /// The word on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Confirmed, Self::Rejected, Self::Expired].into_iter().find(|state| state.as_str() == text)
    }
}
