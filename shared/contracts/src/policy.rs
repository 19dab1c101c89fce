//! Rules: who may do what where, beside what roles grant. This module is their form and their bounds; whether a rule
//! applies is decided in one place, the crate `roadstead-policy`.
//!
//! Every part of a rule that is filled in narrows it. Words are checked when they are read ([`words`]), so that what
//! cannot be understood never becomes a rule: a rule that cannot be read must not be taken for none.

mod words;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use words::{Actions, Pattern, Permissions, Selector, Subject};

use crate::error::{Error, FieldError, Result};
use crate::ids::{ClusterId, RuleId, UserId};
use crate::names::{Labels, is_dns_label};

/// Most rules of a hub: the size for which the cost of a decision is promised.
pub const RULES_MAX: usize = 10_000;
/// Most rules that concern one account: they travel with it.
pub const RULES_OF_ONE_MAX: usize = 256;
/// Most bytes, as JSON, of the rules that travel with one account: an eighth of the largest message.
pub const RULES_OF_ONE_BYTES_MAX: usize = 128 * 1024;
/// Most bytes of one rule as JSON.
pub const RULE_BYTES_MAX: usize = 4 * 1024;
/// Most entries of each list of a rule.
pub const LIST_MAX: usize = 64;
/// Longest name of a rule.
pub const NAME_MAX: usize = 63;
/// Longest reason of a rule.
pub const REASON_MAX: usize = 256;
/// Longest word in a list of a rule: a Kubernetes resource with its group (RFC 1123 subdomain).
pub const WORD_MAX: usize = 253;

/// What a rule does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Grants what no role grants.
    Allow,
    /// Takes away, whoever grants it.
    Deny,
}

/// The clusters that a rule is for. What is left out limits nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clusters {
    /// Names or ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<String>,
    /// Labels that a cluster must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Selector>,
}

impl Clusters {
    /// Whether it limits nothing.
    pub fn is_every(&self) -> bool {
        self.names.is_empty() && self.labels.is_none()
    }
}

/// A rule, checked. In JSON it is flat; people write a [`RuleDraft`]. A part that this build does not know may be what
/// narrows it, so such a rule cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which one.
    pub id: RuleId,
    /// Its name: unique in the hub, in any letters' case.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// Whom it is for. In the rules of a principal: those that concern it.
    pub subjects: BTreeSet<Subject>,
    /// What it is about.
    pub permissions: Permissions,
    /// Where.
    #[serde(default, skip_serializing_if = "Clusters::is_every")]
    pub clusters: Clusters,
    /// In which namespaces; empty: all, and what has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Pattern>,
    /// Which kinds, as `plural.group` (`deployments.apps`, `secrets`, `pods/exec`); empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Pattern>,
    /// Which verbs of Kubernetes; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<Pattern>,
    /// From then on the rule does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Why it is there, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What made it, when no person wrote it: `access-request:<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl Rule {
    /// Whether it exists at that time.
    pub fn stands(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it is limited to some of what is in a cluster.
    pub fn is_within_clusters(&self) -> bool {
        !(self.namespaces.is_empty() && self.kinds.is_empty() && self.verbs.is_empty())
    }

    /// As people write it.
    pub fn draft(&self) -> RuleDraft {
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        RuleDraft {
            name: self.name.clone(),
            effect: self.effect,
            subjects: self.subjects.iter().map(ToString::to_string).collect(),
            permissions: self.permissions.words().map(str::to_owned).collect(),
            clusters: ClustersDraft {
                names: self.clusters.names.iter().cloned().collect(),
                labels: self.clusters.labels.as_ref().map(ToString::to_string),
            },
            namespaces: texts(&self.namespaces),
            kinds: texts(&self.kinds),
            verbs: texts(&self.verbs),
            until: self.until,
            reason: self.reason.clone(),
        }
    }
}

/// A rule as people write it: over the API, in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDraft {
    /// Its name.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// `user:NAME`, `role:NAME`, `group:NAME` or `*`.
    pub subjects: Vec<String>,
    /// Permission words: `operations:write`, `clusters:*`, `*:read`.
    pub permissions: Vec<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "ClustersDraft::is_empty")]
    pub clusters: ClustersDraft,
    /// Namespaces, `*` for any part of a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Kinds as `plural.group`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Verbs of Kubernetes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The clusters of a [`RuleDraft`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClustersDraft {
    /// Names or ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// `env=prod,tier!=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
}

impl ClustersDraft {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.labels.is_none()
    }
}

impl RuleDraft {
    /// Checks every part and says all that is wrong.
    pub fn checked(&self, id: RuleId) -> Result<Rule> {
        let mut faults = Faults::default();
        if !is_rule_name(&self.name) {
            let message =
                "name must be 1 to 63 of a-z, 0-9, '.', '_' and '-', starting and ending with a letter or digit";
            faults.push("name", message);
        }
        let subjects = faults.list("subjects", &self.subjects, Subject::parse);
        let words = faults.list("permissions", &self.permissions, Permissions::parse_word);
        for (field, empty) in [("subjects", self.subjects.is_empty()), ("permissions", self.permissions.is_empty())] {
            if empty {
                faults.push(field, &format!("{field} must name at least one"));
            }
        }
        let names = faults.list("clusters", &self.clusters.names, cluster_reference);
        let labels = self.clusters.labels.as_deref().map(Selector::parse).transpose();
        let labels = labels.unwrap_or_else(|error| {
            faults.push("clusters", &error);
            None
        });
        let rule = Rule {
            id,
            name: self.name.clone(),
            effect: self.effect,
            subjects: subjects.into_iter().collect(),
            permissions: words.into_iter().collect(),
            clusters: Clusters { names: names.into_iter().collect(), labels },
            namespaces: faults.list("namespaces", &self.namespaces, Pattern::parse),
            kinds: faults.list("kinds", &self.kinds, Pattern::parse),
            verbs: faults.list("verbs", &self.verbs, Pattern::parse),
            until: self.until,
            reason: self.reason.clone(),
            origin: None,
        };
        let control = |text: &String| text.len() > REASON_MAX || text.chars().any(char::is_control);
        if self.reason.as_ref().is_some_and(control) {
            faults.push("reason", "reason must be at most 256 bytes without control characters");
        }
        if serde_json::to_vec(&rule).map_or(usize::MAX, |json| json.len()) > RULE_BYTES_MAX {
            faults.push("rule", "a rule must be at most 4096 bytes; make two of it");
        }
        faults.none().map(|()| rule)
    }
}

fn is_rule_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let bytes = text.as_bytes();
    // A path takes an id or a name: a name must not look like an id.
    bytes.len() <= NAME_MAX
        && bytes.iter().all(|byte| inner(*byte))
        && edge(bytes.first())
        && edge(bytes.last())
        && uuid::Uuid::try_parse(text).is_err()
}

/// The name or the id of a cluster. It need not be there (yet).
fn cluster_reference(text: &str) -> std::result::Result<String, String> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err("clusters must be named by name or id".to_owned()) }
}

#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn push(&mut self, field: &str, message: &str) {
        self.0.push(FieldError {
            loc: vec!["body".to_owned(), field.to_owned()],
            msg: message.to_owned(),
            kind: "value_error".to_owned(),
        });
    }

    fn list<T>(
        &mut self,
        field: &str,
        texts: &[String],
        read: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Vec<T> {
        if texts.len() > LIST_MAX {
            self.push(field, &format!("{field} must have at most {LIST_MAX} entries"));
            return Vec::new();
        }
        let mut good = Vec::with_capacity(texts.len());
        for text in texts {
            match read(text) {
                Ok(value) => good.push(value),
                Err(message) => self.push(field, &message),
            }
        }
        good
    }

    fn none(self) -> Result<()> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let mut error = Error::field(&[], "value_error", first.msg.clone());
        error.errors = self.0;
        Err(error)
    }
}

/// What is known of a cluster when something about it is decided. What is not known (`None`) satisfies no allow rule
/// and escapes no deny rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Which one.
    pub id: ClusterId,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
}

impl ClusterFacts {
    /// Nothing but the id is known.
    pub fn unknown(id: ClusterId) -> Self {
        Self { id, name: None, labels: None, owner: None }
    }
}
