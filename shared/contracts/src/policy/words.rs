//! The words of rules: subjects, permissions, patterns, selectors of labels. Each is checked when it is read.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LIST_MAX, WORD_MAX};
use crate::identity::{Action, Role};
use crate::names::{LABEL_KEY_MAX, LABEL_VALUE_MAX, Labels, Username};
use crate::scope;

/// Longest name of a group: what directories give out as distinguished names.
const GROUP_MAX: usize = 200;

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text!(Subject, Pattern, Selector);

/// Whom a rule is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// Everyone.
    Everyone,
    /// One account.
    User(Username),
    /// Whoever holds a role.
    Role(Role),
    /// Whoever an identity provider puts into a group, by its exact name.
    Group(String),
}

impl Subject {
    /// Reads `user:NAME`, `role:NAME`, `group:NAME` or `*`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let group = |name: &str| {
            (1..=GROUP_MAX).contains(&name.len()) && name.trim() == name && !name.chars().any(char::is_control)
        };
        match text.split_once(':') {
            None if text == "*" => Ok(Self::Everyone),
            Some(("user", name)) => Username::parse(name).map(Self::User).map_err(|error| error.detail.into_owned()),
            Some(("role", name)) => Role::parse(name).map(Self::Role).ok_or_else(|| "there is no such role".to_owned()),
            Some(("group", name)) if group(name) => Ok(Self::Group(name.to_owned())),
            _ => Err("a subject is user:NAME, role:NAME, group:NAME or *".to_owned()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("*"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Role(role) => write!(f, "role:{}", role.as_str()),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

/// A set of actions, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(u32);

impl Actions {
    /// Whether the action is one of them.
    pub fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }

    /// The actions that a predicate holds for.
    pub fn that(holds: impl Fn(Action) -> bool) -> Self {
        Self(Action::ALL.iter().copied().filter(|action| holds(*action)).fold(0, |bits, action| bits | bit(action)))
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(move |action| self.contains(*action))
    }
}

const fn bit(action: Action) -> u32 {
    1 << action as u32
}

/// Permission words of a rule, and the actions that they cover.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<String>", into = "BTreeSet<String>")]
pub struct Permissions {
    words: BTreeSet<String>,
    actions: Actions,
}

impl Permissions {
    /// Whether they cover the action. They mean what they mean for roles: `*:read` never reaches users, the system or
    /// the audit trail.
    pub fn cover(&self, action: Action) -> bool {
        self.actions.contains(action)
    }

    /// The actions that they cover.
    pub fn actions(&self) -> Actions {
        self.actions
    }

    /// The words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Checks one word. Acting as somebody else is no rule's to give.
    pub(super) fn parse_word(text: &str) -> Result<String, String> {
        if scope::is_permission(text) && text != scope::IMPERSONATE {
            return Ok(text.to_owned());
        }
        let shown: String = text.chars().filter(|character| !character.is_control()).take(40).collect();
        Err(format!("{shown} is no permission"))
    }
}

impl FromIterator<String> for Permissions {
    fn from_iter<T: IntoIterator<Item = String>>(words: T) -> Self {
        let words: BTreeSet<String> = words.into_iter().collect();
        let actions = Actions::that(|action| words.iter().any(|word| scope::covers(word, action)));
        Self { words, actions }
    }
}

impl TryFrom<BTreeSet<String>> for Permissions {
    type Error = String;
    fn try_from(words: BTreeSet<String>) -> Result<Self, String> {
        words.iter().try_for_each(|word| Self::parse_word(word).map(drop))?;
        Ok(words.into_iter().collect())
    }
}

impl From<Permissions> for BTreeSet<String> {
    fn from(permissions: Permissions) -> Self {
        permissions.words
    }
}

/// A name in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern: lower case, what names of Kubernetes are made of, and `*`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'/' | b'*' | b'_')
        };
        if (1..=WORD_MAX).contains(&text.len()) && text.bytes().all(good) {
            return Ok(Self(text.to_owned()));
        }
        Err("a pattern is 1 to 253 of a-z, 0-9, '-', '.', '/', '_' and '*'".to_owned())
    }

    /// Whether it is for every name.
    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether it is for this name. One pass with one place to go back to: no pattern takes more than the product of
    /// the two lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut seen) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while seen < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(byte) if *byte == name[seen] => {
                    at += 1;
                    seen += 1;
                }
                _ => {
                    let Some((place, from)) = star else { return false };
                    star = Some((place, from + 1));
                    (at, seen) = (place + 1, from + 1);
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One demand of a selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Demand {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

/// Labels that a cluster must carry: `env=prod,tier!=1,owner,!legacy`, all of them. As in Kubernetes, `!=` also holds
/// where the label is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(Vec<Demand>);

impl Selector {
    /// Reads a selector.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || "labels must be key=value, key!=value, key or !key, joined by commas".to_owned();
        let demands: Result<Vec<Demand>, String> =
            text.split(',').map(|one| demand(one.trim()).ok_or_else(fault)).collect();
        let demands = demands?;
        if demands.len() > LIST_MAX {
            Err(format!("labels must have at most {LIST_MAX} parts"))
        } else {
            Ok(Self(demands))
        }
    }

    /// Whether labels satisfy it.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|demand| match demand {
            Demand::Is(key, value) => labels.0.get(key) == Some(value),
            Demand::IsNot(key, value) => labels.0.get(key) != Some(value),
            Demand::Has(key) => labels.0.contains_key(key),
            Demand::HasNot(key) => !labels.0.contains_key(key),
        })
    }
}

fn demand(text: &str) -> Option<Demand> {
    let key = |text: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        let text = text.trim();
        ((1..=LABEL_KEY_MAX).contains(&text.len()) && text.bytes().all(good)).then(|| text.to_owned())
    };
    let value = |text: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let text = text.trim();
        (text.len() <= LABEL_VALUE_MAX && text.bytes().all(good)).then(|| text.to_owned())
    };
    if let Some((left, right)) = text.split_once("!=") {
        return Some(Demand::IsNot(key(left)?, value(right)?));
    }
    if let Some((left, right)) = text.split_once('=') {
        return Some(Demand::Is(key(left)?, value(right.strip_prefix('=').unwrap_or(right))?));
    }
    match text.strip_prefix('!') {
        Some(missing) => key(missing).map(Demand::HasNot),
        None => key(text).map(Demand::Has),
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, demand) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match demand {
                Demand::Is(key, value) => write!(f, "{key}={value}")?,
                Demand::IsNot(key, value) => write!(f, "{key}!={value}")?,
                Demand::Has(key) => f.write_str(key)?,
                Demand::HasNot(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matches = |pattern: &str, name: &str| Pattern::parse(pattern).unwrap().matches(name);
        for (pattern, name) in [
            ("*", ""),
            ("*", "x"),
            ("team-*", "team-"),
            ("team-*", "team-a"),
            ("*-prod", "shop-prod"),
            ("a*b*c", "axxbyyc"),
            ("a*b*c", "abbc"),
            ("*.apps", "deployments.apps"),
            ("pods/*", "pods/exec"),
            ("x", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("team-*", "team"), ("a*b", "abc"), ("x", "xx"), ("*x", ""), ("a*b*c", "acb")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        for odd in ["", "Team", "a b", "a\n", "ä", &"a".repeat(254)] {
            assert!(Pattern::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn selectors() {
        let labels =
            Labels([("env", "prod"), ("tier", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        for (text, holds) in [
            ("env=prod", true),
            ("env==prod", true),
            ("env=prod,tier!=1", true),
            ("env!=prod", false),
            ("team!=x", true),
            ("env", true),
            ("!env", false),
            ("!team", true),
            ("env=prod,team", false),
            ("env=", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(&labels), holds, "{text}");
            assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }
        for odd in ["", ",", "a=b,", "=b", "a=b c", "a in (b)", "!"] {
            assert!(Selector::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn words_have_their_bounds() {
        let long = |length: usize| "a".repeat(length);
        assert!(Pattern::parse(&long(WORD_MAX)).is_ok() && Pattern::parse(&long(WORD_MAX + 1)).is_err());
        assert!(Pattern::parse("a-b.c/d_e*9").is_ok());
        assert!(Subject::parse(&format!("group:{}", long(GROUP_MAX))).is_ok());
        assert!(Subject::parse(&format!("group:{}", long(GROUP_MAX + 1))).is_err());
        for odd in ["group:a\tb", "group:a ", "group: a"] {
            assert!(Subject::parse(odd).is_err(), "{odd}");
        }
        let parts = |count: usize| vec!["env"; count].join(",");
        assert!(Selector::parse(&parts(LIST_MAX)).is_ok() && Selector::parse(&parts(LIST_MAX + 1)).is_err());
        assert!(Selector::parse(&long(LABEL_KEY_MAX)).is_ok() && Selector::parse(&long(LABEL_KEY_MAX + 1)).is_err());
        let value = |length: usize| format!("env={}", long(length));
        assert!(
            Selector::parse(&value(LABEL_VALUE_MAX)).is_ok() && Selector::parse(&value(LABEL_VALUE_MAX + 1)).is_err()
        );
        for good in ["example.com/team_a-b", "env=a-b_c.d", "env = prod , tier"] {
            assert!(Selector::parse(good).is_ok(), "{good}");
        }
        for odd in ["a b", "env=a/b", "env=a:b", "é"] {
            assert!(Selector::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn only_stars_are_for_every_name() {
        for (pattern, every) in [("*", true), ("**", true), ("a*", false), ("*a", false), ("a", false)] {
            assert_eq!(Pattern::parse(pattern).unwrap().is_any(), every, "{pattern}");
        }
    }

    #[test]
    fn an_unknown_permission_is_repeated_short_and_without_control_characters() {
        let fault = Permissions::parse_word(&format!("a\u{1b}[2J{}", "b".repeat(100))).unwrap_err();
        assert_eq!(fault, format!("a[2J{} is no permission", "b".repeat(36)));
        let read: Result<Permissions, _> = serde_json::from_str(r#"["clusters:read", "nodes:read"]"#);
        assert!(read.is_err(), "one bad word spoils the rule");
    }

    #[test]
    fn a_set_of_actions_has_what_was_put_in() {
        for action in Action::ALL {
            let one = Actions::that(|other| other == *action);
            assert_eq!(one.iter().collect::<Vec<_>>(), [*action]);
        }
        let two = Actions::that(|action| matches!(action, Action::ClustersRead | Action::AuditRead));
        assert_eq!(two.iter().collect::<Vec<_>>(), [Action::ClustersRead, Action::AuditRead]);
        assert_eq!(Actions::default().iter().count(), 0);
    }

    #[test]
    fn subjects() {
        for good in ["*", "user:ada", "role:viewer", "group:/ops/on call"] {
            assert_eq!(Subject::parse(good).unwrap().to_string(), good);
        }
        for odd in ["", "ada", "user:", "role:root", "group:", "group: x", "team:x", "user:*"] {
            assert!(Subject::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn permissions_mean_what_they_mean_for_roles() {
        for role in Role::ALL {
            let words: Permissions = role.permissions().iter().map(|word| (*word).to_owned()).collect();
            for action in Action::ALL {
                assert_eq!(words.cover(*action), role.allows(*action), "{role:?} {action:?}");
            }
        }
        assert!(Permissions::parse_word(scope::IMPERSONATE).is_err() && Permissions::parse_word("nodes:read").is_err());
    }
}
