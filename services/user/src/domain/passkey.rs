//! Passkeys and security keys of accounts, and the challenges that they answer to.

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{PasskeyId, UserId};
use roadstead_contracts::{Error, Result};

use super::User;
use super::user::is_unseen;

/// Most passkeys of an account: a telephone, a computer, a few keys of each.
pub const PASSKEYS_MAX: i64 = 20;
/// How long somebody may take over a browser's questions (§15.1 of the specification advises five to ten minutes).
pub const CEREMONY_LIFE: TimeDelta = TimeDelta::minutes(5);
/// Most challenges that are given out at a time: some ten megabytes. Then the oldest that anybody could ask for are given up: to keep
/// somebody out, as many would have to be begun while they touch their key.
pub const CEREMONIES_MAX: i64 = 50_000;
/// A sign-in this young is proof enough to change how one signs in.
pub const RECENT_SIGN_IN: TimeDelta = TimeDelta::minutes(10);
/// How far the clocks of replicas may be apart: as much as tokens are given.
pub const CLOCKS_APART: TimeDelta = TimeDelta::seconds(30);
/// Longest name of a passkey.
const NAME_MAX: usize = 64;
/// Most ways to reach an authenticator that are kept, and the longest word for one: there are six.
const TRANSPORTS_MAX: usize = 8;
const TRANSPORT_MAX: usize = 16;

/// A passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// Id.
    pub id: PasskeyId,
    /// Whose.
    pub user_id: UserId,
    /// What its authenticator calls it, base64url.
    pub credential_id: String,
    /// Public half (COSE).
    pub public_key: Vec<u8>,
    /// What its owner calls it.
    pub name: String,
    /// How browsers reach it.
    pub transports: Vec<String>,
    /// Its counter at the last sign-in.
    pub sign_count: u32,
    /// Whether copies of it may be kept elsewhere.
    pub backup_eligible: bool,
    /// Whether they are.
    pub backed_up: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A passkey that signs in, and whose it is.
#[derive(Debug, Clone)]
pub struct KnownPasskey {
    /// The passkey.
    pub passkey: Passkey,
    /// The account.
    pub user: User,
}

/// What an answer to a challenge is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To add a passkey to the account.
    Add,
    /// To sign in, once the account's password was right.
    AfterPassword,
    /// To sign in with nothing else.
    Alone,
}

impl Purpose {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::AfterPassword => "after_password",
            Self::Alone => "alone",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Add, Self::AfterPassword, Self::Alone].into_iter().find(|purpose| purpose.as_str() == text)
    }
}

/// A challenge that was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceremony {
    /// Sealed digest of the challenge.
    pub challenge: String,
    /// What for.
    pub purpose: Purpose,
    /// Whose passkey must answer; anybody's when there is none.
    pub user_id: Option<UserId>,
    /// Sealed digest of what the browser holds that asked for it.
    pub binding: String,
    /// When it is over.
    pub expires_at: DateTime<Utc>,
}

/// Checks a passkey's name.
pub fn check_passkey_name(text: &str) -> Result<String> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(is_unseen) {
        let message = format!("name must be 1 to {NAME_MAX} characters, without control characters");
        return Err(Error::field(&["body", "name"], "value_error", message));
    }
    Ok(name.to_owned())
}

/// The ways to reach an authenticator, as far as they are words: a browser's hint, and nothing depends on it.
pub fn plain_transports(said: Vec<String>) -> Vec<String> {
    let word = |text: &String| {
        (1..=TRANSPORT_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    said.into_iter().filter(word).take(TRANSPORTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_hints_are_plain() {
        assert_eq!(check_passkey_name(" my key ").unwrap(), "my key");
        for odd in ["", "  ", "a\u{202e}b", "a\nb", &"x".repeat(65)] {
            assert!(check_passkey_name(odd).is_err(), "{odd:?}");
        }
        let said = ["usb", "smart-card", "a,b", "", "USB", &"x".repeat(17)].map(str::to_owned).to_vec();
        assert_eq!(plain_transports(said), ["usb", "smart-card"]);
        assert_eq!(plain_transports(vec!["usb".to_owned(); 99]).len(), 8);
        for purpose in [Purpose::Add, Purpose::AfterPassword, Purpose::Alone] {
            assert_eq!(Purpose::parse(purpose.as_str()), Some(purpose));
        }
    }
}
