//! More rights for a while: what is asked for, what becomes of it, and the rule that it turns into.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::identity::{Action, Role};
use roadstead_contracts::ids::{AccessRequestId, RuleId, UserId};
use roadstead_contracts::policy::{ClustersDraft, Effect, Permissions, Rule, RuleDraft};
use roadstead_contracts::{Error, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::user::is_unseen;

/// Most requests of an account that nobody has decided on.
pub const OPEN_MAX: i64 = 20;
/// Shortest time, seconds: what is over before it can be used is a mistake.
pub const SECONDS_MIN: u32 = 5;
/// Longest reason and note, characters: they are shown in a chat. As bytes they fit the reason of a rule.
const WORDS_MAX: usize = 200;
/// Longest reason of a rule, bytes.
const RULE_REASON_MAX: usize = roadstead_contracts::policy::REASON_MAX;

/// What somebody asks for. Checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// A role with all that it may do …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// … or permission words.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub permissions: BTreeSet<String>,
    /// Names or ids of clusters.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clusters: BTreeSet<String>,
    /// Labels that clusters must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Namespaces, `*` for any part of a name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
    /// For how long, seconds.
    pub seconds: u32,
    /// Why.
    pub reason: String,
}

impl Wanted {
    /// Checks what can be told without looking anything up.
    pub fn checked(self, seconds_max: u32) -> Result<Self> {
        let fault = |field: &str, message: String| Err(Error::field(&["body", field], "value_error", message));
        if self.role.is_some() != self.permissions.is_empty() {
            return fault("role", "ask for a role or for permissions, one of the two".to_owned());
        }
        if let Some(word) = self.permissions.iter().find(|word| !is_askable(word)) {
            let shown: String = word.chars().filter(|character| !character.is_control()).take(40).collect();
            return fault("permissions", format!("{shown} is not given for a while: only what is about clusters is"));
        }
        if self.clusters.is_empty() && self.labels.is_none() && self.namespaces.is_empty() {
            return fault("clusters", "name clusters, labels or namespaces".to_owned());
        }
        if self.role == Some(Role::Admin) && self.clusters.is_empty() && self.labels.is_none() {
            return fault("clusters", "the role admin is given on clusters or labels".to_owned());
        }
        if !(SECONDS_MIN..=seconds_max).contains(&self.seconds) {
            return fault("duration_seconds", format!("duration_seconds must be {SECONDS_MIN} to {seconds_max}"));
        }
        let reason = check_words("reason", &self.reason)?;
        if reason.is_empty() {
            return fault("reason", "reason is required".to_owned());
        }
        Ok(Self { reason, ..self })
    }

    /// The permission words.
    pub fn words(&self) -> Vec<String> {
        match self.role {
            Some(role) => role.permissions().iter().map(|word| (*word).to_owned()).collect(),
            None => self.permissions.iter().cloned().collect(),
        }
    }

    /// Whether they are among those that somebody holds: nobody gives what they do not have (reliability row Z02).
    pub fn is_within(&self, holds: impl Fn(Action) -> bool) -> bool {
        let words: Permissions = self.words().into_iter().collect();
        Action::ALL.iter().filter(|action| words.cover(**action)).all(|action| holds(*action))
    }

    /// The rule that it becomes. `clusters` are the ids of the named ones: a later cluster of the same name gets nothing.
    pub fn rule(
        &self,
        request: AccessRequestId,
        id: RuleId,
        username: &str,
        clusters: Vec<String>,
        until: DateTime<Utc>,
    ) -> Result<Rule> {
        let mut reason = self.reason.clone();
        while reason.len() > RULE_REASON_MAX {
            reason.pop();
        }
        let draft = RuleDraft {
            name: format!("access-{request}"),
            effect: Effect::Allow,
            subjects: vec![format!("user:{username}")],
            permissions: self.words(),
            clusters: ClustersDraft { names: clusters, labels: self.labels.clone() },
            namespaces: self.namespaces.iter().cloned().collect(),
            kinds: Vec::new(),
            verbs: Vec::new(),
            until: Some(until),
            reason: Some(reason),
        };
        Ok(Rule { origin: Some(origin(request)), ..draft.checked(id)? })
    }

    /// The same by the names that were given: what cannot become a rule is refused when it is asked for.
    pub fn check_rule(&self, request: AccessRequestId, id: RuleId, username: &str, now: DateTime<Utc>) -> Result<()> {
        self.rule(request, id, username, self.clusters.iter().cloned().collect(), now).map(drop)
    }
}

/// Where a rule says that it comes from.
fn origin(request: AccessRequestId) -> String {
    format!("access-request:{request}")
}

/// Only what is about clusters: accounts, the hub itself, its trail and the decisions on requests are nobody's for a while.
fn is_askable(word: &str) -> bool {
    word == "*:read" || word.starts_with("clusters:") || word.starts_with("operations:")
}

/// Checks a reason or a note: one line, at most [`WORDS_MAX`] characters.
pub fn check_words(field: &'static str, text: &str) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > WORDS_MAX || text.chars().any(is_unseen) {
        let message = format!("{field} must be at most {WORDS_MAX} characters, without control characters");
        return Err(Error::field(&["body", field], "value_error", message));
    }
    Ok(text.to_owned())
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessState {
    /// Nobody has decided.
    Pending,
    /// Given; it counts until its end.
    Approved,
    /// Not given.
    Denied,
    /// Taken back by who asked.
    Withdrawn,
    /// It was given, and is over.
    Ended,
    /// Nobody decided in time.
    Lapsed,
}

impl AccessState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Approved, Self::Denied, Self::Withdrawn, Self::Ended, Self::Lapsed];

    /// The word on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Ended => "ended",
            Self::Lapsed => "lapsed",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// Id.
    pub id: AccessRequestId,
    /// Integer number, newest highest.
    pub seq: i64,
    /// Who asks.
    pub user_id: UserId,
    /// Its name.
    pub username: String,
    /// What for.
    pub wanted: Wanted,
    /// What is stored of its state; [`AccessRequest::state_at`] says what that means now.
    pub state: AccessState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When nobody can decide on it any more.
    pub lapses_at: DateTime<Utc>,
    /// When it was decided on.
    pub decided_at: Option<DateTime<Utc>>,
    /// By whom.
    pub decided_by: Option<UserId>,
    /// Its name.
    pub decided_by_name: Option<String>,
    /// What was said to it.
    pub note: Option<String>,
    /// When what was given is over.
    pub until: Option<DateTime<Utc>>,
    /// When it was ended before.
    pub ended_at: Option<DateTime<Utc>>,
    /// By whom.
    pub ended_by_name: Option<String>,
    /// The rule that it became.
    pub rule_id: Option<Uuid>,
}

impl AccessRequest {
    /// What it is at a time. Ends are looked at when they are asked for, not when something sweeps.
    pub fn state_at(&self, now: DateTime<Utc>) -> AccessState {
        match self.state {
            AccessState::Pending if now >= self.lapses_at => AccessState::Lapsed,
            AccessState::Approved if self.until.is_none_or(|until| now >= until) => AccessState::Ended,
            state => state,
        }
    }
}

/// A request to be stored.
#[derive(Debug, Clone)]
pub struct NewAccessRequest {
    /// Id.
    pub id: AccessRequestId,
    /// Who asks.
    pub user_id: UserId,
    /// Its name.
    pub username: String,
    /// What for.
    pub wanted: Wanted,
    /// Now.
    pub created_at: DateTime<Utc>,
    /// When nobody can decide on it any more.
    pub lapses_at: DateTime<Utc>,
}

/// What is decided about a pending request.
#[derive(Debug, Clone)]
pub struct AccessDecision {
    /// Which.
    pub id: AccessRequestId,
    /// What it becomes.
    pub state: AccessState,
    /// Now.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: UserId,
    /// Its name.
    pub by_name: String,
    /// What is said to it.
    pub note: Option<String>,
    /// The rule that it becomes, when it is approved.
    pub rule: Option<Rule>,
}

/// How what was given ends.
#[derive(Debug, Clone)]
pub struct AccessEnd {
    /// Which.
    pub id: AccessRequestId,
    /// Now.
    pub at: DateTime<Utc>,
    /// Name of who ends it; its time is nobody.
    pub by_name: Option<String>,
}

/// What a chat is told, in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The same for every try.
    pub id: Uuid,
    /// The body, JSON.
    pub body: String,
    /// How often it was tried.
    pub attempts: i64,
}

/// Tries to tell a chat: with the pauses between, which double from 5 s, at most some 21 minutes. What is told later helps nobody.
pub const NOTICE_TRIES: i64 = 9;
/// Notices that an account's chat is told at once.
pub const NOTICES_AT_ONCE: i64 = 16;
/// A notice being told is not told by another replica for this long.
pub const NOTICE_CLAIM: TimeDelta = TimeDelta::seconds(30);

#[cfg(test)]
mod tests {
    use roadstead_contracts::ids::TypedId as _;

    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            role: Some(Role::Operator),
            permissions: BTreeSet::new(),
            clusters: ["prod".to_owned()].into(),
            labels: None,
            namespaces: ["shop".to_owned()].into(),
            seconds: 3_600,
            reason: " the shop is down ".to_owned(),
        }
    }

    fn words(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn odd_wishes_are_refused() {
        assert_eq!(wanted().checked(3_600).unwrap().reason, "the shop is down");
        let permissions = |list: &[&str]| Wanted { role: None, permissions: words(list), ..wanted() };
        assert!(permissions(&["clusters:read", "operations:*", "*:read"]).checked(3_600).is_ok());
        for odd in [
            Wanted { role: None, ..wanted() },
            Wanted { permissions: words(&["clusters:read"]), ..wanted() },
            permissions(&["users:write"]),
            permissions(&["*:*"]),
            permissions(&["access:approve"]),
            Wanted { clusters: BTreeSet::new(), namespaces: BTreeSet::new(), ..wanted() },
            Wanted { role: Some(Role::Admin), clusters: BTreeSet::new(), ..wanted() },
            Wanted { seconds: 4, ..wanted() },
            Wanted { seconds: 3_601, ..wanted() },
            Wanted { reason: " ".to_owned(), ..wanted() },
            Wanted { reason: "a\nb".to_owned(), ..wanted() },
            Wanted { reason: "a\u{202e}b".to_owned(), ..wanted() },
            Wanted { reason: "x".repeat(201), ..wanted() },
        ] {
            assert!(odd.clone().checked(3_600).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn what_becomes_a_rule() {
        let id = AccessRequestId::from_uuid(Uuid::from_u128(7));
        let until = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let rule = |wanted: &Wanted| {
            wanted.rule(id, RuleId::from_uuid(Uuid::from_u128(8)), "ada", vec![Uuid::from_u128(9).to_string()], until)
        };
        let made = rule(&wanted().checked(3_600).unwrap()).unwrap();
        assert_eq!((made.until, made.origin.as_deref()), (Some(until), Some(origin(id).as_str())));
        assert!(made.is_within_clusters() && made.effect == Effect::Allow);
        // The longest reason, in characters of four bytes, is cut to what a rule holds.
        let long = Wanted { reason: "😀".repeat(WORDS_MAX), ..wanted() };
        assert!(rule(&long).unwrap().reason.unwrap().len() <= RULE_REASON_MAX);
        assert!(rule(&Wanted { labels: Some("a in (b)".to_owned()), ..wanted() }).is_err());
        assert!(rule(&Wanted { namespaces: words(&["a b"]), ..wanted() }).is_err());
    }

    #[test]
    fn nobody_gives_what_they_do_not_have() {
        assert!(wanted().is_within(|action| Role::Operator.allows(action)));
        assert!(!wanted().is_within(|action| Role::Viewer.allows(action)));
        let admin = Wanted { role: Some(Role::Admin), ..wanted() };
        assert!(
            admin.is_within(|action| Role::Admin.allows(action))
                && !admin.is_within(|action| Role::Operator.allows(action))
        );
    }
}
