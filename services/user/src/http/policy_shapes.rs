//! Rules in JSON, and questions about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::{Action, Role};
use roadstead_contracts::names::Labels;
use roadstead_contracts::policy::{ClustersDraft, Effect, RuleDraft};
use roadstead_contracts::{Error, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::app::{Answer, Imported, Question};
use crate::domain::StoredRule;

/// The clusters of a rule; what is left out limits nothing.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClusterLimits {
    /// Names or ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    /// Labels that a cluster must carry: `env=prod,tier!=1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<String>,
}

/// A list would be read as the fields in their order, and refused for something that nobody wrote.
fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<ClusterLimits, D::Error> {
    struct Written;

    impl<'de> Visitor<'de> for Written {
        type Value = ClusterLimits;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with `names`, a list, or `labels`, a selector")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<ClusterLimits, A::Error> {
            ClusterLimits::deserialize(MapAccessDeserializer::new(map))
        }
    }

    // Told by the visitor, in these words: a reader of YAML that is asked for a map has others.
    deserializer.deserialize_any(Written)
}

/// A rule as people write it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleBody {
    /// Its name, unique in the hub.
    name: String,
    /// `allow` or `deny`.
    #[schema(value_type = String)]
    effect: Effect,
    /// Whom it is for: `user:NAME`, `role:NAME`, `group:NAME` or `*`.
    subjects: Vec<String>,
    /// Permission words: `operations:write`, `clusters:*`, `*:read`.
    permissions: Vec<String>,
    /// Where. Left out: every cluster.
    #[serde(default, deserialize_with = "limits")]
    clusters: ClusterLimits,
    /// Namespaces, `*` for any part of a name. Left out: all, and what has none.
    #[serde(default)]
    namespaces: Vec<String>,
    /// Kinds as `plural.group`: `deployments.apps`, `secrets`, `pods/exec`. Left out: all.
    #[serde(default)]
    kinds: Vec<String>,
    /// Verbs of Kubernetes. Left out: all.
    #[serde(default)]
    verbs: Vec<String>,
    /// When it ends.
    #[serde(default)]
    until: Option<DateTime<Utc>>,
    /// Why it is there.
    #[serde(default)]
    reason: Option<String>,
}

impl From<RuleBody> for RuleDraft {
    fn from(body: RuleBody) -> Self {
        Self {
            name: body.name,
            effect: body.effect,
            subjects: body.subjects,
            permissions: body.permissions,
            clusters: ClustersDraft { names: body.clusters.names, labels: body.clusters.labels },
            namespaces: body.namespaces,
            kinds: body.kinds,
            verbs: body.verbs,
            until: body.until,
            reason: body.reason,
        }
    }
}

/// A rule that stands, or stood.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleView {
    id: String,
    name: String,
    #[schema(value_type = String)]
    effect: Effect,
    subjects: Vec<String>,
    permissions: Vec<String>,
    clusters: ClusterLimits,
    namespaces: Vec<String>,
    kinds: Vec<String>,
    verbs: Vec<String>,
    until: Option<DateTime<Utc>>,
    reason: Option<String>,
    /// What made it, when no person wrote it: `access-request:<id>`.
    origin: Option<String>,
    /// Whether it counts now.
    active: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

pub(super) fn view(stored: StoredRule, now: DateTime<Utc>) -> RuleView {
    let draft = stored.rule.draft();
    RuleView {
        id: stored.rule.id.to_string(),
        name: draft.name,
        effect: draft.effect,
        subjects: draft.subjects,
        permissions: draft.permissions,
        clusters: ClusterLimits { names: draft.clusters.names, labels: draft.clusters.labels },
        namespaces: draft.namespaces,
        kinds: draft.kinds,
        verbs: draft.verbs,
        until: draft.until,
        reason: draft.reason,
        active: stored.rule.stands(now),
        origin: stored.rule.origin,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    }
}

/// Several rules.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleSet {
    pub(super) rules: Vec<RuleBody>,
}

/// What an import did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImportView {
    created: usize,
    changed: usize,
    unchanged: usize,
    removed: usize,
}

/// A question about somebody: an account, or whoever has these roles and groups.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuestionBody {
    /// Name or id of an account.
    #[serde(default)]
    user: Option<String>,
    /// Roles, without an account.
    #[serde(default)]
    roles: Vec<String>,
    /// Groups, without an account.
    #[serde(default)]
    groups: Vec<String>,
    /// `clusters:read`, `operations:write`, …
    permission: String,
    /// Name or id of a cluster. One that is not there is asked about as if it were.
    #[serde(default)]
    cluster: Option<String>,
    /// Labels of a cluster that is not there.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// The namespace; `*` for all of them.
    #[serde(default)]
    namespace: Option<String>,
    /// `plural.group`, together with `verb`.
    #[serde(default)]
    kind: Option<String>,
    /// Verb of Kubernetes, together with `kind`.
    #[serde(default)]
    verb: Option<String>,
}

impl QuestionBody {
    pub(super) fn read(self, index: usize) -> Result<Question> {
        let index = index.to_string();
        let fault = |field: &str, message: &str| {
            Error::field(&["body", "questions", &index, field], "value_error", message.to_owned())
        };
        let action =
            Action::parse(&self.permission).ok_or_else(|| fault("permission", "there is no such permission"))?;
        let roles: Option<BTreeSet<Role>> = self.roles.iter().map(|role| Role::parse(role)).collect();
        let roles = roles.ok_or_else(|| fault("roles", "there is no such role"))?;
        if self.user.is_some() != (roles.is_empty() && self.groups.is_empty()) {
            return Err(fault("user", "name either a user, or roles and groups"));
        }
        let labels = Labels(self.labels);
        labels.check()?;
        Ok(Question {
            user: self.user,
            roles,
            groups: self.groups.into_iter().collect(),
            action,
            cluster: self.cluster,
            labels,
            namespace: self.namespace,
            kind: self.kind,
            verb: self.verb,
        })
    }
}

/// Body of test.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestBody {
    /// Rules that are not saved, put beside those that stand or in the place of those with their names. Left out: the
    /// rules that stand.
    #[serde(default)]
    pub(super) rules: Option<Vec<RuleBody>>,
    /// Whether they stand alone.
    #[serde(default)]
    pub(super) replace: bool,
    /// At most 100.
    pub(super) questions: Vec<QuestionBody>,
}

/// What would be decided.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnswerView {
    /// Whether it would be allowed.
    allowed: bool,
    /// Whether it is allowed now.
    allowed_now: bool,
    /// The permission that it takes.
    permission: String,
    /// The rule that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// Why, for people.
    reason: String,
    /// Whom to ask when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<String>,
}

impl From<Answer> for AnswerView {
    fn from(answer: Answer) -> Self {
        Self {
            allowed: answer.decision.allowed,
            allowed_now: answer.now,
            permission: answer.decision.permission,
            rule: answer.rule,
            reason: answer.decision.reason,
            ask: answer.decision.ask,
        }
    }
}

impl From<Imported> for ImportView {
    fn from(done: Imported) -> Self {
        let Imported { created, changed, unchanged, removed } = done;
        Self { created, changed, unchanged, removed }
    }
}
