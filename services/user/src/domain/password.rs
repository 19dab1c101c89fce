//! What a password must be. Length is all by default: classes push people to `Password1!` (NIST SP 800-63B §5.1.1.2).

use roadstead_auth::password::PASSWORD_MAX;
use roadstead_contracts::{Error, Result};
use roadstead_runtime::Secret;

use super::leaked::is_leaked;

/// Whether a class of characters is asked for, which are in it, and what it is called.
type Class = (bool, fn(char) -> bool, &'static str);

/// The rules of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent switches of the settings")]
pub struct PasswordPolicy {
    /// Fewest characters.
    pub min_length: usize,
    /// Asks for an upper-case letter.
    pub uppercase: bool,
    /// Asks for a lower-case letter.
    pub lowercase: bool,
    /// Asks for a digit.
    pub numbers: bool,
    /// Asks for a character that is neither.
    pub special: bool,
    /// Refuses what is on the list of known leaks.
    pub refuse_leaked: bool,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { min_length: 8, uppercase: false, lowercase: false, numbers: false, special: false, refuse_leaked: false }
    }
}

impl PasswordPolicy {
    /// Checks a new password; `field` is its name in the request.
    pub fn check(&self, field: &'static str, password: &Secret) -> Result<()> {
        let text = password.expose();
        let fault = |message: String| Err(Error::field(&["body", field], "value_error", message));
        if text.len() > PASSWORD_MAX {
            return fault(format!("password must be at most {PASSWORD_MAX} bytes"));
        }
        if text.chars().count() < self.min_length {
            return fault(format!("password must be at least {} characters", self.min_length));
        }
        let classes: [Class; 4] = [
            (self.uppercase, char::is_uppercase, "an upper-case letter"),
            (self.lowercase, char::is_lowercase, "a lower-case letter"),
            (self.numbers, char::is_numeric, "a digit"),
            (self.special, |character| !character.is_alphanumeric(), "a special character"),
        ];
        for (asked, is_one, what) in classes {
            if asked && !text.chars().any(is_one) {
                return fault(format!("password must contain {what}"));
            }
        }
        if self.refuse_leaked && is_leaked(text) {
            return fault("password is among the most frequent ones of public leaks, choose another".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_own_password_is_good_enough() {
        let policy = PasswordPolicy::default();
        assert!(policy.check("password", &Secret::new("password123")).is_ok());
        assert!(policy.check("password", &Secret::new("short")).is_err());
        assert!(policy.check("password", &Secret::new("x".repeat(1024 * 1024))).is_err());
    }

    #[test]
    fn classes_when_asked_for() {
        let policy = PasswordPolicy {
            uppercase: true,
            lowercase: true,
            numbers: true,
            special: true,
            ..PasswordPolicy::default()
        };
        assert!(policy.check("password", &Secret::new("password123")).is_err());
        assert!(policy.check("password", &Secret::new("Password-123")).is_ok());
    }

    #[test]
    fn known_leaks_are_refused_where_that_is_on() {
        let policy = PasswordPolicy { refuse_leaked: true, ..PasswordPolicy::default() };
        assert!(policy.check("password", &Secret::new("Password123")).is_err());
        assert!(policy.check("password", &Secret::new("lantern-quay-17")).is_ok());
    }

    #[test]
    fn a_refusal_does_not_repeat_the_password() {
        let error = PasswordPolicy::default().check("password", &Secret::new("hunter2")).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
