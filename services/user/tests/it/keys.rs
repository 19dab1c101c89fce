//! The key file: made once, kept private, shared by replicas, rotated with overlap.

use std::os::unix::fs::PermissionsExt as _;

use chrono::{TimeDelta, Utc};
use roadstead_auth::jwt::{KeySet, Verifier};
use roadstead_auth::keyfile::KeyFile;
use roadstead_contracts::message::{IdentityKeySet, IdentityKeys};
use roadstead_runtime::ManualClock;
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use roadstead_user::keys::Keys;
use roadstead_user::options::Options;
use serde_json::json;

use crate::rig::{context, rig, rig_with, start, start_at};

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_private_and_survives_a_restart() {
    let rig = rig().await;
    let path = rig.folder.path().join("identity-keys.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let login = rig.account("ada").await;
    let key = rig
        .as_bearer(&login.text("access_token"), "POST", "/api-keys", Some(json!({"key_name": "ci"})))
        .await
        .text("api_key");
    let before = rig.bus.call(&IdentityKeys {}, &context()).await.unwrap();
    let rig = start(rig.stop().await, &[]).await;
    let after: IdentityKeySet = rig.bus.call(&IdentityKeys {}, &context()).await.unwrap();
    assert_eq!(after, before, "replicas and restarts publish the same set");
    assert_eq!(rig.get(&login.text("access_token"), "/users/me").await.status, 200);
    assert_eq!(rig.as_key(&key, "GET", "/users/me", None).await.status, 200);
    rig.stop().await;
}

/// Row C05: a machine without a battery begins in the past.
#[tokio::test(flavor = "multi_thread")]
async fn c05_a_clock_from_before_the_build_is_no_obstacle() {
    for time in ["1970-01-01T00:00:05Z", "2001-02-03T04:05:06Z"] {
        let rig = start_at(tempfile::tempdir().unwrap(), &[], ManualClock::at(time.parse().unwrap())).await;
        let token = rig.account("ada").await.text("access_token");
        assert_eq!(rig.get(&token, "/users/me").await.status, 200, "{time}");
        let made = rig.as_bearer(&token, "POST", "/api-keys", Some(json!({"key_name": "ci"}))).await;
        assert_eq!(rig.as_key(&made.text("api_key"), "GET", "/users/me", None).await.status, 200, "{time}");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_file_does_not_start() {
    let rig = rig().await;
    let folder = rig.stop().await;
    let foreign = KeyFile::generate(chrono::DateTime::<Utc>::UNIX_EPOCH).unwrap().to_json().unwrap();
    std::fs::write(folder.path().join("identity-keys.json"), foreign.expose()).unwrap();
    let mut starting = tokio::task::JoinSet::new();
    starting.spawn(async move { start(folder, &[]).await.stop().await });
    assert!(starting.join_next().await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_after_it_was_published_and_the_old_one_stays_good() {
    let rig = rig().await;
    let path = rig.folder.path().join("identity-keys.json");
    let early = rig.account("ada").await.text("access_token");
    let first = kid(&early);
    let mut file = KeyFile::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
    file.rotate(roadstead_runtime::Clock::now(&rig.clock)).unwrap();
    std::fs::write(&path, file.to_json().unwrap().expose()).unwrap();
    // The file is looked at every fifteen seconds; a start does the same at once.
    let clock = rig.now();
    let rig = start(rig.stop().await, &[]).await;
    rig.clock.set(clock + TimeDelta::minutes(1));
    let published = rig.send(rig.request("GET", "/.well-known/jwks.json")).await.body;
    assert_eq!(published["keys"].as_array().unwrap().len(), 2);
    assert_eq!(kid(&rig.login("ada", "password123").await.text("access_token")), first, "published, not yet signing");
    let folder = rig.stop().await;
    let rig = start(folder, &[]).await;
    rig.clock.set(clock + TimeDelta::minutes(11));
    let verifier = Verifier::eddsa(KeySet::parse(published.to_string().as_bytes()).unwrap(), "roadstead", "roadstead");
    assert!(verifier.verify(&early, rig.now()).is_ok());
    assert_eq!(rig.get(&early, "/users/me").await.status, 200, "signed before the change");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_taken_and_a_foreign_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity-keys.json");
    let env = MapEnv::default().with("ROADSTEAD_DATA_DIR", folder.path().display().to_string());
    let options = Options::of(&Settings::load(ServiceRole::Up, None, &env).unwrap());
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let keys = Keys::open(&options, now).await.unwrap();
    let published = || keys.now().jwks["keys"].as_array().unwrap().len();
    assert_eq!(published(), 1);

    let foreign = KeyFile::generate(now).unwrap().to_json().unwrap();
    let own = std::fs::read_to_string(&path).unwrap();
    for bad in [foreign.expose(), "", "half a file"] {
        std::fs::write(&path, bad).unwrap();
        assert!(keys.look(now).await.is_err());
        assert_eq!(published(), 1, "the old keys go on");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(keys.look(now).await.is_err());
    std::fs::write(&path, own).unwrap();
    let root = keys.now().identity_keys.root.clone();

    // After ninety days the service makes new ones by itself.
    keys.look(now + TimeDelta::days(90)).await.unwrap();
    assert_eq!(published(), 1);
    let later = now + TimeDelta::days(91);
    keys.look(later).await.unwrap();
    assert_eq!(published(), 2);
    assert_eq!(keys.now().identity_keys.root, root);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (before, set) = (keys.now().identity_keys.clone(), keys.now().identity.key_set().clone());
    keys.look(later + TimeDelta::minutes(10)).await.unwrap();
    assert_eq!(keys.now().identity_keys, before, "signing with the new key changes nothing in the set");
    assert_eq!(*keys.now().identity.key_set(), set);
}

fn kid(token: &str) -> String {
    use std::collections::BTreeMap;
    let header = token.split('.').next().unwrap();
    let bytes = base64(header);
    let header: BTreeMap<String, String> = serde_json::from_slice(&bytes).unwrap();
    header["kid"].clone()
}

fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(value(*byte))) << (6 * (4 - chunk.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared/keys.json");
    let rig = rig_with(&[("ROADSTEAD_AUTH_IDENTITY_KEY_FILE", path.to_str().unwrap())]).await;
    assert!(path.exists());
    assert!(!rig.folder.path().join("identity-keys.json").exists());
    rig.stop().await;
}
