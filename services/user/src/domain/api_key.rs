//! API keys.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{ApiKeyId, UserId};
use roadstead_contracts::scope::Scope;
use roadstead_contracts::{Error, Result};

use super::user::is_unseen;

/// Most API keys of an account.
pub const KEYS_MAX: i64 = 100;
/// Longest name, characters, as in KubeSage.
const NAME_MAX: usize = 100;
/// Longest life of a key that ends, days: ten years. Whoever means "for ever" leaves the end out (row U02).
pub const LIFE_DAYS_MAX: i64 = 3_653;
/// Longest time for which two secrets of a key work: a rotation over a weekend, seconds.
pub const OVERLAP_SECONDS_MAX: u32 = 7 * 24 * 3_600;
/// Characters of the key that a list shows, then stars, as in KubeSage.
const PREVIEW_SHOWN: usize = 8;
const PREVIEW_STARS: &str = "************************";

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Public half.
    pub id: ApiKeyId,
    /// Integer number, for the seeds that show integers.
    pub seq: i64,
    /// Whose.
    pub user_id: UserId,
    /// What it is called.
    pub name: String,
    /// First characters and stars.
    pub preview: String,
    /// Whether it may be used.
    pub active: bool,
    /// When it ends, if it does.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used (to the minute).
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// What it is held to, below its account.
    pub scope: Option<Scope>,
    /// Until when the secret before this one works too.
    pub previous_until: Option<DateTime<Utc>>,
}

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Public half.
    pub id: ApiKeyId,
    /// Whose.
    pub user_id: UserId,
    /// What it is called.
    pub name: String,
    /// Sealed digest of the secret.
    pub digest: String,
    /// A key of the predecessors' form, found by its digest.
    pub legacy: bool,
    /// First characters and stars.
    pub preview: String,
    /// When it ends, if it does.
    pub expires_at: Option<DateTime<Utc>>,
    /// Now.
    pub created_at: DateTime<Utc>,
    /// What it is held to, below its account.
    pub scope: Option<Scope>,
}

/// Changes of a key. Left out = as it was.
#[derive(Debug, Clone, Default)]
pub struct ApiKeyChanges {
    /// What it is called.
    pub name: Option<String>,
    /// Whether it may be used.
    pub active: Option<bool>,
    /// When it ends.
    pub end: End,
    /// What it is held to; `Some(None)` takes that away.
    pub scope: Option<Option<Scope>>,
    /// A new secret.
    pub secret: Option<NewSecret>,
}

/// A key's new secret.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// Sealed digest.
    pub digest: String,
    /// First characters and stars.
    pub preview: String,
    /// Until when the one before it works too; it is dead at once when left out.
    pub previous_until: Option<DateTime<Utc>>,
}

/// What becomes of the end of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// It stays as it was.
    #[default]
    Keep,
    /// It never ends.
    Never,
    /// It ends then.
    At(DateTime<Utc>),
}

impl End {
    /// The end after the change.
    pub fn after(self, before: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        match self {
            Self::Keep => before,
            Self::Never => None,
            Self::At(time) => Some(time),
        }
    }
}

/// How a caller names one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyRef {
    /// Id.
    Id(ApiKeyId),
    /// Integer number.
    Seq(i64),
}

impl ApiKeyRef {
    /// Reads a path parameter.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(id) = text.parse() {
            return Some(Self::Id(id));
        }
        text.parse().ok().filter(|seq: &i64| *seq > 0 && seq.to_string() == text).map(Self::Seq)
    }
}

/// Checks a key's name.
pub fn check_key_name(text: &str) -> Result<String> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(is_unseen) {
        let message = format!("key_name must be 1 to {NAME_MAX} characters, without control characters");
        return Err(Error::field(&["body", "key_name"], "value_error", message));
    }
    Ok(name.to_owned())
}

/// What a list shows of a key: nothing of its secret half.
pub fn preview(key: &str) -> String {
    let shown: String = key.chars().take(PREVIEW_SHOWN).collect();
    shown + PREVIEW_STARS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(check_key_name(" ci ").unwrap(), "ci");
        assert!(check_key_name(" ").is_err() && check_key_name(&"a".repeat(101)).is_err());
        assert_eq!(ApiKeyRef::parse("3"), Some(ApiKeyRef::Seq(3)));
        for odd in ["", "0", "-3", "+3", "03", "x", "1e3"] {
            assert_eq!(ApiKeyRef::parse(odd), None, "{odd}");
        }
        assert_eq!(preview("rsk_0198aaaa"), "rsk_0198************************");
    }
}
