//! Logins through providers, local accounts' second factors and links, accounts of machines: whichever database they are in.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::names::Username;
use roadstead_store::Opened;
use roadstead_user::domain::{
    FROM_PROVIDER, FROM_SERVICE, LoginCode, Loopback, NewAccount, NewPair, NewReset, NewSession, ProviderLogin,
    SessionOrigin, SignIn, TakenReset,
};
use roadstead_user::store::ProviderLogout;

use crate::store_access::Place;
use crate::store_suite::place;

const ISSUER: &str = "https://idp.example";

fn sign_in(subject: &str, session: Option<&str>) -> SignIn {
    SignIn {
        provider: "corp".to_owned(),
        issuer: ISSUER.to_owned(),
        subject: subject.to_owned(),
        provider_session: session.map(str::to_owned),
        sealed_id_token: Some("sealed".to_owned()),
    }
}

fn account(place: &Place, name: &str, source: &'static str) -> NewAccount {
    NewAccount {
        id: place.ids.next(),
        username: Username::parse(name).unwrap(),
        email: format!("{name}@corp.example"),
        first_name: None,
        last_name: None,
        source,
        roles: BTreeSet::from([Role::Viewer]),
        created_at: place.now,
    }
}

fn created(place: &Place, user_id: UserId) -> Event {
    Event { id: place.ids.next(), at: place.now, fact: Fact::UserCreated { user_id } }
}

async fn session(place: &Place, user_id: UserId, sign_in: &SignIn) -> NewSession {
    let pair = NewPair {
        id: place.ids.next(),
        digest: place.ids.uuid().to_string(),
        expires_at: place.now + TimeDelta::days(7),
    };
    let origin = SessionOrigin { source: None, user_agent: None, device: None };
    let new = NewSession { id: place.ids.next(), user_id, origin, created_at: place.now, pair };
    place.store.open_sign_in(&new, sign_in).await.unwrap();
    new
}

pub async fn a_provider_login_is_taken_once_and_in_time(opened: Opened) {
    let place = place(&opened).await;
    let loopback = Loopback { port: 4_321, state: "s".to_owned(), challenge: "c".to_owned() };
    let login = |state: &str, seconds: i64| ProviderLogin {
        state: state.to_owned(),
        provider: "corp".to_owned(),
        binding: "bound".to_owned(),
        next: Some("/".to_owned()),
        loopback: Some(loopback.clone()),
        expires_at: place.now + TimeDelta::seconds(seconds),
    };
    let (store, now) = (&place.store, place.now);
    assert!(store.begin_provider_login(&login("a", 60), now).await.unwrap());
    assert!(store.begin_provider_login(&login("late", 1), now).await.unwrap());
    let (one, two) = tokio::join!(store.take_provider_login("a", now), store.take_provider_login("a", now));
    let taken: Vec<ProviderLogin> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
    assert_eq!(taken, [login("a", 60)]);
    assert_eq!(store.take_provider_login("late", now + TimeDelta::seconds(2)).await.unwrap(), None);
    assert_eq!(store.take_provider_login("unknown", now).await.unwrap(), None);

    let code = LoginCode {
        digest: "d".to_owned(),
        challenge: "c".to_owned(),
        user_id: place.ada.id,
        sign_in: sign_in("ada", None),
        expires_at: now + TimeDelta::seconds(60),
    };
    store.insert_login_code(&code, now).await.unwrap();
    let found = store.take_login_code("d", now).await.unwrap().unwrap();
    assert_eq!((found.user_id, found.sign_in), (place.ada.id, sign_in("ada", None)));
    assert!(store.take_login_code("d", now).await.unwrap().is_none());
    store.insert_login_code(&code, now).await.unwrap();
    assert!(store.take_login_code("d", now + TimeDelta::seconds(61)).await.unwrap().is_none());
}

pub async fn a_subject_is_linked_to_one_account(opened: Opened) {
    let place = place(&opened).await;
    let (store, now) = (&place.store, place.now);
    assert!(store.account_of_subject(ISSUER, "bob", now).await.unwrap().is_none());
    let new = account(&place, "bob", FROM_PROVIDER);
    let link = sign_in("bob", None);
    let bob = store.insert_account(&new, Some(&link), None, &created(&place, new.id)).await.unwrap();
    assert_eq!((bob.username.as_str(), bob.auth_source.as_str(), bob.active), ("bob", FROM_PROVIDER, true));
    assert_eq!(store.account_of_subject(ISSUER, "bob", now).await.unwrap().unwrap().id, bob.id);
    assert!(store.account_of_subject("https://other.example", "bob", now).await.unwrap().is_none());
    assert_eq!(store.account_by_email("bob@corp.example").await.unwrap().unwrap().id, bob.id);
    store.link_subject(place.ada.id, &sign_in("ada", None), now).await.unwrap();
    assert_eq!(store.account_of_subject(ISSUER, "ada", now).await.unwrap().unwrap().id, place.ada.id);
    // Nobody takes a subject over.
    assert!(store.link_subject(bob.id, &sign_in("ada", None), now).await.is_err());
    let twin = NewAccount { email: "other@corp.example".to_owned(), ..account(&place, "bob", FROM_PROVIDER) };
    let fault = store.insert_account(&twin, None, None, &created(&place, twin.id)).await.unwrap_err();
    assert!(fault.is_conflict("users_username_key"), "{fault:?}");
    // What was refused left no link behind.
    let taken = NewAccount { ..account(&place, "carl", FROM_PROVIDER) };
    assert!(store.insert_account(&taken, Some(&link), None, &created(&place, taken.id)).await.is_err());
    assert!(store.account_by_email("carl@corp.example").await.unwrap().is_none());
}

pub async fn accounts_of_machines_are_listed_by_themselves(opened: Opened) {
    let place = place(&opened).await;
    for name in ["robot-1", "robot-2"] {
        let new = account(&place, name, FROM_SERVICE);
        place.store.insert_account(&new, None, Some(place.owner.id), &created(&place, new.id)).await.unwrap();
    }
    let names = |users: Vec<roadstead_user::domain::User>| {
        users.into_iter().map(|user| user.username.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(place.store.accounts_from(FROM_SERVICE).await.unwrap()), ["robot-2", "robot-1"]);
    assert!(place.store.accounts_from(FROM_PROVIDER).await.unwrap().is_empty());
    // They have no password to log in with.
    assert!(place.store.user_for_login("robot-1").await.unwrap().is_none_or(|(_, hash)| hash.is_none()));
}

pub async fn a_provider_ends_its_own_sessions(opened: Opened) {
    let place = place(&opened).await;
    let (store, now, ada) = (&place.store, place.now, place.ada.id);
    let first = session(&place, ada, &sign_in("ada", Some("p-1"))).await;
    let second = session(&place, ada, &sign_in("ada", Some("p-2"))).await;
    let other = session(&place, place.owner.id, &sign_in("owner", Some("p-3"))).await;
    assert_eq!(store.sign_in_of(first.id).await.unwrap(), Some(sign_in("ada", Some("p-1"))));
    assert_eq!(store.sign_in_of(place.ids.next()).await.unwrap(), None);
    let ids = place.ids.clone();
    let next = move || ids.next();
    let logout = |session: Option<&str>, subject: Option<&str>| ProviderLogout {
        issuer: ISSUER.to_owned(),
        session: session.map(str::to_owned),
        subject: subject.map(str::to_owned),
    };
    let foreign = ProviderLogout { issuer: "https://other.example".to_owned(), ..logout(Some("p-1"), None) };
    assert_eq!(store.end_provider_sessions(&foreign, now, &next).await.unwrap(), 0);
    // A session of somebody else is not ended in their name.
    assert_eq!(store.end_provider_sessions(&logout(Some("p-1"), Some("owner")), now, &next).await.unwrap(), 0);
    assert_eq!(store.end_provider_sessions(&logout(Some("p-1"), Some("ada")), now, &next).await.unwrap(), 1);
    let known = async |session: &NewSession| {
        store.known_session(session.id, session.user_id, None, now).await.unwrap().is_some()
    };
    assert_eq!((known(&first).await, known(&second).await, known(&other).await), (false, true, true));
    assert_eq!(store.end_provider_sessions(&logout(None, Some("ada")), now, &next).await.unwrap(), 1);
    assert_eq!((known(&second).await, known(&other).await), (false, true));
    assert_eq!(store.end_provider_sessions(&logout(None, None), now, &next).await.unwrap(), 0);
}

pub async fn a_reset_link_works_once_and_the_newest_only(opened: Opened) {
    let place = place(&opened).await;
    let (store, now) = (&place.store, place.now);
    let link = |digest: &str| NewReset {
        id: place.ids.uuid(),
        user_id: place.ada.id,
        digest: digest.to_owned(),
        created_by: place.owner.id,
        expires_at: now + TimeDelta::hours(1),
        remove_second_factors: digest == "newer",
    };
    let (older, newer) = (link("older"), link("newer"));
    store.insert_reset(&older).await.unwrap();
    store.insert_reset(&newer).await.unwrap();
    assert_eq!(store.take_reset(older.id, "older", now).await.unwrap(), None);
    assert_eq!(store.take_reset(newer.id, "wrong", now).await.unwrap(), None);
    assert_eq!(store.take_reset(newer.id, "newer", now + TimeDelta::hours(1)).await.unwrap(), None);
    let (one, two) = tokio::join!(store.take_reset(newer.id, "newer", now), store.take_reset(newer.id, "newer", now));
    let taken = TakenReset { user_id: place.ada.id, remove_second_factors: true };
    assert_eq!([one.unwrap(), two.unwrap()].into_iter().flatten().collect::<Vec<_>>(), [taken]);
    let plain = NewReset { remove_second_factors: false, ..link("plain") };
    store.insert_reset(&plain).await.unwrap();
    let taken = store.take_reset(plain.id, "plain", now).await.unwrap().unwrap();
    assert!(!taken.remove_second_factors);
}

pub async fn a_second_factor_lives(opened: Opened) {
    let place = place(&opened).await;
    let (store, now, ada) = (&place.store, place.now, place.ada.id);
    assert!(store.authenticator(ada).await.unwrap().is_none());
    assert!(store.begin_authenticator(ada, "first", now).await.unwrap());
    assert!(store.begin_authenticator(ada, "second", now).await.unwrap(), "one that is not confirmed is replaced");
    let codes = ["one".to_owned(), "two".to_owned()];
    assert!(store.confirm_authenticator(ada, 7, &codes, now).await.unwrap());
    assert!(!store.confirm_authenticator(ada, 8, &[], now).await.unwrap());
    assert!(!store.begin_authenticator(ada, "third", now).await.unwrap(), "a confirmed one stays");
    let kept = store.authenticator(ada).await.unwrap().unwrap();
    assert_eq!((kept.sealed_secret.as_str(), kept.confirmed, kept.last_step), ("second", true, 7));
    // A step is spent once, and with it all before.
    let (one, two) = tokio::join!(store.spend_step(ada, 9), store.spend_step(ada, 9));
    assert_eq!([one.unwrap(), two.unwrap()].into_iter().filter(|spent| *spent).count(), 1);
    assert!(!store.spend_step(ada, 8).await.unwrap());
    assert_eq!(store.recovery_codes_left(ada).await.unwrap(), 2);
    let (one, two) =
        tokio::join!(store.spend_recovery_code(ada, "one", now), store.spend_recovery_code(ada, "one", now));
    assert_eq!([one.unwrap(), two.unwrap()].into_iter().filter(|spent| *spent).count(), 1);
    assert!(!store.spend_recovery_code(ada, "none", now).await.unwrap());
    assert!(!store.spend_recovery_code(place.owner.id, "two", now).await.unwrap(), "somebody else's");
    assert_eq!(store.recovery_codes_left(ada).await.unwrap(), 1);
    assert!(store.remove_authenticator(ada).await.unwrap());
    assert!(!store.remove_authenticator(ada).await.unwrap());
    assert_eq!(store.recovery_codes_left(ada).await.unwrap(), 0);
}
