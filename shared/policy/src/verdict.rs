use roadstead_contracts::identity::{Action, Decision, Principal};
use roadstead_contracts::ids::RuleId;
use roadstead_contracts::{Code, Error, FieldError, Result};

/// Who changes a rule.
const ADMINS: &str = "an admin of this hub";

/// What a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// A rule: of several that apply, the one that was made first.
    Rule {
        /// Which.
        id: RuleId,
        /// Its name.
        name: String,
    },
    /// The caller's roles grant it.
    Granted,
    /// The credential is held to less.
    Scope,
    /// The cluster does not exist for the caller: to be answered as if it were not there.
    Invisible,
    /// Nothing grants it.
    Missing,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may be done.
    pub allowed: bool,
    /// What was asked for.
    pub action: Action,
    /// Why.
    pub ground: Ground,
}

impl Verdict {
    /// Whether the answer must be that there is no such cluster.
    pub fn is_invisible(&self) -> bool {
        self.ground == Ground::Invisible
    }

    /// The rule that decided.
    pub fn rule(&self) -> Option<(RuleId, &str)> {
        match &self.ground {
            Ground::Rule { id, name } => Some((*id, name)),
            _ => None,
        }
    }

    /// For people: what was decided about whom, why, and whom to ask.
    pub fn decision(&self, principal: &Principal) -> Decision {
        let (resource, verb) = self.action.words();
        let permission = format!("{resource}:{verb}");
        let (reason, ask) = match &self.ground {
            Ground::Rule { name, .. } if self.allowed => (format!("the rule {name} allows {permission}"), None),
            Ground::Rule { name, .. } => (format!("the rule {name} denies {permission}"), Some(ADMINS.to_owned())),
            Ground::Invisible => (
                "the cluster is not there, or was not granted to you".to_owned(),
                Some("whoever owns the cluster, or an admin of this hub, to grant it".to_owned()),
            ),
            Ground::Missing if principal.is_granted(self.action) => (
                format!(
                    "{permission} is missing here: your roles grant it only on clusters that you own or were granted"
                ),
                Some("whoever owns the cluster, or an admin of this hub, to grant it".to_owned()),
            ),
            Ground::Granted | Ground::Scope | Ground::Missing => {
                let decision = principal.decide(self.action);
                (decision.reason, decision.ask)
            }
        };
        Decision { allowed: self.allowed, permission, reason, ask }
    }

    /// Goes on when it is allowed, else answers the refusal.
    pub fn check(&self, principal: &Principal) -> Result<()> {
        if self.allowed { Ok(()) } else { Err(self.refusal(principal)) }
    }

    /// The refusal: the rule or the permission it is about, and whom to ask; "not found" for what is not visible.
    pub fn refusal(&self, principal: &Principal) -> Error {
        if self.is_invisible() {
            return Error::not_found("Cluster not found");
        }
        let Decision { permission, reason, ask, .. } = self.decision(principal);
        let told = ask.map_or_else(|| reason.clone(), |ask| format!("{reason}; ask {ask}"));
        let field = |loc: [&str; 2], kind: &str| FieldError {
            loc: loc.map(str::to_owned).into(),
            msg: told.clone(),
            kind: kind.to_owned(),
        };
        let mut error = Error::of(Code::Forbidden);
        error.errors.push(match &self.ground {
            Ground::Rule { name, .. } => field(["rule", name], "rule_denies"),
            _ => field(["permission", &permission], "permission_missing"),
        });
        error
    }
}
