//! Who is asking: verified, then spelt as the cluster sees it.

use roadstead_contracts::agent::{IdentityClaims, RequestKind};
use roadstead_contracts::identity::Role;
use roadstead_contracts::operation::OperationClaims;
use roadstead_contracts::{Code, Error};

/// Prefix of every user and group the agent impersonates.
const PREFIX: &str = "roadstead:";
/// Longest user name.
const NAME_MAX: usize = 128;

/// A person as the cluster's RBAC sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    user: String,
    groups: Vec<String>,
    /// The one kind of request that it is good for.
    only: Option<RequestKind>,
}

impl Identity {
    /// From claims whose signature was checked. Refuses what could mean more than a person of the hub.
    pub fn from_claims(claims: &IdentityClaims) -> Result<Self, Error> {
        if claims.actor.is_some() && claims.roles.is_empty() {
            // Somebody acts as a person without groups, as `--as` alone asks for.
            let named = Self::new(&claims.sub, &[Role::Viewer.as_str().to_owned()])?;
            return Ok(Self { groups: Vec::new(), only: claims.only.clone(), ..named });
        }
        Ok(Self { only: claims.only.clone(), ..Self::new(&claims.sub, &claims.roles)? })
    }

    /// From an order whose signature was checked, by the same rules.
    pub fn from_order(claims: &OperationClaims) -> Result<Self, Error> {
        Self::new(&claims.sub, &claims.roles)
    }

    fn new(name: &str, roles: &[String]) -> Result<Self, Error> {
        let plain = |character: char| character.is_ascii_graphic() && !matches!(character, '"' | '\\' | ',' | '/');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) || name.starts_with("system:") {
            return Err(refused("the user name cannot be used in a cluster"));
        }
        let roles: Option<Vec<Role>> = roles.iter().map(|role| Role::parse(role)).collect();
        let Some(roles) = roles.filter(|roles| !roles.is_empty()) else {
            return Err(refused("the roles cannot be used in a cluster"));
        };
        Ok(Self {
            user: format!("{PREFIX}{name}"),
            groups: roles.iter().map(|role| format!("{PREFIX}{}", role.as_str())).collect(),
            only: None,
        })
    }

    /// A name of the agent's own choice in one role, to ask the cluster what that role may do.
    pub(crate) fn of_role(name: &str, role: Role) -> Self {
        Self { user: format!("{PREFIX}{name}"), groups: vec![format!("{PREFIX}{}", role.as_str())], only: None }
    }

    /// `roadstead:<name>`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The one kind of request that it is good for; none: every one that its groups allow.
    pub fn only(&self) -> Option<&RequestKind> {
        self.only.as_ref()
    }

    /// `roadstead:<role>` each.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }
}

pub(super) fn refused(detail: &'static str) -> Error {
    Error::new(Code::IdentityRefused, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(sub: &str, roles: &[&str]) -> IdentityClaims {
        IdentityClaims {
            sub: sub.to_owned(),
            uid: "u".to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            aud: "c".to_owned(),
            iat: 0,
            exp: 60,
            actor: None,
            only: None,
        }
    }

    #[test]
    fn people_become_prefixed_users_and_groups() {
        let identity = Identity::from_claims(&claims("alice", &["operator", "viewer"])).unwrap();
        assert_eq!(identity.user(), "roadstead:alice");
        assert_eq!(identity.groups().collect::<Vec<_>>(), ["roadstead:operator", "roadstead:viewer"]);
    }

    #[test]
    fn whoever_is_acted_as_may_have_no_groups() {
        let mut acted = claims("bob", &[]);
        assert!(Identity::from_claims(&acted).is_err());
        acted.actor = Some("ada".to_owned());
        let bob = Identity::from_claims(&acted).unwrap();
        assert_eq!((bob.user(), bob.groups().count()), ("roadstead:bob", 0));
        acted.sub = "system:admin".to_owned();
        assert!(Identity::from_claims(&acted).is_err());
    }

    #[test]
    fn what_is_more_than_a_person_is_refused() {
        for name in ["", "system:admin", "system:masters", "a b", "a\r\nx", "a,b", "ü", &"x".repeat(129)] {
            assert!(Identity::from_claims(&claims(name, &["viewer"])).is_err(), "{name:?}");
        }
        for roles in [&[][..], &["system:masters"][..], &["viewer", "root"][..], &["Admin"][..]] {
            assert!(Identity::from_claims(&claims("alice", roles)).is_err(), "{roles:?}");
        }
    }
}
