//! What the store promises, whichever database it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::{ClusterId, UserId};
use roadstead_contracts::message::PageRequest;
use roadstead_contracts::names::Username;
use roadstead_runtime::{Ids, SystemClock};
use roadstead_store::{Opened, Window};
use roadstead_user::domain::{
    ApiKeyChanges, ApiKeyRef, End, NewApiKey, NewPair, NewPassword, NewSecret, NewSession, NewUser, SESSIONS_MAX,
    SessionOrigin, User, UserChanges, UserRef,
};
use roadstead_user::store::{Rotation, Store, TurnIn, UserChange};

/// The audit trail, on the database that it is handed.
pub async fn audit_rows_are_chained_searched_and_pruned(opened: Opened) {
    crate::audit::on_a_store(suite(&opened).await.store.as_ref()).await;
}

/// Requests for access and registrations.
pub async fn place(opened: &Opened) -> crate::store_access::Place {
    let suite = suite(opened).await;
    let (ada, owner) = (suite.user("ada", &[Role::Viewer]).await, suite.user("owner", &[Role::Admin]).await);
    crate::store_access::Place { store: Arc::clone(&suite.store), ids: suite.ids.clone(), now: suite.now, ada, owner }
}

pub async fn access_is_decided_once(opened: Opened) {
    crate::store_access::decided_once(place(&opened).await).await;
}

pub async fn access_races_have_one_winner(opened: Opened) {
    crate::store_access::races_have_one_winner(place(&opened).await).await;
}

pub async fn access_lists_and_bounds(opened: Opened) {
    crate::store_access::lists_and_bounds(place(&opened).await).await;
}

pub async fn access_notices_are_told_in_turn(opened: Opened) {
    crate::store_access::notices_are_told_in_turn(place(&opened).await).await;
}

pub async fn registrations_wait(opened: Opened) {
    crate::store_access::registrations_wait(place(&opened).await).await;
}

pub use crate::policy_store::{changes_of_rules_take_turns, groups_live, rules_live, rules_of_a_removed_account_go};

pub use crate::store_logins::{
    a_provider_ends_its_own_sessions, a_provider_login_is_taken_once_and_in_time,
    a_reset_link_works_once_and_the_newest_only, a_second_factor_lives, a_subject_is_linked_to_one_account,
    accounts_of_machines_are_listed_by_themselves,
};

pub use crate::store_passkeys::{
    a_challenge_is_taken_once_and_in_time, many_challenges_make_room, passkeys_live,
    recovery_codes_stay_with_the_last_second_factor, regression_what_was_begun_with_less_is_over, too_many_passkeys,
};

pub struct Suite {
    pub store: Arc<dyn Store>,
    pub ids: Ids,
    pub now: DateTime<Utc>,
}

pub async fn suite(opened: &Opened) -> Suite {
    roadstead_store::migrations!("user").up(opened).await.unwrap();
    let store: Arc<dyn Store> = roadstead_store::share!(opened => dyn Store);
    let now = DateTime::from_timestamp(1_800_000_000, 123_456_000).unwrap();
    Suite { store, ids: Ids::system(SystemClock::shared()), now }
}

impl Suite {
    pub fn event(&self, user_id: UserId) -> Event {
        Event { id: self.ids.next(), at: self.now, fact: Fact::UserChanged { user_id } }
    }

    fn new_user(&self, name: &str, roles: &[Role]) -> NewUser {
        NewUser {
            id: self.ids.next(),
            username: Username::parse(name).unwrap(),
            email: format!("{name}@example.com"),
            first_name: Some("Ada".to_owned()),
            last_name: None,
            password_hash: "hash".to_owned(),
            roles: roles.iter().copied().collect(),
            created_at: self.now,
        }
    }

    pub async fn user(&self, name: &str, roles: &[Role]) -> User {
        let new = self.new_user(name, roles);
        self.store.insert_user(&new, None, &self.event(new.id)).await.unwrap()
    }

    fn pair(&self, digest: &str) -> NewPair {
        NewPair { id: self.ids.next(), digest: digest.to_owned(), expires_at: self.now + TimeDelta::days(7) }
    }

    async fn session(&self, user: UserId, pair: &NewPair) -> NewSession {
        let origin =
            SessionOrigin { source: Some("192.0.2.1".to_owned()), user_agent: None, device: Some("x".to_owned()) };
        let new = NewSession { id: self.ids.next(), user_id: user, origin, created_at: self.now, pair: pair.clone() };
        self.store.open_session(&new).await.unwrap();
        new
    }

    fn turn_in(&self, pair: &NewPair, new: &NewPair, now: DateTime<Utc>) -> TurnIn {
        TurnIn { pair_id: pair.id, digest: pair.digest.clone(), new: new.clone(), now, event_id: self.ids.next() }
    }
}

pub async fn migrations_go_up_and_down(opened: Opened) {
    let migrator = roadstead_store::migrations!("user");
    let steps = migrator.up(&opened).await.unwrap();
    assert!(steps >= 1);
    assert_eq!(migrator.down(&opened, steps).await.unwrap(), steps);
    assert_eq!(migrator.up(&opened).await.unwrap(), steps);
}

pub async fn users_live(opened: Opened) {
    let suite = suite(&opened).await;
    let store = &suite.store;
    let ada = suite.user("ada", &[Role::Viewer, Role::Operator]).await;
    assert_eq!((ada.seq, ada.username.as_str(), ada.active), (1, "ada", true));
    assert_eq!(ada.roles, BTreeSet::from([Role::Viewer, Role::Operator]));
    assert_eq!((ada.created_at, ada.auth_source.as_str()), (suite.now, "password"));
    for which in [UserRef::Id(ada.id), UserRef::Seq(1), UserRef::Name(Username::parse("ADA").unwrap())] {
        assert_eq!(store.user(&which).await.unwrap().as_ref(), Some(&ada));
    }
    assert_eq!(store.user(&UserRef::Seq(9)).await.unwrap(), None);
    assert_eq!(store.user_for_login("ada").await.unwrap(), Some((ada.clone(), Some("hash".to_owned()))));
    assert_eq!(store.user_for_login("bob").await.unwrap(), None);

    let twin = NewUser { email: "other@example.com".to_owned(), ..suite.new_user("ada", &[]) };
    let fault = store.insert_user(&twin, None, &suite.event(twin.id)).await.unwrap_err();
    assert!(fault.is_conflict("users_username_key"), "{fault:?}");
    let twin = NewUser { email: "ada@example.com".to_owned(), ..suite.new_user("bob", &[]) };
    let fault = store.insert_user(&twin, None, &suite.event(twin.id)).await.unwrap_err();
    assert!(fault.is_conflict("users_email_key"), "{fault:?}");

    let later = suite.now + TimeDelta::seconds(1);
    let changes = UserChanges {
        email: Some("ada@example.org".to_owned()),
        last_name: Some("Lovelace".to_owned()),
        roles: Some([Role::Operator, Role::Admin].into()),
        ..UserChanges::default()
    };
    let changed = store.change_user(ada.id, &changes, ada.id, later, &suite.event(ada.id)).await.unwrap();
    let UserChange::Done(changed) = changed else { panic!("{changed:?}") };
    assert_eq!((changed.first_name.as_deref(), changed.last_name.as_deref()), (Some("Ada"), Some("Lovelace")));
    assert_eq!((changed.updated_at, changed.roles), (later, [Role::Operator, Role::Admin].into()));

    assert!(store.set_password(ada.id, &NewPassword::new("new"), later, &suite.event(ada.id)).await.unwrap());
    store.rehash_password(ada.id, "hash", "stale").await.unwrap();
    assert_eq!(store.user_for_login("ada").await.unwrap().unwrap().1.as_deref(), Some("new"));

    suite.user("root", &[Role::Admin]).await;
    assert!(matches!(store.delete_user(ada.id, &suite.event(ada.id)).await.unwrap(), UserChange::Done(_)));
    assert_eq!(store.delete_user(ada.id, &suite.event(ada.id)).await.unwrap(), UserChange::Missing);
    let gone = store.change_user(ada.id, &changes, ada.id, later, &suite.event(ada.id)).await.unwrap();
    assert_eq!(gone, UserChange::Missing);
    // Numbers are not given out twice.
    assert!(suite.user("cyd", &[]).await.seq > 2);
}

pub async fn users_are_listed_newest_first(opened: Opened) {
    let suite = suite(&opened).await;
    for number in 0..7 {
        suite.user(&format!("user{number}"), &[Role::Viewer]).await;
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let window = Window::of(&PageRequest { limit: 3, offset: 0, cursor }).unwrap();
        let (users, total) = suite.store.users(&window).await.unwrap();
        assert_eq!(total, 7);
        let page = window.page(users, total, |user| user.seq);
        seen.extend(page.items.into_iter().map(|user| user.username));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["user6", "user5", "user4", "user3", "user2", "user1", "user0"]);
}

pub async fn the_last_admin_stays(opened: Opened) {
    let suite = suite(&opened).await;
    let store = &suite.store;
    let root = suite.user("root", &[Role::Admin]).await;
    let off = UserChanges { active: Some(false), ..UserChanges::default() };
    let change = |user: UserId, changes: UserChanges| {
        let (store, event, now) = (Arc::clone(store), suite.event(user), suite.now);
        async move { store.change_user(user, &changes, user, now, &event).await.unwrap() }
    };
    assert_eq!(change(root.id, off.clone()).await, UserChange::LastAdmin);
    assert_eq!(store.delete_user(root.id, &suite.event(root.id)).await.unwrap(), UserChange::LastAdmin);
    let second = suite.user("second", &[Role::Admin]).await;
    // Two admins who take each other away at the same time leave one.
    let (one, two) = tokio::join!(change(root.id, off.clone()), change(second.id, off.clone()));
    let left = [&one, &two].into_iter().filter(|outcome| **outcome == UserChange::LastAdmin).count();
    assert_eq!(left, 1, "{one:?} {two:?}");
}

pub async fn one_first_admin(opened: Opened) {
    let suite = suite(&opened).await;
    assert!(!suite.store.admin_exists().await.unwrap());
    let (one, two) = (suite.new_user("one", &[Role::Admin]), suite.new_user("two", &[Role::Admin]));
    let (first, second) = (suite.event(one.id), suite.event(two.id));
    let (one, two) =
        tokio::join!(suite.store.insert_first_admin(&one, &first), suite.store.insert_first_admin(&two, &second));
    assert_eq!([one.unwrap(), two.unwrap()].into_iter().flatten().count(), 1);
    assert!(suite.store.admin_exists().await.unwrap());
}

pub async fn sessions_live(opened: Opened) {
    let suite = suite(&opened).await;
    let store = &suite.store;
    let ada = suite.user("ada", &[Role::Viewer]).await;
    let bob = suite.user("bob", &[Role::Viewer]).await;
    let pair = suite.pair("d1");
    let session = suite.session(ada.id, &pair).await;
    let known = |pair| store.known_session(session.id, ada.id, pair, suite.now);
    let found = known(Some(pair.id)).await.unwrap().unwrap();
    assert_eq!((found.user.id, found.session.origin, found.pair_seen), (ada.id, session.origin.clone(), false));
    store.mark_pair_used(pair.id, suite.now).await.unwrap();
    assert!(known(Some(pair.id)).await.unwrap().unwrap().pair_seen);
    assert!(known(None).await.unwrap().is_some());
    assert!(known(Some(suite.ids.next())).await.unwrap().is_none(), "a pair that was never given");
    assert!(store.known_session(session.id, bob.id, None, suite.now).await.unwrap().is_none());
    let end = suite.now + TimeDelta::days(7);
    assert!(store.known_session(session.id, ada.id, None, end).await.unwrap().is_none());

    let later = suite.now + TimeDelta::minutes(2);
    store.touch_sessions(&[(session.id, later)]).await.unwrap();
    store.touch_sessions(&[(session.id, suite.now)]).await.unwrap();
    assert_eq!(store.sessions(ada.id, suite.now).await.unwrap()[0].last_used_at, later);

    let other = suite.session(ada.id, &suite.pair("d2")).await;
    assert_eq!(store.sessions(ada.id, suite.now).await.unwrap().len(), 2);
    let event = suite.event(ada.id);
    assert!(!store.end_session(other.id, bob.id, "logout", suite.now, &event).await.unwrap());
    assert_eq!(store.end_other_sessions(ada.id, Some(session.id), suite.now, &event).await.unwrap(), 1);
    assert!(store.end_session(session.id, ada.id, "logout", suite.now, &event).await.unwrap());
    assert!(!store.end_session(session.id, ada.id, "logout", suite.now, &event).await.unwrap());
    assert!(known(None).await.unwrap().is_none());
    suite.session(ada.id, &suite.pair("d3")).await;
    assert_eq!(store.end_other_sessions(ada.id, None, suite.now, &event).await.unwrap(), 1);
    assert_eq!(store.prune_sessions(suite.now).await.unwrap(), 0);
    assert_eq!(store.prune_sessions(suite.now + TimeDelta::seconds(1)).await.unwrap(), 3);

    let session = suite.session(bob.id, &suite.pair("d4")).await;
    let off = UserChanges { active: Some(false), ..UserChanges::default() };
    store.change_user(bob.id, &off, ada.id, suite.now, &event).await.unwrap();
    assert!(store.known_session(session.id, bob.id, None, suite.now).await.unwrap().is_none());
}

pub async fn rotation_finds_reuse(opened: Opened) {
    let suite = suite(&opened).await;
    let store = &suite.store;
    let ada = suite.user("ada", &[Role::Viewer]).await;
    let (first, second, third, fourth) = (suite.pair("d1"), suite.pair("d2"), suite.pair("d3"), suite.pair("d4"));
    let session = suite.session(ada.id, &first).await;
    let wrong = TurnIn { digest: "other".to_owned(), ..suite.turn_in(&first, &second, suite.now) };
    assert!(matches!(store.rotate(&wrong).await.unwrap(), Rotation::Refused));
    let Rotation::Done(done) = store.rotate(&suite.turn_in(&first, &second, suite.now)).await.unwrap() else {
        panic!("not done")
    };
    assert_eq!((done.0.id, done.1.id), (ada.id, session.id));
    // The answer was lost, nobody used it.
    let soon = suite.now + TimeDelta::seconds(5);
    assert!(matches!(store.rotate(&suite.turn_in(&first, &third, soon)).await.unwrap(), Rotation::Done(_)));
    assert!(store.known_session(session.id, ada.id, Some(second.id), soon).await.unwrap().is_none());
    assert!(store.known_session(session.id, ada.id, Some(third.id), soon).await.unwrap().is_some());
    store.mark_pair_used(third.id, soon).await.unwrap();
    assert!(matches!(store.rotate(&suite.turn_in(&first, &fourth, soon)).await.unwrap(), Rotation::Reuse(_)));
    assert!(store.known_session(session.id, ada.id, Some(third.id), soon).await.unwrap().is_none());
    assert!(matches!(store.rotate(&suite.turn_in(&third, &fourth, soon)).await.unwrap(), Rotation::Refused));
    let late = suite.pair("d5");
    suite.session(ada.id, &late).await;
    let end = suite.now + TimeDelta::days(7);
    assert!(matches!(store.rotate(&suite.turn_in(&late, &suite.pair("d6"), end)).await.unwrap(), Rotation::Refused));
}

pub async fn rotation_at_once(opened: Opened) {
    let suite = suite(&opened).await;
    let ada = suite.user("ada", &[Role::Viewer]).await;
    let first = suite.pair("d0");
    let session = suite.session(ada.id, &first).await;
    let fresh: Vec<NewPair> = (1..=8).map(|number| suite.pair(&format!("d{number}"))).collect();
    let mut turning = tokio::task::JoinSet::new();
    for pair in &fresh {
        let (store, turn_in) = (Arc::clone(&suite.store), suite.turn_in(&first, pair, suite.now));
        turning.spawn(async move { store.rotate(&turn_in).await.unwrap() });
    }
    while let Some(outcome) = turning.join_next().await {
        assert!(matches!(outcome.unwrap(), Rotation::Done(_)));
    }
    let mut standing = 0;
    for pair in &fresh {
        let known = suite.store.known_session(session.id, ada.id, Some(pair.id), suite.now).await.unwrap();
        standing += u32::from(known.is_some());
    }
    assert_eq!(standing, 1, "each repeat takes the pair before it back");
}

pub async fn too_many_sessions(opened: Opened) {
    let suite = suite(&opened).await;
    let ada = suite.user("ada", &[Role::Viewer]).await;
    let first = suite.session(ada.id, &suite.pair("first")).await;
    for number in 0..SESSIONS_MAX {
        suite.session(ada.id, &suite.pair(&format!("d{number}"))).await;
    }
    let standing = suite.store.sessions(ada.id, suite.now).await.unwrap();
    assert_eq!(i64::try_from(standing.len()).unwrap(), SESSIONS_MAX);
    assert!(suite.store.known_session(first.id, ada.id, None, suite.now).await.unwrap().is_none());
}

pub async fn api_keys_live(opened: Opened) {
    let suite = suite(&opened).await;
    let store = &suite.store;
    let ada = suite.user("ada", &[Role::Operator]).await;
    let bob = suite.user("bob", &[]).await;
    let new = NewApiKey {
        id: suite.ids.next(),
        user_id: ada.id,
        name: "ci".to_owned(),
        digest: "sealed".to_owned(),
        legacy: false,
        preview: "rsk_".to_owned(),
        expires_at: Some(suite.now + TimeDelta::days(1)),
        created_at: suite.now,
        scope: None,
    };
    let key = store.insert_api_key(&new).await.unwrap().unwrap();
    assert_eq!((key.seq, key.active, key.expires_at, key.last_used_at), (1, true, new.expires_at, None));
    let twin = NewApiKey { id: suite.ids.next(), digest: "other".to_owned(), ..new.clone() };
    let fault = store.insert_api_key(&twin).await.unwrap_err();
    assert!(fault.is_conflict("api_keys_user_id_name_key"), "{fault:?}");
    let bobs = NewApiKey { user_id: bob.id, ..twin };
    assert!(store.insert_api_key(&bobs).await.unwrap().is_some());

    let known = store.known_key(new.id).await.unwrap().unwrap();
    assert_eq!((known.user.id, known.user.roles.len(), known.digest.as_str()), (ada.id, 1, "sealed"));
    assert!(store.known_key(suite.ids.next()).await.unwrap().is_none());
    assert!(store.known_legacy_key("sealed").await.unwrap().is_none());

    assert_eq!(store.api_key(ada.id, ApiKeyRef::Seq(1)).await.unwrap(), Some(key.clone()));
    assert_eq!(store.api_key(ada.id, ApiKeyRef::Id(new.id)).await.unwrap(), Some(key.clone()));
    assert_eq!(store.api_key(bob.id, ApiKeyRef::Seq(1)).await.unwrap(), None);

    let event = suite.event(ada.id);
    let later = suite.now + TimeDelta::minutes(1);
    store.touch_api_keys(&[(new.id, later)]).await.unwrap();
    store.touch_api_keys(&[(new.id, suite.now)]).await.unwrap();
    let changes = ApiKeyChanges { name: Some("build".to_owned()), active: Some(false), ..ApiKeyChanges::default() };
    let changed = store.change_api_key(ada.id, new.id, &changes, later, &event).await.unwrap().unwrap();
    assert_eq!((changed.name.as_str(), changed.active, changed.expires_at), ("build", false, new.expires_at));
    assert_eq!((changed.last_used_at, changed.updated_at), (Some(later), later));
    let changes = ApiKeyChanges {
        end: End::Never,
        secret: Some(NewSecret { digest: "resealed".to_owned(), preview: "rsk_2".to_owned(), previous_until: None }),
        ..ApiKeyChanges::default()
    };
    let changed = store.change_api_key(ada.id, new.id, &changes, later, &event).await.unwrap().unwrap();
    assert_eq!((changed.expires_at, changed.preview.as_str(), changed.active), (None, "rsk_2", false));
    assert_eq!(store.known_key(new.id).await.unwrap().unwrap().digest, "resealed");
    assert!(store.change_api_key(bob.id, new.id, &changes, later, &event).await.unwrap().is_none());
    assert!(!store.delete_api_key(bob.id, new.id, &event).await.unwrap());
    assert!(store.delete_api_key(ada.id, new.id, &event).await.unwrap());
    assert!(store.known_key(new.id).await.unwrap().is_none());
}

pub async fn legacy_keys_go_by_digest(opened: Opened) {
    let suite = suite(&opened).await;
    let ada = suite.user("ada", &[]).await;
    let new = NewApiKey {
        id: suite.ids.next(),
        user_id: ada.id,
        name: "imported".to_owned(),
        digest: "sealed".to_owned(),
        legacy: true,
        preview: "ks_".to_owned(),
        expires_at: None,
        created_at: suite.now,
        scope: None,
    };
    suite.store.insert_api_key(&new).await.unwrap();
    assert_eq!(suite.store.known_legacy_key("sealed").await.unwrap().unwrap().user.id, ada.id);
    assert!(suite.store.known_key(new.id).await.unwrap().is_none(), "it has no public half");
    let secret = NewSecret { digest: "new".to_owned(), preview: "rsk_".to_owned(), previous_until: None };
    let changes = ApiKeyChanges { secret: Some(secret), ..ApiKeyChanges::default() };
    suite.store.change_api_key(ada.id, new.id, &changes, suite.now, &suite.event(ada.id)).await.unwrap();
    assert!(suite.store.known_legacy_key("new").await.unwrap().is_none());
    assert!(suite.store.known_key(new.id).await.unwrap().is_some());
}

pub async fn grants_live(opened: Opened) {
    let suite = suite(&opened).await;
    let store = &suite.store;
    let ada = suite.user("ada", &[]).await;
    let (one, two): (ClusterId, ClusterId) = (suite.ids.next(), suite.ids.next());
    for cluster in [one, two, one] {
        store.grant(ada.id, cluster, ada.id, suite.now, &suite.event(ada.id)).await.unwrap();
    }
    assert_eq!(store.grants(ada.id).await.unwrap(), [one, two].into());
    store.revoke(ada.id, one, &suite.event(ada.id)).await.unwrap();
    store.revoke(ada.id, one, &suite.event(ada.id)).await.unwrap();
    assert_eq!(store.grants(ada.id).await.unwrap(), [two].into());
    store.forget_cluster(two).await.unwrap();
    assert!(store.grants(ada.id).await.unwrap().is_empty());
}

pub async fn the_root_is_pinned_once(opened: Opened) {
    let suite = suite(&opened).await;
    assert_eq!(suite.store.pin_root("one").await.unwrap(), "one");
    assert_eq!(suite.store.pin_root("two").await.unwrap(), "one");
}
