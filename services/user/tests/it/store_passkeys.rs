//! Passkeys and their challenges, whichever database they are in.

use chrono::TimeDelta;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::UserId;
use roadstead_store::Opened;
use roadstead_user::domain::{CEREMONIES_MAX, Ceremony, NewPassword, PASSKEYS_MAX, Passkey, Purpose};
use roadstead_user::store::PasskeyAdded;

use crate::store_access::Place;
use crate::store_suite::place;

fn passkey(place: &Place, user_id: UserId, name: &str) -> Passkey {
    Passkey {
        id: place.ids.next(),
        user_id,
        credential_id: place.ids.uuid().to_string(),
        public_key: vec![0xa5, 0, 0xff],
        name: name.to_owned(),
        transports: vec!["usb".to_owned(), "nfc".to_owned()],
        sign_count: 1,
        backup_eligible: true,
        backed_up: false,
        created_at: place.now,
        last_used_at: None,
    }
}

pub async fn a_challenge_is_taken_once_and_in_time(opened: Opened) {
    let place = place(&opened).await;
    let (store, now) = (&place.store, place.now);
    let ceremony = |challenge: &str, seconds: i64| Ceremony {
        challenge: challenge.to_owned(),
        purpose: Purpose::AfterPassword,
        user_id: Some(place.ada.id),
        binding: "bound".to_owned(),
        expires_at: now + TimeDelta::seconds(seconds),
    };
    let kept = ceremony("one", 300);
    let anybodys = Ceremony { user_id: None, purpose: Purpose::Alone, ..ceremony("two", 1) };
    for one in [&kept, &anybodys] {
        assert_eq!(store.begin_ceremony(one, now).await.unwrap(), Some(0));
    }
    let (one, two) = tokio::join!(store.take_ceremony("one", now), store.take_ceremony("one", now));
    let taken: Vec<Ceremony> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
    assert_eq!(taken, [kept]);
    assert_eq!(store.take_ceremony("two", now + TimeDelta::seconds(1)).await.unwrap(), None, "over");
    assert_eq!(store.take_ceremony("three", now).await.unwrap(), None);
}

/// As many rows as there may be, older than what follows.
const FILL_POSTGRES: &str = "INSERT INTO passkey_ceremonies (challenge, purpose, binding, expires_at) \
    SELECT 'c' || n, CASE WHEN n = 7 THEN $1 ELSE $2 END, 'b', $3::timestamptz FROM generate_series(1, $4::bigint) n";
const FILL_SQLITE: &str = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $4) \
    INSERT INTO passkey_ceremonies (challenge, purpose, binding, expires_at) \
    SELECT 'c' || n, CASE WHEN n = 7 THEN $1 ELSE $2 END, 'b', $3 FROM numbers";

pub async fn many_challenges_make_room(opened: Opened) {
    let place = place(&opened).await;
    let (store, now) = (&place.store, place.now);
    let soon = now + TimeDelta::seconds(1);
    // One of them is of somebody whose password was right.
    let (proven, anybodys) = (Purpose::AfterPassword.as_str(), Purpose::Alone.as_str());
    match &opened {
        Opened::Postgres(pool) => {
            let fill = sqlx::query(FILL_POSTGRES).bind(proven).bind(anybodys).bind(soon).bind(CEREMONIES_MAX);
            fill.execute(pool).await.unwrap();
        }
        Opened::Sqlite(pool) => {
            let fill = sqlx::query(FILL_SQLITE).bind(proven).bind(anybodys).bind(soon).bind(CEREMONIES_MAX);
            fill.execute(pool).await.unwrap();
        }
    }
    let new = |challenge: &str| Ceremony {
        challenge: challenge.to_owned(),
        purpose: Purpose::Alone,
        user_id: None,
        binding: "bound".to_owned(),
        expires_at: now + TimeDelta::minutes(5),
    };
    for name in ["first", "second"] {
        assert_eq!(store.begin_ceremony(&new(name), now).await.unwrap(), Some(1), "the oldest makes room");
    }
    for kept in ["c7", "first", "second"] {
        assert!(store.take_ceremony(kept, now).await.unwrap().is_some(), "{kept}");
    }
    // When they are over, there is room for all.
    assert_eq!(store.begin_ceremony(&new("later"), soon + TimeDelta::seconds(1)).await.unwrap(), Some(0));
}

pub async fn passkeys_live(opened: Opened) {
    let place = place(&opened).await;
    let (store, ada, bob) = (&place.store, place.ada.id, place.owner.id);
    let key = passkey(&place, ada, "telephone");
    assert_eq!(store.insert_passkey(&key, &[]).await.unwrap(), PasskeyAdded::First);
    assert_eq!(store.passkeys(ada).await.unwrap(), std::slice::from_ref(&key));
    let known = store.known_passkey(&key.credential_id).await.unwrap().unwrap();
    assert_eq!((known.passkey, known.user.id), (key.clone(), ada));
    assert!(store.known_passkey("unknown").await.unwrap().is_none());

    let same = Passkey { credential_id: key.credential_id.clone(), ..passkey(&place, bob, "mine") };
    assert!(store.insert_passkey(&same, &[]).await.unwrap_err().is_conflict("passkeys_credential_id_key"));
    let named = passkey(&place, ada, "telephone");
    assert!(store.insert_passkey(&named, &[]).await.unwrap_err().is_conflict("passkeys_user_id_name_key"));
    assert_eq!(store.insert_passkey(&passkey(&place, ada, "key"), &[]).await.unwrap(), PasskeyAdded::Another);
    assert!(store.rename_passkey(ada, key.id, "key").await.unwrap_err().is_conflict("passkeys_user_id_name_key"));
    assert!(!store.rename_passkey(bob, key.id, "bobs").await.unwrap(), "somebody else's");
    assert!(store.rename_passkey(ada, key.id, "old telephone").await.unwrap());

    // A counter rises, once for each value.
    let later = place.now + TimeDelta::seconds(9);
    let (one, two) = tokio::join!(store.use_passkey(key.id, 2, true, later), store.use_passkey(key.id, 2, true, later));
    assert_eq!([one.unwrap(), two.unwrap()].into_iter().filter(|used| *used).count(), 1);
    assert!(!store.use_passkey(key.id, 2, true, later).await.unwrap());
    assert!(!store.use_passkey(key.id, 0, true, later).await.unwrap());
    let used = store.known_passkey(&key.credential_id).await.unwrap().unwrap().passkey;
    assert_eq!((used.sign_count, used.backed_up, used.last_used_at), (2, true, Some(later)));
    assert_eq!(used.name, "old telephone");
    // One that does not count stays where it is.
    let still = Passkey { sign_count: 0, ..passkey(&place, ada, "still") };
    store.insert_passkey(&still, &[]).await.unwrap();
    for _ in 0..2 {
        assert!(store.use_passkey(still.id, 0, false, later).await.unwrap());
    }
    assert!(!store.remove_passkey(bob, key.id).await.unwrap(), "somebody else's");
    assert!(store.remove_passkey(ada, key.id).await.unwrap());
    assert!(!store.remove_passkey(ada, key.id).await.unwrap());
}

pub async fn too_many_passkeys(opened: Opened) {
    let place = place(&opened).await;
    for number in 0..PASSKEYS_MAX - 1 {
        let key = passkey(&place, place.ada.id, &format!("key {number}"));
        assert_ne!(place.store.insert_passkey(&key, &[]).await.unwrap(), PasskeyAdded::TooMany);
    }
    let last = [passkey(&place, place.ada.id, "last"), passkey(&place, place.ada.id, "one more")];
    let (one, two) = tokio::join!(place.store.insert_passkey(&last[0], &[]), place.store.insert_passkey(&last[1], &[]));
    let refused = [one.unwrap(), two.unwrap()].into_iter().filter(|added| *added == PasskeyAdded::TooMany).count();
    assert_eq!(refused, 1, "at once, too");
    let other = passkey(&place, place.owner.id, "key 0");
    assert_eq!(place.store.insert_passkey(&other, &[]).await.unwrap(), PasskeyAdded::First);
}

pub async fn recovery_codes_stay_with_the_last_second_factor(opened: Opened) {
    let place = place(&opened).await;
    let (store, now, ada) = (&place.store, place.now, place.ada.id);
    let codes = |words: [&str; 2]| words.map(str::to_owned);
    let left = async || store.recovery_codes_left(ada).await.unwrap();
    let key = passkey(&place, ada, "key");
    assert_eq!(store.insert_passkey(&key, &codes(["a", "b"])).await.unwrap(), PasskeyAdded::First);
    assert_eq!(left().await, 2);
    let another = passkey(&place, ada, "another");
    assert_eq!(store.insert_passkey(&another, &codes(["c", "d"])).await.unwrap(), PasskeyAdded::Another);
    assert!(store.spend_recovery_code(ada, "a", now).await.unwrap());
    assert!(!store.spend_recovery_code(ada, "c", now).await.unwrap(), "only the first ones are the account's");
    // An app beside them has codes of its own, which take their place.
    store.begin_authenticator(ada, "sealed", now).await.unwrap();
    assert!(store.confirm_authenticator(ada, 7, &codes(["e", "f"]), now).await.unwrap());
    assert_eq!(left().await, 2);
    assert!(!store.spend_recovery_code(ada, "b", now).await.unwrap());
    assert!(store.remove_authenticator(ada).await.unwrap());
    assert_eq!(left().await, 2, "passkeys are left");
    assert!(store.remove_passkey(ada, key.id).await.unwrap());
    assert_eq!(left().await, 2);
    assert!(store.remove_passkey(ada, another.id).await.unwrap());
    assert_eq!(left().await, 0, "with the last one they go");

    store.insert_passkey(&passkey(&place, ada, "new"), &codes(["g", "h"])).await.unwrap();
    store.begin_authenticator(ada, "sealed", now).await.unwrap();
    store.confirm_authenticator(ada, 9, &codes(["i", "j"]), now).await.unwrap();
    let event = |place: &Place| Event { id: place.ids.next(), at: now, fact: Fact::UserChanged { user_id: ada } };
    assert!(store.set_password(ada, &NewPassword::new("one"), now, &event(&place)).await.unwrap());
    assert_eq!((left().await, store.passkeys(ada).await.unwrap().len()), (2, 1), "a new password leaves them");
    assert!(store.authenticator(ada).await.unwrap().is_some());
    let new = NewPassword { remove_second_factors: true, ..NewPassword::new("two") };
    assert!(store.set_password(ada, &new, now, &event(&place)).await.unwrap());
    assert_eq!((left().await, store.passkeys(ada).await.unwrap().len()), (0, 0), "unless it is asked for");
    assert!(store.authenticator(ada).await.unwrap().is_none());

    store.insert_passkey(&passkey(&place, ada, "last"), &codes(["k", "l"])).await.unwrap();
    store.begin_authenticator(ada, "sealed", now).await.unwrap();
    store.confirm_authenticator(ada, 11, &codes(["m", "n"]), now).await.unwrap();
    assert!(store.remove_second_factors(ada).await.unwrap());
    assert!(!store.remove_second_factors(ada).await.unwrap());
    assert_eq!((left().await, store.passkeys(ada).await.unwrap().len()), (0, 0));
    assert!(store.authenticator(ada).await.unwrap().is_none());
}

pub async fn regression_what_was_begun_with_less_is_over(opened: Opened) {
    let place = place(&opened).await;
    let (store, now, ada) = (&place.store, place.now, place.ada.id);
    let codes = ["a".to_owned()];
    let ceremony = |challenge: &str, user: UserId| Ceremony {
        challenge: challenge.to_owned(),
        purpose: Purpose::Add,
        user_id: Some(user),
        binding: "bound".to_owned(),
        expires_at: now + TimeDelta::minutes(5),
    };
    // An app and a passkey, begun with the password alone; then comes a passkey.
    assert!(store.begin_authenticator(ada, "sealed", now).await.unwrap());
    for (challenge, user) in [("one", ada), ("of the owner", place.owner.id)] {
        store.begin_ceremony(&ceremony(challenge, user), now).await.unwrap();
    }
    let key = passkey(&place, ada, "key");
    assert_eq!(store.insert_passkey(&key, &codes).await.unwrap(), PasskeyAdded::First);
    assert!(!store.confirm_authenticator(ada, 7, &[], now).await.unwrap());
    assert_eq!(store.take_ceremony("one", now).await.unwrap(), None);
    // What was begun beside it took a second proof.
    assert!(store.begin_authenticator(ada, "sealed", now).await.unwrap());
    store.begin_ceremony(&ceremony("two", ada), now).await.unwrap();
    assert_eq!(store.insert_passkey(&passkey(&place, ada, "another"), &[]).await.unwrap(), PasskeyAdded::Another);
    assert!(store.take_ceremony("two", now).await.unwrap().is_some());
    store.begin_ceremony(&ceremony("three", ada), now).await.unwrap();
    assert!(store.confirm_authenticator(ada, 7, &codes, now).await.unwrap());
    assert_eq!(store.take_ceremony("three", now).await.unwrap(), None);
    assert!(store.take_ceremony("of the owner", now).await.unwrap().is_some(), "nobody else's");
    // A new password ends what was begun with the old one.
    assert!(store.remove_authenticator(ada).await.unwrap());
    assert!(store.begin_authenticator(ada, "sealed", now).await.unwrap());
    let event = Event { id: place.ids.next(), at: now, fact: Fact::UserChanged { user_id: ada } };
    assert!(store.set_password(ada, &NewPassword::new("new"), now, &event).await.unwrap());
    assert!(!store.confirm_authenticator(ada, 9, &codes, now).await.unwrap());
}
