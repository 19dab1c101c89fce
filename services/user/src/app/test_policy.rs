//! What would be decided, by the rules that stand or by a set that is not saved.

use std::collections::BTreeSet;
use std::time::Duration;

use roadstead_bus::CallContext;
use roadstead_contracts::identity::{Action, CredentialKind, Decision, Principal, Reach, Role};
use roadstead_contracts::ids::{ClusterId, TypedId as _, UserId};
use roadstead_contracts::message::GetCluster;
use roadstead_contracts::names::Labels;
use roadstead_contracts::policy::{ClusterFacts, RuleDraft};
use roadstead_contracts::{Code, Error, Result};
use roadstead_policy::{Asked, Object, Place, Policy, Verdict};

use super::App;
use super::change_policy::{at, next_set};
use crate::domain::UserRef;
use crate::policy::{Standing, Strategy};

/// Most questions at once.
pub const QUESTIONS_MAX: usize = 100;
/// How long the registry may take for one cluster.
const REGISTRY_DEADLINE: Duration = Duration::from_secs(3);

/// A question about somebody.
#[derive(Debug, Clone)]
pub struct Question {
    /// An account; without one somebody with these roles and groups, who owns nothing.
    pub user: Option<String>,
    /// Roles of nobody in particular.
    pub roles: BTreeSet<Role>,
    /// Groups of nobody in particular.
    pub groups: BTreeSet<String>,
    /// What it takes.
    pub action: Action,
    /// Name or id of a cluster. One that is not there is asked about as if it were, with these labels.
    pub cluster: Option<String>,
    /// Labels of a cluster that is not there.
    pub labels: Labels,
    /// The namespace; `*` for all of them.
    pub namespace: Option<String>,
    /// `plural.group`.
    pub kind: Option<String>,
    /// Verb of Kubernetes.
    pub verb: Option<String>,
}

/// What would be decided.
#[derive(Debug, Clone)]
pub struct Answer {
    /// By the proposed set.
    pub decision: Decision,
    /// The rule that decides.
    pub rule: Option<String>,
    /// Whether it is allowed now.
    pub now: bool,
}

impl App {
    /// Answers questions by the rules that stand, or by those with others put beside or in the place of them. Nothing is
    /// saved.
    pub async fn test_policy(
        &self,
        by: &Principal,
        drafts: Option<(&[RuleDraft], bool)>,
        questions: &[Question],
        request_id: &str,
    ) -> Result<Vec<Answer>> {
        self.require(by, Action::SystemRead)?;
        if questions.len() > QUESTIONS_MAX {
            let words = format!("at most {QUESTIONS_MAX} questions at once");
            return Err(Error::field(&["body", "questions"], "value_error", words));
        }
        let standing = self.policy.now().await?;
        let proposed = match drafts {
            None => None,
            Some((drafts, replace)) => {
                let (put, remove, _) = self.merged(&standing, drafts, replace)?;
                Some(Policy::compile(next_set(&standing, &put, &remove)))
            }
        };
        let proposed = proposed.as_ref().unwrap_or_else(|| standing.policy());
        let mut answers = Vec::with_capacity(questions.len());
        for (index, question) in questions.iter().enumerate() {
            let asked = self.answer(by, &standing, proposed, question, request_id).await;
            answers.push(asked.map_err(|error| in_question(index, error))?);
        }
        Ok(answers)
    }

    async fn answer(
        &self,
        by: &Principal,
        standing: &Standing,
        proposed: &Policy,
        question: &Question,
        request_id: &str,
    ) -> Result<Answer> {
        let (who, groups) = self.somebody(question, standing).await?;
        let cluster = match &question.cluster {
            None => None,
            Some(which) => Some(self.facts(by, which, &question.labels, request_id).await?),
        };
        let place = match question.namespace.as_deref() {
            None => Place::Cluster,
            Some("*") => Place::EveryNamespace,
            Some(name) => Place::Namespace(name),
        };
        let object = match (&question.kind, &question.verb) {
            (Some(kind), Some(verb)) => Some(Object { verb, kind, also: None, place }),
            (None, None) if question.namespace.is_none() => None,
            _ => {
                let words = "kind and verb must be given together, and with a namespace";
                return Err(Error::field(&["body", "kind"], "value_error", words));
            }
        };
        let asked = Asked { action: question.action, cluster: cluster.as_ref(), object };
        let now = self.clock.now();
        let decide = |policy: &Policy| match self.policy.strategy() {
            // Rules do not count, and the role is the highest.
            Strategy::NoAuth => roadstead_policy::decide(&who, &asked, now),
            _ => policy.decide(&who, &groups, &asked, now),
        };
        let verdict: Verdict = decide(proposed);
        Ok(Answer {
            decision: verdict.decision(&who),
            rule: verdict.rule().map(|(_, name)| name.to_owned()),
            now: decide(standing.policy()).allowed,
        })
    }

    /// Whoever is asked about, and the groups it is in.
    async fn somebody(&self, question: &Question, standing: &Standing) -> Result<(Principal, BTreeSet<String>)> {
        let nobody = CredentialKind::QueuePeer("policy-test".to_owned());
        let Some(which) = &question.user else {
            let id = UserId::from_uuid(uuid::Uuid::nil());
            let mut who = Principal {
                user_id: id,
                user_seq: 0,
                username: String::new(),
                email: String::new(),
                roles: question.roles.clone(),
                reach: if question.roles.contains(&Role::Admin) { Reach::All } else { Reach::Granted([].into()) },
                credential: nobody,
                scope: None,
                permissions: None,
                rules: Vec::new(),
            };
            self.by_strategy(&mut who, &question.groups, standing).await?;
            return Ok((who, question.groups.clone()));
        };
        let found = match UserRef::parse(which) {
            Some(which) => self.store.user(&which).await?,
            None => None,
        };
        let words = "there is no such account";
        let user = found.ok_or_else(|| Error::field(&["body", "user"], "value_error", words))?;
        let groups = self.store.groups(user.id).await?;
        Ok((self.principal(&user, nobody).await?, groups))
    }

    /// What rules look at of a cluster: as the registry has it, or as it would be.
    async fn facts(&self, by: &Principal, which: &str, labels: &Labels, request_id: &str) -> Result<ClusterFacts> {
        let request = GetCluster { principal: by.clone(), cluster: which.to_owned() };
        match self.bus.call(&request, &CallContext::new(REGISTRY_DEADLINE, request_id)).await {
            Ok(cluster) => Ok(cluster.policy_facts()),
            Err(error) if error.code == Code::NotFound => Ok(ClusterFacts {
                id: which.parse().unwrap_or_else(|_| ClusterId::from_uuid(uuid::Uuid::nil())),
                name: Some(which.to_owned()),
                labels: Some(labels.clone()),
                owner: None,
            }),
            Err(error) => Err(error),
        }
    }
}

fn in_question(index: usize, error: Error) -> Error {
    let mut error = at(index, error);
    for fault in &mut error.errors {
        if let Some(list) = fault.loc.iter_mut().find(|part| *part == "rules") {
            "questions".clone_into(list);
        }
    }
    error
}
