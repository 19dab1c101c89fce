//! Accounts.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::names::Username;
use roadstead_contracts::{Error, Result};

/// Longest first or last name, characters.
pub const NAME_MAX: usize = 100;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Integer number, for the seeds that show integers.
    pub seq: i64,
    /// Name, folded.
    pub username: String,
    /// E-mail address, folded.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// `password`, or `oidc` for accounts that an identity provider made.
    pub auth_source: String,
    /// Whether it may be used.
    pub active: bool,
    /// Roles held.
    pub roles: BTreeSet<Role>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl User {
    /// Whether it holds the most powerful role.
    pub fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin)
    }
}

/// An account to be made. Everything in it was checked.
#[derive(Debug, Clone)]
pub struct NewUser {
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
    /// PHC string.
    pub password_hash: String,
    /// Roles.
    pub roles: BTreeSet<Role>,
    /// Now.
    pub created_at: DateTime<Utc>,
}

/// Changes of an account. Left out = as it was.
#[derive(Debug, Clone, Default)]
pub struct UserChanges {
    /// E-mail address, folded.
    pub email: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Whether it may be used.
    pub active: Option<bool>,
    /// All its roles.
    pub roles: Option<BTreeSet<Role>>,
}

/// How a caller names an account: a path parameter takes any of the three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// Id.
    Id(UserId),
    /// Integer number.
    Seq(i64),
    /// Name.
    Name(Username),
}

impl UserRef {
    /// Reads a path parameter. What is none of the three is nobody's: `None`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(id) = text.parse() {
            return Some(Self::Id(id));
        }
        // An integer is digits only and has no leading zero or sign (reliability row R07).
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().filter(|seq: &i64| *seq > 0 && seq.to_string() == text).map(Self::Seq);
        }
        Username::parse(text).ok().map(Self::Name)
    }
}

/// Characters that are not seen and change what is: controls, those that turn the direction of writing, those without a
/// width (reliability row U01).
pub(super) fn is_unseen(character: char) -> bool {
    let format =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    character.is_control() || format
}

/// Checks a first or last name: no controls, at most [`NAME_MAX`] characters. Empty means none.
pub fn check_person_name(field: &'static str, text: Option<String>) -> Result<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    let text = text.trim();
    if text.chars().count() > NAME_MAX || text.chars().any(is_unseen) {
        let message = format!("{field} must be at most {NAME_MAX} characters, without control characters");
        return Err(Error::field(&["body", field], "value_error", message));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_named_three_ways() {
        assert_eq!(UserRef::parse("7"), Some(UserRef::Seq(7)));
        assert!(matches!(UserRef::parse("ada"), Some(UserRef::Name(_))));
        assert!(matches!(UserRef::parse("0198c5b0-0000-7000-8000-000000000001"), Some(UserRef::Id(_))));
        for odd in [
            "",
            "-1",
            "0",
            "00",
            "01",
            "99999999999999999999",
            "1e3 ",
            " 1",
            "0x",
            "{0198c5b0-0000-7000-8000-000000000001}",
        ] {
            assert_eq!(UserRef::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn person_names() {
        assert_eq!(check_person_name("first_name", Some(" Ada ".to_owned())).unwrap().as_deref(), Some("Ada"));
        assert_eq!(check_person_name("first_name", Some(" ".to_owned())).unwrap(), None);
        assert!(check_person_name("first_name", Some("a\u{7}".to_owned())).is_err());
        assert!(check_person_name("first_name", Some("a".repeat(101))).is_err());
    }
}
