//! Requests for access and registrations, whichever database they are in.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::message::PageRequest;
use roadstead_runtime::Ids;
use roadstead_store::Window;
use roadstead_user::domain::{
    AccessDecision, AccessEnd, AccessRequest, AccessState, NewAccessRequest, NewUser, Notice, OPEN_MAX,
    REGISTRATION_LIFE, RegistrationState, User, Wanted,
};
use roadstead_user::store::{AccessFilter, Store};

pub struct Place {
    pub store: Arc<dyn Store>,
    pub ids: Ids,
    pub now: DateTime<Utc>,
    pub ada: User,
    pub owner: User,
}

impl Place {
    fn event(&self) -> Event {
        Event { id: self.ids.next(), at: self.now, fact: Fact::PolicyChanged {} }
    }

    fn new_request(&self) -> NewAccessRequest {
        let wanted = Wanted {
            role: Some(Role::Operator),
            permissions: BTreeSet::new(),
            clusters: ["prod".to_owned()].into(),
            labels: Some("env=prod".to_owned()),
            namespaces: ["shop".to_owned()].into(),
            seconds: 600,
            reason: "the shop is down".to_owned(),
        };
        NewAccessRequest {
            id: self.ids.next(),
            user_id: self.ada.id,
            username: self.ada.username.clone(),
            wanted,
            created_at: self.now,
            lapses_at: self.now + TimeDelta::hours(1),
        }
    }

    async fn request(&self) -> AccessRequest {
        self.store.insert_access_request(&self.new_request(), None).await.unwrap().unwrap()
    }

    fn decision(&self, request: &AccessRequest, state: AccessState) -> AccessDecision {
        let until = self.now + TimeDelta::seconds(600);
        let rule = (state == AccessState::Approved)
            .then(|| request.wanted.rule(request.id, self.ids.next(), "ada", Vec::new(), until).unwrap());
        AccessDecision {
            id: request.id,
            state,
            at: self.now,
            by: self.owner.id,
            by_name: "owner".to_owned(),
            note: Some("go on".to_owned()),
            rule,
        }
    }

    async fn decide(&self, decision: &AccessDecision) -> Option<AccessRequest> {
        self.store.decide_access(decision, Some(&self.event()), None).await.unwrap()
    }

    async fn rules(&self) -> usize {
        self.store.policy_rules().await.unwrap().1.len()
    }
}

pub async fn decided_once(place: Place) {
    let asked = place.request().await;
    assert_eq!(place.store.access_request(asked.id).await.unwrap().as_ref(), Some(&asked));
    assert_eq!((asked.state, asked.seq), (AccessState::Pending, 1));
    let approval = place.decision(&asked, AccessState::Approved);
    let given = place.decide(&approval).await.unwrap();
    assert_eq!((given.state, given.until), (AccessState::Approved, Some(place.now + TimeDelta::seconds(600))));
    assert_eq!((given.decided_by_name.as_deref(), given.note.as_deref()), (Some("owner"), Some("go on")));
    assert_eq!(place.rules().await, 1);
    for state in [AccessState::Approved, AccessState::Denied, AccessState::Withdrawn] {
        assert_eq!(place.decide(&place.decision(&asked, state)).await, None, "{state:?} after the approval");
    }
    assert_eq!(place.rules().await, 1, "a decision that does not count makes no rule");

    // Over at the very instant of its end, whether something swept or not.
    let end = place.now + TimeDelta::seconds(600);
    assert_eq!(given.state_at(end - TimeDelta::microseconds(1)), AccessState::Approved);
    assert_eq!(given.state_at(end), AccessState::Ended);
    assert!(place.store.access_over(end - TimeDelta::microseconds(1), 9).await.unwrap().is_empty());
    assert_eq!(place.store.access_over(end, 9).await.unwrap().len(), 1);
    let ending = AccessEnd { id: asked.id, at: end, by_name: None };
    let ended = place.store.end_access(&ending, &place.event(), None).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.ended_at), (AccessState::Ended, Some(end)));
    assert_eq!(place.rules().await, 0);
    assert_eq!(place.store.end_access(&ending, &place.event(), None).await.unwrap(), None);

    // Nobody decided in time.
    let late = place.request().await;
    let decision = AccessDecision { at: late.lapses_at, ..place.decision(&late, AccessState::Denied) };
    assert_eq!(place.decide(&decision).await, None);
}

pub async fn races_have_one_winner(place: Place) {
    for round in 0..8 {
        let asked = place.request().await;
        let one = place.decision(&asked, AccessState::Approved);
        let other = place.decision(&asked, if round % 2 == 0 { AccessState::Approved } else { AccessState::Withdrawn });
        let (first, second) = tokio::join!(place.decide(&one), place.decide(&other));
        assert!(first.is_some() != second.is_some(), "round {round}: {first:?} {second:?}");
        let approved = first.is_some() || round % 2 == 0;
        assert_eq!(place.rules().await, usize::from(approved), "round {round}");
        if approved {
            let end = AccessEnd { id: asked.id, at: place.now, by_name: Some("ada".to_owned()) };
            let (event, again) = (place.event(), place.event());
            let ends =
                tokio::join!(place.store.end_access(&end, &event, None), place.store.end_access(&end, &again, None));
            assert!(ends.0.unwrap().is_some() != ends.1.unwrap().is_some());
        }
        assert_eq!(place.rules().await, 0);
    }
}

pub async fn lists_and_bounds(place: Place) {
    for _ in 0..OPEN_MAX {
        place.request().await;
    }
    assert_eq!(place.store.insert_access_request(&place.new_request(), None).await.unwrap(), None);
    let window = Window::of(&PageRequest { limit: 5, offset: 0, cursor: None }).unwrap();
    let list = async |filter: AccessFilter| place.store.access_requests(&window, &filter).await.unwrap();
    let (rows, total) = list(AccessFilter::default()).await;
    assert_eq!((rows.len(), total, rows[0].seq), (6, OPEN_MAX.unsigned_abs(), OPEN_MAX));
    let pending = |now| AccessFilter { user: None, state: Some((AccessState::Pending, now)) };
    assert_eq!(list(pending(place.now)).await.1, OPEN_MAX.unsigned_abs());
    assert_eq!(list(pending(place.now + TimeDelta::hours(1))).await.1, 0, "all have lapsed");
    let given = place.decide(&place.decision(&rows[0], AccessState::Approved)).await.unwrap();
    let ended = |now| AccessFilter { user: Some(place.ada.id), state: Some((AccessState::Ended, now)) };
    assert_eq!(list(ended(place.now)).await.1, 0);
    assert_eq!(list(ended(given.until.unwrap())).await.1, 1);
    assert_eq!(list(AccessFilter { user: Some(place.owner.id), state: None }).await.1, 0);

    // An account that is removed takes its requests along.
    place.store.delete_user(place.ada.id, &place.event()).await.unwrap();
    assert_eq!(list(AccessFilter::default()).await.1, 0);
    assert_eq!(place.rules().await, 0, "and what it was given");
}

pub async fn notices_are_told_in_turn(place: Place) {
    let notice = Notice { id: place.ids.uuid(), body: "{}".to_owned(), attempts: 0 };
    place.store.insert_access_request(&place.new_request(), Some(&notice)).await.unwrap();
    let again = place.now + TimeDelta::seconds(30);
    let claim = async |now| place.store.claim_notice(now, now + TimeDelta::seconds(30)).await.unwrap();
    assert_eq!(claim(place.now - TimeDelta::seconds(1)).await, None);
    assert_eq!(claim(place.now).await.as_ref(), Some(&notice));
    assert_eq!(claim(place.now).await, None, "another replica tells it");
    place.store.notice_failed(notice.id, again).await.unwrap();
    assert_eq!(claim(again).await.map(|notice| notice.attempts), Some(1));
    place.store.notice_told(notice.id).await.unwrap();
    assert_eq!(claim(again + TimeDelta::days(1)).await, None);
}

fn registration(place: &Place, name: &str) -> NewUser {
    NewUser {
        id: place.ids.next(),
        username: roadstead_contracts::names::Username::parse(name).unwrap(),
        email: format!("{name}@example.com"),
        first_name: None,
        last_name: None,
        password_hash: "hash".to_owned(),
        roles: BTreeSet::new(),
        created_at: place.now,
    }
}

pub async fn registrations_wait(place: Place) {
    let store = &place.store;
    let roles = BTreeSet::from([Role::Viewer]);
    let until = place.now + REGISTRATION_LIFE;
    let confirm =
        async |id: UserId, now| store.confirm_registration(id, &roles, place.owner.id, now, &place.event()).await;
    let (bob, cyd) = (registration(&place, "bob"), registration(&place, "cyd"));
    for new in [&bob, &cyd] {
        assert!(store.insert_registration(new, until).await.unwrap());
    }
    for (name, rule) in [("ada", "users_username_key"), ("bob", "users_username_key")] {
        let fault = store.insert_registration(&registration(&place, name), until).await.unwrap_err();
        assert!(fault.is_conflict(rule), "{fault:?}");
    }
    let twin = NewUser { email: bob.email.clone(), ..registration(&place, "dan") };
    assert!(store.insert_registration(&twin, until).await.unwrap_err().is_conflict("users_email_key"));
    assert_eq!(store.user_for_login("bob").await.unwrap(), None, "nobody logs in before");

    let (one, other) = tokio::join!(confirm(bob.id, place.now), confirm(bob.id, place.now));
    let made: Vec<User> = [one.unwrap(), other.unwrap()].into_iter().flatten().collect();
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].id, &made[0].roles), (bob.id, &roles));
    assert_eq!(store.user_for_login("bob").await.unwrap().unwrap().1.as_deref(), Some("hash"));
    assert!(store.reject_registration(cyd.id, place.now).await.unwrap());
    assert!(!store.reject_registration(cyd.id, place.now).await.unwrap());
    assert!(confirm(cyd.id, place.now).await.unwrap().is_none());
    let state = async |id: UserId, now| store.registration(id, now).await.unwrap().map(|(state, _)| state);
    assert_eq!(state(bob.id, place.now).await, Some(RegistrationState::Confirmed));
    assert_eq!(state(cyd.id, place.now).await, Some(RegistrationState::Rejected));

    // A name whose registration is over is free again.
    let eve = registration(&place, "eve");
    assert!(store.insert_registration(&eve, until).await.unwrap());
    assert_eq!(state(eve.id, until).await, Some(RegistrationState::Expired));
    assert!(confirm(eve.id, until).await.unwrap().is_none());
    let again = NewUser { created_at: until, ..registration(&place, "eve") };
    assert!(store.insert_registration(&again, until + REGISTRATION_LIFE).await.unwrap());
    assert_eq!(state(place.ids.next(), until).await, None);
}
