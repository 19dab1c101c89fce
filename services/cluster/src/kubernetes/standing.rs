//! Whether callers with open streams still may have them. A stream is checked when it opens; when an account, a session, a
//! key or the policy changes, or at the latest within five seconds, it is checked again and cut when the right is gone or
//! changed. What was opened under a rule with an end is cut at that end by this process's own clock, whoever is away then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, future, stream};
use roadstead_contracts::agent::RequestKind;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{ClusterId, RuleId};
use roadstead_contracts::message::{ActsAs, CredentialProof, Raise};
use roadstead_contracts::policy::{Effect, Rule};
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::Caller;
use roadstead_runtime::Tasks;
use tokio_util::sync::CancellationToken;

use crate::app::Authentication;

/// Between two looks. Answers are believed for three seconds, so five remain even when an event is lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Questions at once: each credential is asked about once, however many streams it has.
const AT_ONCE: usize = 64;

/// The right to streams of one credential. It is looked after while any clone lives.
#[derive(Debug, Clone)]
pub(crate) struct Right(Arc<CancellationToken>);

impl Right {
    /// A right that ends with the token.
    #[cfg(test)]
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self(Arc::new(token))
    }

    /// Runs until the right ends; `None` when it did.
    pub(crate) async fn during<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }
}

/// What a right rests on: a credential, the rule that gave more than its account's roles do, where one did, and what is done
/// as somebody else, where something is: rules about them count as well.
type Ground = (CredentialProof, Option<RuleId>, Option<Deed>);

/// What is done as somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Deed {
    acts_as: ActsAs,
    cluster: ClusterId,
    request: RequestKind,
}

/// Who knows what stands now.
#[async_trait]
pub(crate) trait Judges: Send + Sync {
    /// The time.
    fn now(&self) -> DateTime<Utc>;
    /// Who a credential stands for.
    async fn standing(&self, proof: &CredentialProof) -> Result<Principal>;
    /// Whether a credential may do this as somebody else: whether both may.
    async fn acting(&self, proof: &CredentialProof, somebody: &ActsAs, raise: &Raise) -> Result<()>;
}

#[derive(Debug)]
struct Entry {
    right: Weak<CancellationToken>,
    principal: Arc<Principal>,
    /// What is done as somebody else, as it was judged.
    raise: Option<Arc<Raise>>,
}

impl Entry {
    /// The rule that it rests on.
    fn rule(&self, under: Option<RuleId>) -> Option<&Rule> {
        rule_of(&self.principal, under?)
    }
}

/// The credentials that have streams now.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    entries: Mutex<HashMap<Ground, Entry>>,
}

impl Standing {
    /// The right of a caller who was just let in, `under` a rule where its roles alone would not do, `acting` as somebody
    /// else where that is so.
    pub(crate) fn of(
        &self,
        caller: &Caller,
        under: Option<RuleId>,
        acting: Option<(ActsAs, Raise)>,
        now: DateTime<Utc>,
    ) -> Right {
        let deed = acting.as_ref().map(|(acts_as, Raise { cluster, request })| Deed {
            acts_as: acts_as.clone(),
            cluster: cluster.id,
            request: request.clone(),
        });
        let raise = acting.map(|(_, raise)| Arc::new(raise));
        let ground = (caller.proof.as_ref().clone(), under, deed);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.get(&ground).and_then(|entry| {
            let right = entry.right.upgrade()?;
            (!has_lost(&entry.principal, &caller.principal, under, now) && !right.is_cancelled()).then_some(right)
        });
        if let Some(right) = known {
            return Right(right);
        }
        let right = Arc::new(CancellationToken::new());
        let entry = Entry { right: Arc::downgrade(&right), principal: Arc::clone(&caller.principal), raise };
        let replaced = entries.insert(ground, entry);
        // Streams with the rights of before end: their identity says what is no longer true.
        if let Some(older) = replaced.and_then(|entry| entry.right.upgrade()) {
            older.cancel();
        }
        Right(right)
    }

    /// Looks after the rights until the process stops.
    pub(crate) fn start(self: &Arc<Self>, authentication: Arc<Authentication>, tasks: &Tasks) {
        let (this, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.spawn("kubernetes-standing", async move {
            loop {
                // A process that stops ends this with its last stream, not before.
                if stopping.is_cancelled() && this.is_idle() {
                    return;
                }
                let pause = this.until_next(authentication.now());
                tokio::select! {
                    () = stopping.cancelled(), if !stopping.is_cancelled() => {}
                    () = authentication.changed() => {}
                    () = tokio::time::sleep(pause) => {}
                }
                this.end_in_time(authentication.now());
                let mut look = std::pin::pin!(this.look(&*authentication));
                loop {
                    // Whoever does not answer holds up no end of a rule.
                    let pause = this.until_next(authentication.now());
                    tokio::select! {
                        () = &mut look => break,
                        () = tokio::time::sleep(pause) => this.end_in_time(authentication.now()),
                    }
                }
            }
        });
    }

    fn is_idle(&self) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().all(|entry| entry.right.strong_count() == 0)
    }

    /// How long until somebody must look again: the usual time, or until a rule ends.
    fn until_next(&self, now: DateTime<Utc>) -> Duration {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let open = entries.iter().filter(|(_, entry)| entry.right.upgrade().is_some_and(|right| !right.is_cancelled()));
        let ends = open.filter_map(|((_, under, _), entry)| entry.rule(*under)?.until);
        let left = ends.filter_map(|end| (end - now).to_std().ok()).min();
        left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY))
    }

    /// Cuts what rests on a rule whose time is over. Asks nobody.
    fn end_in_time(&self, now: DateTime<Utc>) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, under, _), entry) in entries.iter() {
            if entry.rule(*under).is_some_and(|rule| !rule.stands(now))
                && let Some(right) = entry.right.upgrade()
            {
                right.cancel();
            }
        }
    }

    async fn look(&self, judges: &dyn Judges) {
        let mut acting = Vec::new();
        let open: HashMap<CredentialProof, Vec<_>> = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|_, entry| entry.right.strong_count() > 0);
            let mut open: HashMap<_, Vec<_>> = HashMap::new();
            for ((proof, under, deed), entry) in entries.iter() {
                let Some(right) = entry.right.upgrade().filter(|right| !right.is_cancelled()) else { continue };
                if let (Some(deed), Some(raise)) = (deed, &entry.raise) {
                    acting.push((proof.clone(), deed.acts_as.clone(), Arc::clone(raise), Arc::clone(&right)));
                }
                open.entry(proof.clone()).or_default().push((*under, Arc::clone(&entry.principal), right));
            }
            open
        };
        let looks = stream::iter(open).map(|(proof, rights)| async move {
            let answer = judges.standing(&proof).await;
            let now = judges.now();
            for (under, principal, right) in rights {
                if has_ended(&principal, &answer, under, now) {
                    right.cancel();
                }
            }
        });
        let asks = stream::iter(acting).map(|(proof, somebody, raise, right)| async move {
            if judges.acting(&proof, &somebody, &raise).await.is_err_and(|error| is_no(&error)) {
                right.cancel();
            }
        });
        let looks = looks.buffer_unordered(AT_ONCE).collect::<()>();
        future::join(looks, asks.buffer_unordered(AT_ONCE).collect::<()>()).await;
    }
}

#[async_trait]
impl Judges for Authentication {
    fn now(&self) -> DateTime<Utc> {
        Authentication::now(self)
    }

    async fn standing(&self, proof: &CredentialProof) -> Result<Principal> {
        Authentication::standing(self, proof).await
    }

    async fn acting(&self, proof: &CredentialProof, somebody: &ActsAs, raise: &Raise) -> Result<()> {
        Authentication::acting(self, proof, somebody, raise).await
    }
}

/// A refusal, and not an outage.
fn is_no(error: &Error) -> bool {
    matches!(error.code.status(), 401 | 403 | 404)
}

/// When nobody answers, what was open stays open: an outage of the user service is no revocation.
fn has_ended(principal: &Principal, answer: &Result<Principal>, under: Option<RuleId>, now: DateTime<Utc>) -> bool {
    match answer {
        Ok(newer) => has_lost(principal, newer, under, now),
        Err(error) => is_no(error),
    }
}

/// Whether something is gone that a stream was opened with. More rights than then are no reason to cut it.
fn has_lost(then: &Principal, newer: &Principal, under: Option<RuleId>, now: DateTime<Utc>) -> bool {
    let same = then.username == newer.username
        && then.roles == newer.roles
        && then.reach == newer.reach
        && then.scope == newer.scope
        && then.permissions == newer.permissions;
    let denied =
        newer.rules.iter().any(|rule| rule.effect == Effect::Deny && rule.stands(now) && !then.rules.contains(rule));
    let held = under
        .is_none_or(|id| rule_of(newer, id).is_some_and(|rule| rule.stands(now) && rule_of(then, id) == Some(rule)));
    !same || denied || !held
}

fn rule_of(principal: &Principal, id: RuleId) -> Option<&Rule> {
    principal.rules.iter().find(|rule| rule.id == id)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use roadstead_contracts::Code;
    use roadstead_contracts::identity::{CredentialKind, Reach, Role};
    use roadstead_contracts::ids::{ApiKeyId, SessionId, TypedId as _, UserId};
    use roadstead_contracts::policy::{ClusterFacts, ClustersDraft, RuleDraft};
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn rule(number: u128, effect: Effect, until: Option<i64>) -> Rule {
        let draft = RuleDraft {
            name: format!("r{number}"),
            effect,
            subjects: vec!["user:ada".to_owned()],
            permissions: vec!["operations:write".to_owned()],
            clusters: ClustersDraft::default(),
            namespaces: vec!["shop".to_owned()],
            kinds: Vec::new(),
            verbs: Vec::new(),
            until: until.map(at),
            reason: None,
        };
        draft.checked(RuleId::from_uuid(Uuid::from_u128(number))).unwrap()
    }

    fn caller(rules: &[&Rule]) -> Caller {
        let session_id = SessionId::from_uuid(Uuid::from_u128(2));
        let user_id = UserId::from_uuid(Uuid::from_u128(1));
        let principal = Principal {
            user_id,
            user_seq: 1,
            username: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
            roles: [Role::Viewer].into(),
            reach: Reach::All,
            credential: CredentialKind::ApiKey(ApiKeyId::from_uuid(Uuid::from_u128(3))),
            scope: None,
            permissions: None,
            rules: rules.iter().map(|rule| (*rule).clone()).collect(),
        };
        let proof = CredentialProof::Session { session_id, user_id, pair_id: None };
        Caller { principal: Arc::new(principal), proof: Arc::new(proof) }
    }

    fn is_cut(right: &Right) -> bool {
        right.0.is_cancelled()
    }

    #[test]
    fn a_rules_end_cuts_what_was_opened_under_it_and_nothing_else() {
        let standing = Standing::default();
        let (given, other) = (rule(1, Effect::Allow, Some(60)), rule(2, Effect::Allow, Some(90)));
        let who = caller(&[&given, &other]);
        let own = standing.of(&who, None, None, at(0));
        let under = standing.of(&who, Some(given.id), None, at(0));
        let under_other = standing.of(&who, Some(other.id), None, at(0));
        assert_eq!(standing.until_next(at(59)), Duration::from_secs(1), "not the usual two");
        standing.end_in_time(at(59));
        assert!(!is_cut(&under));
        // At the very instant of its end a rule does not stand.
        standing.end_in_time(at(60));
        assert!(is_cut(&under) && !is_cut(&own) && !is_cut(&under_other));
        assert_eq!(standing.until_next(at(60)), LOOK_EVERY);
    }

    #[test]
    fn more_rights_cut_nothing_and_fewer_do() {
        let (given, denies) = (rule(1, Effect::Allow, Some(60)), rule(2, Effect::Deny, None));
        let (bare, with) = (caller(&[]), caller(&[&given]));
        let lost = |then: &Caller, newer: &Caller, under: Option<RuleId>| {
            has_lost(&then.principal, &newer.principal, under, at(0))
        };
        assert!(!lost(&bare, &with, None), "a rule was given");
        assert!(!lost(&with, &bare, None), "it did not rest on the rule");
        assert!(lost(&with, &bare, Some(given.id)), "the rule is gone before its time");
        let longer = rule(1, Effect::Allow, Some(70));
        assert!(lost(&with, &caller(&[&longer]), Some(given.id)), "the rule is another one");
        assert!(lost(&with, &caller(&[&given, &denies]), Some(given.id)) && lost(&bare, &caller(&[&denies]), None));
        assert!(!lost(&caller(&[&denies]), &bare, None), "a denial was taken away");
    }

    #[test]
    fn rights_are_shared_and_replaced() {
        let standing = Standing::default();
        let given = rule(1, Effect::Allow, Some(60));
        let with = caller(&[&given]);
        let first = standing.of(&with, Some(given.id), None, at(0));
        assert!(Arc::ptr_eq(&first.0, &standing.of(&with, Some(given.id), None, at(1)).0));
        // Given again, with another end: what was opened before ends.
        let again = caller(&[&rule(1, Effect::Allow, Some(120))]);
        let second = standing.of(&again, Some(given.id), None, at(2));
        assert!(is_cut(&first) && !is_cut(&second));
    }

    /// The caller is in good standing; what is asked of an account by this name is answered so.
    struct Denies(&'static str, Code, AtomicUsize);

    #[async_trait]
    impl Judges for Denies {
        fn now(&self) -> DateTime<Utc> {
            at(0)
        }

        async fn standing(&self, _: &CredentialProof) -> Result<Principal> {
            Ok(caller(&[]).principal.as_ref().clone())
        }

        async fn acting(&self, _: &CredentialProof, somebody: &ActsAs, raise: &Raise) -> Result<()> {
            assert_eq!(raise.request.kind.as_deref(), Some("pods"));
            self.2.fetch_add(1, Ordering::Relaxed);
            if somebody.user == self.0 { Err(self.1.into()) } else { Ok(()) }
        }
    }

    fn acting(user: &str) -> (ActsAs, Raise) {
        let cluster = ClusterFacts::unknown(ClusterId::from_uuid(Uuid::from_u128(9)));
        let request = RequestKind::of("watch", "pods", Some("shop"));
        (ActsAs { user: user.to_owned(), roles: [Role::Viewer].into() }, Raise { cluster, request })
    }

    #[tokio::test]
    async fn regression_a_denial_of_whom_is_acted_as_cuts() {
        let (standing, who) = (Standing::default(), caller(&[]));
        let own = standing.of(&who, None, None, at(0));
        let as_bob = standing.of(&who, None, Some(acting("bob")), at(0));
        let as_eve = standing.of(&who, None, Some(acting("eve")), at(0));
        assert!(Arc::ptr_eq(&as_bob.0, &standing.of(&who, None, Some(acting("bob")), at(1)).0), "asked about once");
        let all = Denies("nobody", Code::Forbidden, AtomicUsize::new(0));
        standing.look(&all).await;
        assert!(!is_cut(&as_bob) && !is_cut(&as_eve) && !is_cut(&own));
        assert_eq!(all.2.load(Ordering::Relaxed), 2);
        // When nobody answers, what was open stays open.
        standing.look(&Denies("bob", Code::Unavailable, AtomicUsize::new(0))).await;
        assert!(!is_cut(&as_bob));
        standing.look(&Denies("bob", Code::Forbidden, AtomicUsize::new(0))).await;
        assert!(is_cut(&as_bob) && !is_cut(&as_eve) && !is_cut(&own));
        // The key lost its right to act as others.
        standing.look(&Denies("eve", Code::ImpersonationDenied, AtomicUsize::new(0))).await;
        assert!(is_cut(&as_eve) && !is_cut(&own));
    }

    #[test]
    fn when_nobody_answers_streams_stay_until_their_time() {
        let given = rule(1, Effect::Allow, Some(60));
        let with = caller(&[&given]);
        let away: Result<Principal> = Err(Code::Unavailable.into());
        assert!(!has_ended(&with.principal, &away, Some(given.id), at(0)));
        let gone: Result<Principal> = Err(Code::InvalidCredential.into());
        assert!(has_ended(&with.principal, &gone, None, at(0)));
    }
}
