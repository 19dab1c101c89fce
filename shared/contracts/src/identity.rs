//! Who is asking, and what roles and permission words mean.
//!
//! The words are MCKMT's (seed 000); KubeSage's role names map onto them (`seed::kubesage`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, FieldError, Result};
use crate::ids::{ApiKeyId, ClusterId, SessionId, UserId};
use crate::policy::{Permissions, Rule};
use crate::scope::Scope;

/// A role of the hub, least first: the order is the order of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what was granted; never secrets, credentials or the audit log.
    Viewer,
    /// Changes clusters and runs operations on what was granted.
    Operator,
    /// Everything, every cluster.
    Admin,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// The role's name: also the last part of the cluster group `roadstead:<name>`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// Reads one of ours by its exact name.
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The permission words a role holds.
    pub fn permissions(self) -> &'static [&'static str] {
        match self {
            Role::Viewer => &["*:read"],
            Role::Operator => &["clusters:*", "operations:*", "*:read"],
            Role::Admin => &["*:*"],
        }
    }

    /// The most powerful role of whose actions each is covered.
    pub fn covered(covers: impl Fn(Action) -> bool) -> Option<Role> {
        let all = |role: Role| Action::ALL.iter().filter(|action| role.allows(**action)).all(|action| covers(*action));
        Role::ALL.into_iter().rev().find(|role| all(*role))
    }

    /// Whether the role holds `resource:verb`.
    pub fn allows(self, action: Action) -> bool {
        let (resource, verb) = action.words();
        self.permissions().iter().any(|permission| {
            permission.split_once(':').is_some_and(|(object, act)| {
                // `*:read` never reaches users, the system or the audit trail: those hold secrets and credentials.
                let object_matches = object == resource
                    || (object == "*" && (act == "*" || !matches!(resource, "users" | "system" | "audit")));
                object_matches && (act == "*" || act == verb)
            })
        })
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $resource:literal $verb:literal;)*) => {
        /// What a route does, in MCKMT's permission words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }
        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$variant,)*];
            /// `(resource, verb)`.
            pub fn words(self) -> (&'static str, &'static str) {
                match self { $(Action::$variant => ($resource, $verb),)* }
            }
            /// Reads a permission of one action: `clusters:read`.
            pub fn parse(text: &str) -> Option<Action> {
                let words = text.split_once(':')?;
                Action::ALL.iter().copied().find(|action| action.words() == words)
            }
        }
    };
}

actions! {
    /// List and read clusters, agents, namespaces.
    ClustersRead = "clusters" "read";
    /// Create and change clusters.
    ClustersWrite = "clusters" "write";
    /// Remove clusters.
    ClustersDelete = "clusters" "delete";
    /// Join tokens, agents, manifests.
    ClustersManage = "clusters" "manage";
    /// Read operations.
    OperationsRead = "operations" "read";
    /// Start operations.
    OperationsWrite = "operations" "write";
    /// Cancel operations.
    OperationsCancel = "operations" "cancel";
    /// Read other accounts.
    UsersRead = "users" "read";
    /// Change other accounts.
    UsersWrite = "users" "write";
    /// Remove other accounts.
    UsersDelete = "users" "delete";
    /// Read the hub's own state (full metrics).
    SystemRead = "system" "read";
    /// Change the hub itself.
    SystemWrite = "system" "write";
    /// Read the audit trail. `*:read` does not cover it.
    AuditRead = "audit" "read";
    /// Decide on what others ask for, for a while.
    AccessApprove = "access" "approve";
}

/// Who can give what is missing.
const ADMINS: &str = "an admin of this hub";

/// What was decided about an action, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The permission that it takes.
    pub permission: String,
    /// Why, for people.
    pub reason: String,
    /// Whom to ask when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
}

/// Which clusters a caller can see at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "clusters")]
pub enum Reach {
    /// Every cluster (admins; everyone under `--dev`).
    All,
    /// Those granted, besides the ones the caller owns.
    Granted(BTreeSet<ClusterId>),
}

/// What proved the identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum CredentialKind {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A session's access token.
    Session(SessionId),
    /// A peer of the seeds on the broker, mapped to a service account.
    QueuePeer(String),
}

/// A known caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The account.
    pub user_id: UserId,
    /// The account's integer number, shown to clients of seeds 001 and 004.
    pub user_seq: i64,
    /// User name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Roles held.
    pub roles: BTreeSet<Role>,
    /// Clusters that can be seen.
    pub reach: Reach,
    /// What proved it.
    pub credential: CredentialKind,
    /// What the credential is held to, below the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Permission words that stand for those of the roles, where a strategy of the hub gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// The rules that concern the caller, at most [`crate::policy::RULES_OF_ONE_MAX`]. Asked by `roadstead-policy` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

impl Principal {
    /// Whether any role allows the action, and the credential's scope does not take it away. What it reaches is
    /// [`Principal::can_see`]. Rules are not looked at: `roadstead_policy::decide` does, and asks this.
    pub fn allows(&self, action: Action) -> bool {
        self.in_scope(action) && self.is_granted(action)
    }

    /// Whether the credential's scope covers the action.
    pub fn in_scope(&self, action: Action) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.allows(action))
    }

    /// Whether the roles, or the words that stand for theirs, grant the action.
    pub fn is_granted(&self, action: Action) -> bool {
        match &self.permissions {
            Some(words) => words.cover(action),
            None => self.roles.iter().any(|role| role.allows(action)),
        }
    }

    /// Whether the caller may act as somebody else at a cluster: an admin, with a credential that was given the word for it.
    pub fn may_impersonate(&self) -> bool {
        let given = self.scope.as_ref().and_then(|scope| scope.permissions.as_ref());
        self.roles.contains(&Role::Admin) && given.is_some_and(|words| words.contains(crate::scope::IMPERSONATE))
    }

    /// Whether the action is allowed, why, and what is missing. The same answer as [`Principal::allows`].
    pub fn decide(&self, action: Action) -> Decision {
        let (resource, verb) = action.words();
        let permission = format!("{resource}:{verb}");
        let held: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        let granted = self.is_granted(action);
        let granting = self.roles.iter().find(|role| role.allows(action)).filter(|_| self.permissions.is_none());
        let in_scope = self.in_scope(action);
        let (reason, ask) = match (granted, granting) {
            (true, Some(role)) if in_scope => (format!("the role {} grants {permission}", role.as_str()), None),
            (true, None) if in_scope => (format!("the hub's policy grants {permission}"), None),
            (true, _) => (
                format!("the credential is held to permissions without {permission}"),
                Some("whoever made the API key, or use one that is not held to less".to_owned()),
            ),
            (false, _) if self.permissions.is_some() => {
                (format!("{permission} is missing: the hub's policy does not grant it"), Some(ADMINS.to_owned()))
            }
            (false, _) if held.is_empty() => {
                (format!("{permission} is missing: the account has no role"), Some(ADMINS.to_owned()))
            }
            (false, _) => {
                let roles = held.join(", ");
                (format!("{permission} is missing: none of your roles ({roles}) grants it"), Some(ADMINS.to_owned()))
            }
        };
        Decision { allowed: granted && in_scope, permission, reason, ask }
    }

    /// The refusal of an action that is not allowed: which permission is missing, and whom to ask.
    pub fn refusal(&self, action: Action) -> Error {
        let Decision { permission, reason, ask, .. } = self.decide(action);
        let mut error = Error::of(Code::Forbidden);
        error.errors.push(FieldError {
            loc: vec!["permission".to_owned(), permission],
            msg: ask.map_or_else(|| reason.clone(), |ask| format!("{reason}; ask {ask}")),
            kind: "permission_missing".to_owned(),
        });
        error
    }

    /// The roles as a cluster is told them: those held, none above what the scope covers.
    pub fn cluster_roles(&self) -> BTreeSet<Role> {
        let held = match &self.permissions {
            Some(words) => Role::covered(|action| words.cover(action)).into_iter().collect(),
            None => self.roles.clone(),
        };
        let Some(scope) = &self.scope else { return held };
        let Some(highest) = scope.highest_role() else { return BTreeSet::new() };
        held.iter().map(|role| (*role).min(highest)).collect()
    }

    /// The most powerful role, viewer when there is none.
    pub fn highest_role(&self) -> Role {
        self.roles.iter().next_back().copied().unwrap_or(Role::Viewer)
    }

    /// Whether the credential is held to addresses.
    pub fn has_sources(&self) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.sources.is_some())
    }

    /// Refuses an address that the credential is not held to. Asked at each door with each request: answers about
    /// credentials are kept, and shared by callers at different addresses.
    pub fn check_source(&self, source: IpAddr) -> Result<()> {
        let admitted = self.scope.as_ref().is_none_or(|scope| scope.admits(source));
        let refusal = || Error::new(Code::SourceNotAllowed, "the API key may not be used from this address");
        if admitted { Ok(()) } else { Err(refusal()) }
    }

    /// Whether the credential is held to named clusters: then nothing beside them exists for it.
    pub fn is_cluster_bound(&self) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.clusters.is_some())
    }

    /// Whether a cluster with this owner exists for the caller.
    pub fn can_see(&self, cluster: ClusterId, owner: Option<UserId>) -> bool {
        if self.scope.as_ref().is_some_and(|scope| !scope.reaches(cluster)) {
            return false;
        }
        match &self.reach {
            Reach::All => true,
            Reach::Granted(clusters) => owner == Some(self.user_id) || clusters.contains(&cluster),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TypedId as _;

    #[test]
    fn roles_mean_what_the_seed_says() {
        assert!(Action::ALL.iter().all(|action| Role::Admin.allows(*action)));
        assert!(Role::Viewer.allows(Action::ClustersRead) && !Role::Viewer.allows(Action::ClustersWrite));
        assert!(Role::Operator.allows(Action::ClustersDelete) && Role::Operator.allows(Action::OperationsCancel));
        assert!(!Role::Viewer.allows(Action::UsersRead) && !Role::Operator.allows(Action::SystemRead));
        assert!(!Role::Operator.allows(Action::AuditRead) && Role::Admin.allows(Action::AuditRead));
    }

    fn principal(roles: &[Role], scope: Option<Scope>) -> Principal {
        Principal {
            user_id: UserId::from_uuid(uuid::Uuid::from_u128(1)),
            user_seq: 1,
            username: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
            roles: roles.iter().copied().collect(),
            reach: Reach::All,
            credential: CredentialKind::QueuePeer("peer".to_owned()),
            scope,
            permissions: None,
            rules: Vec::new(),
        }
    }

    #[test]
    fn a_decision_says_what_is_missing_and_whom_to_ask() {
        let reads = Scope { permissions: Some(BTreeSet::from(["*:read".to_owned()])), ..Scope::default() };
        for roles in [&[][..], &[Role::Viewer], &[Role::Viewer, Role::Operator], &[Role::Admin]] {
            for scope in [None, Some(reads.clone())] {
                let who = principal(roles, scope);
                for action in Action::ALL {
                    let decision = who.decide(*action);
                    assert_eq!(decision.allowed, who.allows(*action), "{roles:?} {action:?}");
                    assert_eq!(decision.ask.is_none(), decision.allowed);
                    assert_eq!(Action::parse(&decision.permission), Some(*action));
                }
            }
        }
        let viewer = principal(&[Role::Viewer], None).refusal(Action::ClustersDelete);
        assert_eq!((viewer.code, viewer.detail.as_ref()), (Code::Forbidden, "Insufficient permissions"));
        let told = &viewer.errors[0];
        assert_eq!(told.loc, ["permission", "clusters:delete"]);
        assert_eq!(
            told.msg,
            "clusters:delete is missing: none of your roles (viewer) grants it; ask an admin of this hub"
        );
        let held = principal(&[Role::Admin], Some(reads));
        assert!(!held.allows(Action::AuditRead), "*:read of a key does not cover the trail either");
        assert!(held.refusal(Action::UsersWrite).errors[0].msg.contains("the credential is held to"));
    }

    fn words(words: &[&str]) -> Permissions {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn held_to(words: &[&str]) -> Scope {
        Scope { permissions: Some(words.iter().map(|word| (*word).to_owned()).collect()), ..Scope::default() }
    }

    #[test]
    fn words_of_the_hubs_policy_stand_for_those_of_roles() {
        let who = |roles: &[Role]| Principal { permissions: Some(words(&["clusters:*"])), ..principal(roles, None) };
        let held = Principal { scope: Some(held_to(&["users:*"])), ..who(&[]) };
        let missing = "users:read is missing: the hub's policy does not grant it";
        for (who, action, allowed, reason) in [
            (who(&[]), Action::ClustersRead, true, "the hub's policy grants clusters:read"),
            (who(&[Role::Admin]), Action::ClustersRead, true, "the hub's policy grants clusters:read"),
            (who(&[Role::Admin]), Action::UsersRead, false, missing),
            (held, Action::ClustersRead, false, "the credential is held to permissions without clusters:read"),
            (principal(&[], None), Action::UsersRead, false, "users:read is missing: the account has no role"),
            (principal(&[Role::Viewer], None), Action::ClustersRead, true, "the role viewer grants clusters:read"),
        ] {
            let decision = who.decide(action);
            assert_eq!((decision.allowed, decision.reason.as_str()), (allowed, reason));
            assert_eq!(who.allows(action), allowed);
        }
    }

    #[test]
    fn only_an_admin_with_the_word_for_it_acts_as_somebody_else() {
        let with = |roles: &[Role], scope| principal(roles, scope).may_impersonate();
        assert!(with(&[Role::Admin], Some(held_to(&["*:*", crate::scope::IMPERSONATE]))));
        assert!(!with(&[Role::Operator], Some(held_to(&[crate::scope::IMPERSONATE]))));
        assert!(!with(&[Role::Admin], Some(held_to(&["*:*", "clusters:*"]))));
        assert!(!with(&[Role::Admin], Some(Scope::default())) && !with(&[Role::Admin], None));
    }

    #[test]
    fn a_cluster_is_told_no_more_than_the_scope_covers() {
        let told = |roles: &[Role], scope| principal(roles, scope).cluster_roles().into_iter().collect::<Vec<_>>();
        assert_eq!(told(&[Role::Viewer, Role::Admin], None), [Role::Viewer, Role::Admin]);
        let reads = || Some(held_to(&["*:read"]));
        assert_eq!(told(&[Role::Admin], reads()), [Role::Viewer]);
        assert_eq!(told(&[Role::Viewer, Role::Operator], reads()), [Role::Viewer]);
        assert_eq!(told(&[Role::Admin], Some(held_to(&["users:*"]))), []);
        let by_words = Principal { permissions: Some(words(&["*:read"])), ..principal(&[Role::Admin], None) };
        assert_eq!(by_words.cluster_roles().into_iter().collect::<Vec<_>>(), [Role::Viewer]);
        assert_eq!(principal(&[Role::Viewer, Role::Operator], None).highest_role(), Role::Operator);
        assert_eq!(principal(&[], None).highest_role(), Role::Viewer);
        assert_eq!(Role::ALL.map(|role| Role::parse(role.as_str())), Role::ALL.map(Some));
        assert_eq!(["", "Admin", "root"].map(Role::parse), [None; 3]);
    }

    #[test]
    fn addresses_and_clusters_that_a_credential_is_held_to() {
        let inside: IpAddr = "10.1.2.3".parse().unwrap();
        let outside: IpAddr = "192.0.2.1".parse().unwrap();
        let free = principal(&[Role::Admin], None);
        assert!(!free.has_sources() && free.check_source(outside).is_ok() && !free.is_cluster_bound());
        let sources = Scope { sources: Some(["10.0.0.0/8".to_owned()].into()), ..Scope::default() };
        let held = principal(&[Role::Admin], Some(sources));
        assert!(held.has_sources() && held.check_source(inside).is_ok() && !held.is_cluster_bound());
        assert_eq!(held.check_source(outside).unwrap_err().code, Code::SourceNotAllowed);
        let cluster = |number| ClusterId::from_uuid(uuid::Uuid::from_u128(number));
        let clusters = Scope { clusters: Some([cluster(1)].into()), ..Scope::default() };
        let bound = principal(&[Role::Admin], Some(clusters));
        assert!(!bound.has_sources() && bound.is_cluster_bound());
        assert!(bound.can_see(cluster(1), None) && !bound.can_see(cluster(2), Some(bound.user_id)));
    }

    #[test]
    fn what_is_owned_or_granted_is_seen() {
        let cluster = |number| ClusterId::from_uuid(uuid::Uuid::from_u128(number));
        let who = Principal { reach: Reach::Granted([cluster(1)].into()), ..principal(&[Role::Viewer], None) };
        let other = UserId::from_uuid(uuid::Uuid::from_u128(9));
        for (number, owner, seen) in [
            (1, None, true),
            (1, Some(other), true),
            (2, Some(who.user_id), true),
            (2, Some(other), false),
            (2, None, false),
        ] {
            assert_eq!(who.can_see(cluster(number), owner), seen, "{number} {owner:?}");
        }
    }
}
