//! What a credential is held to, below what its account may do. A scope only ever takes away: whoever decides asks
//! [`crate::identity::Principal`], which asks both the roles and the scope.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::identity::{Action, Role};
use crate::ids::ClusterId;

/// Most clusters that a scope names: more are a role's matter.
pub const CLUSTERS_MAX: usize = 200;
/// Most address ranges that a scope names.
pub const SOURCES_MAX: usize = 32;

/// The word that lets an admin's key act as somebody else. No role has it and no pattern covers it: it is given by name.
pub const IMPERSONATE: &str = "clusters:impersonate";

/// Words that a scope's permissions may be, besides those of one action: MCKMT's patterns.
const PATTERNS: [&str; 6] = ["*:*", "*:read", "clusters:*", "operations:*", "users:*", "system:*"];

/// What a credential is held to. What is left out holds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Permission words (`clusters:read`, `operations:*`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<BTreeSet<String>>,
    /// Clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<BTreeSet<ClusterId>>,
    /// Address ranges it may be used from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<BTreeSet<String>>,
}

impl Scope {
    /// Whether it holds anything.
    pub fn is_unlimited(&self) -> bool {
        self.permissions.is_none() && self.clusters.is_none() && self.sources.is_none()
    }

    /// Whether its permissions cover the action.
    pub fn allows(&self, action: Action) -> bool {
        let Some(permissions) = &self.permissions else { return true };
        permissions.iter().any(|permission| covers(permission, action))
    }

    /// Whether it may touch the cluster.
    pub fn reaches(&self, cluster: ClusterId) -> bool {
        self.clusters.as_ref().is_none_or(|clusters| clusters.contains(&cluster))
    }

    /// Whether it may be used from the address. A range that cannot be read holds nobody.
    pub fn admits(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.sources
            .as_ref()
            .is_none_or(|ranges| ranges.iter().filter_map(|text| range(text)).any(|one| one.contains(&source)))
    }

    /// The most powerful role whose work on clusters the permissions cover: what the cluster's own RBAC is told. `None`
    /// when not even reading is covered.
    pub fn highest_role(&self) -> Option<Role> {
        Role::covered(|action| self.allows(action))
    }

    /// Checks what somebody wants to hold a key to, and brings ranges to one spelling.
    pub fn checked(self) -> Result<Self> {
        let fault = |field: &str, message: String| Err(Error::field(&["body", field], "value_error", message));
        if let Some(unknown) = self.permissions.iter().flatten().find(|word| !is_permission(word)) {
            let shown: String = unknown.chars().filter(|character| !character.is_control()).take(40).collect();
            return fault("permissions", format!("{shown} is no permission"));
        }
        if self.permissions.as_ref().is_some_and(BTreeSet::is_empty) {
            return fault("permissions", "permissions must name at least one, or be left out".to_owned());
        }
        if self.clusters.as_ref().is_some_and(|clusters| clusters.is_empty() || clusters.len() > CLUSTERS_MAX) {
            return fault("clusters", format!("clusters must name 1 to {CLUSTERS_MAX}, or be left out"));
        }
        let Some(texts) = self.sources else { return Ok(self) };
        if texts.is_empty() || texts.len() > SOURCES_MAX {
            return fault("sources", format!("sources must name 1 to {SOURCES_MAX} ranges, or be left out"));
        }
        let ranges: Option<BTreeSet<String>> =
            texts.iter().map(|text| range(text).map(|range| range.trunc().to_string())).collect();
        match ranges {
            Some(ranges) => Ok(Self { sources: Some(ranges), ..self }),
            None => fault("sources", "sources must be IP addresses or CIDR ranges".to_owned()),
        }
    }
}

/// Whether a word is one of the permissions.
pub(crate) fn is_permission(word: &str) -> bool {
    PATTERNS.contains(&word)
        || word == IMPERSONATE
        || Action::ALL.iter().any(|action| {
            let (resource, verb) = action.words();
            word.split_once(':') == Some((resource, verb))
        })
}

/// As [`Role::allows`] reads its words: `*:read` never reaches users, the system or the audit trail.
pub(crate) fn covers(permission: &str, action: Action) -> bool {
    let (resource, verb) = action.words();
    permission.split_once(':').is_some_and(|(object, act)| {
        let object_matches =
            object == resource || (object == "*" && (act == "*" || !matches!(resource, "users" | "system" | "audit")));
        object_matches && (act == "*" || act == verb)
    })
}

fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TypedId as _;

    fn permissions(words: &[&str]) -> Scope {
        Scope { permissions: Some(words.iter().map(|word| (*word).to_owned()).collect()), ..Scope::default() }
    }

    #[test]
    fn words_mean_what_they_mean_for_roles() {
        for role in Role::ALL {
            let same = permissions(role.permissions());
            for action in Action::ALL {
                assert_eq!(same.allows(*action), role.allows(*action), "{role:?} {action:?}");
            }
            assert_eq!(same.highest_role(), Some(role));
        }
        assert!(permissions(&["clusters:read"]).allows(Action::ClustersRead));
        assert!(!permissions(&["clusters:read"]).allows(Action::ClustersWrite));
        assert_eq!(permissions(&["clusters:read"]).highest_role(), None, "it reads no operations");
        assert_eq!(permissions(&["clusters:read", "operations:read"]).highest_role(), Some(Role::Viewer));
        assert_eq!(Scope::default().highest_role(), Some(Role::Admin));
    }

    #[test]
    fn ranges() {
        let scope = |texts: &[&str]| Scope {
            sources: Some(texts.iter().map(|text| (*text).to_owned()).collect()),
            ..Scope::default()
        };
        let checked = scope(&["10.1.2.3/8", "2001:db8::1"]).checked().unwrap();
        assert_eq!(checked.sources.as_ref().unwrap().first().unwrap(), "10.0.0.0/8");
        for good in ["10.9.9.9", "::ffff:10.1.1.1", "2001:db8::1"] {
            assert!(checked.admits(good.parse().unwrap()), "{good}");
        }
        for bad in ["11.0.0.1", "2001:db8::2"] {
            assert!(!checked.admits(bad.parse().unwrap()), "{bad}");
        }
        assert!(scope(&["10.0.0.0/33"]).checked().is_err() && scope(&[]).checked().is_err());
        assert!(!scope(&["nonsense"]).admits("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_left_out_holds_nothing() {
        assert!(Scope::default().is_unlimited());
        let one = ClusterId::from_uuid(uuid::Uuid::from_u128(1));
        for held in [
            permissions(&["*:*"]),
            Scope { clusters: Some([one].into()), ..Scope::default() },
            Scope { sources: Some(["10.0.0.0/8".to_owned()].into()), ..Scope::default() },
        ] {
            assert!(!held.is_unlimited(), "{held:?}");
        }
        let two = ClusterId::from_uuid(uuid::Uuid::from_u128(2));
        let bound = Scope { clusters: Some([one].into()), ..Scope::default() };
        assert!(bound.reaches(one) && !bound.reaches(two) && Scope::default().reaches(two));
    }

    #[test]
    fn scopes_have_their_bounds() {
        let clusters = |count: usize| Scope {
            clusters: Some(
                (0..count).map(|number| ClusterId::from_uuid(uuid::Uuid::from_u128(number as u128))).collect(),
            ),
            ..Scope::default()
        };
        let sources = |count: usize| Scope {
            sources: Some((0..count).map(|number| format!("10.0.{number}.0/24")).collect()),
            ..Scope::default()
        };
        for (most, of) in
            [(CLUSTERS_MAX, &clusters as &dyn Fn(usize) -> Scope), (SOURCES_MAX, &sources as &dyn Fn(usize) -> Scope)]
        {
            for (count, good) in [(0, false), (1, true), (most, true), (most + 1, false), (most * 2, false)] {
                assert_eq!(of(count).checked().is_ok(), good, "{count} of {most}");
            }
        }
    }

    #[test]
    fn words_of_one_action_patterns_and_the_one_given_by_name() {
        for good in
            ["clusters:read", "audit:read", "access:approve", "clusters:impersonate", "*:*", "*:read", "users:*"]
        {
            assert!(permissions(&[good]).checked().is_ok(), "{good}");
        }
        let shown = permissions(&[&format!("\u{7}{}", "x".repeat(100))]).checked().unwrap_err().detail.into_owned();
        assert_eq!(shown, format!("{} is no permission", "x".repeat(40)));
    }

    #[test]
    fn unknown_words_are_refused() {
        for odd in ["clusters", "clusters:*:*", "nodes:read", "*", "*:write", ""] {
            assert!(permissions(&[odd]).checked().is_err(), "{odd}");
        }
        assert!(permissions(&[]).checked().is_err());
    }
}
