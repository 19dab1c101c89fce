//! Names that people choose, checked when made.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// Most labels a cluster carries: more than any cloud's tag limit (50), small enough for a list page.
pub const LABELS_MAX: usize = 64;
/// Longest label value, as Kubernetes (63).
pub const LABEL_VALUE_MAX: usize = 63;
/// Longest label key: prefix 253, slash, name 63 (Kubernetes labels page).
pub const LABEL_KEY_MAX: usize = 317;

/// A cluster's name: a DNS label (RFC 1123), unique per hub, that looks neither like an integer nor like a UUID,
/// so that a path parameter can take id, integer or name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self> {
        let fault = |message: &str| Err(Error::field(&["body", "name"], "value_error", message));
        if !is_dns_label(text) {
            return fault(
                "name must be a DNS label: 1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit",
            );
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return fault("name must not look like a number");
        }
        if uuid::Uuid::try_parse(text).is_ok() {
            return fault("name must not look like a UUID");
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClusterName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespace of a cluster: a DNS label (RFC 1123).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

impl Namespace {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self> {
        if is_dns_label(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::field(&["body", "namespaces"], "value_error", "a namespace must be a DNS label"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Namespace {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Namespace> for String {
    fn from(name: Namespace) -> Self {
        name.0
    }
}

/// RFC 1123 label.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// A user name in its canonical form: NFKC and lower case, 3 to 50 of letters, digits and `. _ -`, ASCII only, so that
/// no two names look alike (reliability row A12).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

impl Username {
    /// Checks and folds a name.
    pub fn parse(text: &str) -> Result<Self> {
        let folded: String = text.nfkc().collect::<String>().to_lowercase();
        let good = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '.' | '_' | '-')
        };
        let edge = |character: char| character.is_ascii_alphanumeric();
        if !(3..=50).contains(&folded.len())
            || !folded.chars().all(good)
            || !folded.starts_with(edge)
            || !folded.ends_with(edge)
        {
            return Err(Error::field(
                &["body", "username"],
                "value_error",
                "username must be 3 to 50 of a-z, 0-9, '.', '_' and '-', starting and ending with a letter or digit",
            ));
        }
        Ok(Self(folded))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Username {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks an e-mail address loosely (one `@`, a dot in the domain, no spaces or controls, at most 254 bytes, RFC 5321)
/// and folds it to lower case.
pub fn parse_email(text: &str) -> Result<String> {
    let folded = text.trim().to_lowercase();
    let good = folded.len() <= 254
        && folded.is_ascii()
        && folded.bytes().all(|byte| byte.is_ascii_graphic())
        && folded.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && !domain.contains('@')
                && domain.split('.').count() > 1
                && domain.split('.').all(is_dns_label)
        });
    if good { Ok(folded) } else { Err(Error::field(&["body", "email"], "value_error", "email is not a valid address")) }
}

/// Labels of a cluster, with Kubernetes' syntax.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// Checks number, keys and values.
    pub fn check(&self) -> Result<()> {
        let fault = |message: String| Err(Error::field(&["body", "labels"], "value_error", message));
        if self.0.len() > LABELS_MAX {
            return fault(format!("at most {LABELS_MAX} labels"));
        }
        for (key, value) in &self.0 {
            let (prefix, name) =
                key.rsplit_once('/').map_or((None, key.as_str()), |(prefix, name)| (Some(prefix), name));
            let prefix_good = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label));
            if key.len() > LABEL_KEY_MAX || !prefix_good || !is_label_word(name) || name.is_empty() {
                return fault("label keys must be Kubernetes label keys".to_owned());
            }
            if !is_label_word(value) {
                return fault(format!("value of label {name} must be at most 63 of letters, digits, '-', '_' and '.'"));
            }
        }
        Ok(())
    }
}

fn is_label_word(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_VALUE_MAX
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && edge(bytes.first())
        && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_never_look_like_ids() {
        assert!(ClusterName::parse("prod-cluster").is_ok());
        for bad in ["", "42", "0198c5b0-0000-7000-8000-000000000001", "Prod", "a/b", "..", "-a", "a\u{202e}b", "😀"] {
            assert!(ClusterName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ClusterName::parse(&"a".repeat(64)).is_err());
    }

    #[test]
    fn user_names_that_look_alike_are_one_or_refused() {
        assert_eq!(Username::parse("Admin").unwrap().as_str(), "admin");
        assert_eq!(Username::parse("ＡＤＭＩＮ").unwrap().as_str(), "admin");
        for bad in ["admin ", "аdmin", "ad\u{200b}min", "ab", "", "-ab"] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn emails_are_checked_and_folded() {
        assert_eq!(parse_email("Admin@Example.com").unwrap(), "admin@example.com");
        for bad in ["", "a", "a@b", "@b.c", "a b@c.d", "a@b@c.d", "a@.com"] {
            assert!(parse_email(bad).is_err(), "{bad:?}");
        }
    }
}
