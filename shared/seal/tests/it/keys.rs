//! Row C03 and the rotation of master keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_runtime::config::Seal;
use roadstead_runtime::{Secret, Tasks};
use roadstead_seal::source::{KeyringFile, KmsKeyring};
use roadstead_seal::{Error, KeyVersion, Kms, Sealed, Sealer};
use zeroize::Zeroizing;

fn settings(key: Option<&str>, file: Option<&Path>) -> Seal {
    Seal { master_key: key.map(Secret::new), keyring_file: file.map(Path::to_owned) }
}

fn key(seed: u8) -> String {
    STANDARD.encode((0..32).map(|index| index ^ seed).collect::<Vec<u8>>())
}

#[test]
fn c03_bad_keys_are_refused_and_none_is_made_up() {
    assert_eq!(Sealer::open(&settings(None, None), "user").unwrap_err(), Error::NoKey);
    let short = STANDARD.encode([7; 31]);
    let hex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    for bad in [short.as_str(), hex, "", "secret"] {
        let fault = Sealer::open(&settings(Some(bad), None), "user").unwrap_err();
        assert!(matches!(fault, Error::BadKey { .. } | Error::NoKey), "{bad}");
        assert!(bad.is_empty() || !fault.to_string().contains(bad), "a refused key is not repeated");
    }
    let nowhere = Path::new("/nowhere/keys");
    assert!(matches!(Sealer::open(&settings(None, Some(nowhere)), "user").unwrap_err(), Error::Source { .. }));
}

#[test]
fn c03_a_wrong_key_does_not_pass_the_check() {
    let right = Sealer::open(&settings(Some(&key(1)), None), "user").unwrap();
    let wrong = Sealer::open(&settings(Some(&key(2)), None), "user").unwrap();
    let kept = right.checks().unwrap().remove(0);
    right.verify(&kept).unwrap();
    assert_eq!(wrong.verify(&kept).unwrap_err(), Error::WrongKey(KeyVersion(1)));
    let sealed = right.seal("t", "c", 1, b"x").unwrap();
    assert_eq!(wrong.unseal("t", "c", 1, &sealed).unwrap_err(), Error::Integrity);
}

#[test]
fn a_new_version_wraps_while_running_and_rows_follow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub/seal-keys");
    let file = KeyringFile::new(&path);
    file.make_if_absent().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let sealer = Sealer::open(&settings(None, Some(&path)), "user").unwrap();
    let before = sealer.seal("t", "c", 1, b"value").unwrap();
    assert_eq!(sealer.rewrap(&before).unwrap(), None);

    assert_eq!(file.rotate().unwrap(), KeyVersion(2));
    file.make_if_absent().unwrap();
    assert_eq!(sealer.reload().unwrap(), KeyVersion(2));
    assert_eq!(sealer.unseal("t", "c", 1, &before).unwrap().as_slice(), b"value", "the old key still opens");
    let after = sealer.rewrap(&before).unwrap().unwrap();
    assert_eq!((before.version(), after.version()), (KeyVersion(1), KeyVersion(2)));
    assert_eq!(sealer.unseal("t", "c", 1, &after).unwrap().as_slice(), b"value");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let only_new: String = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("1:"))
        .collect::<Vec<_>>()
        .join("\n");
    fs::write(&path, only_new).unwrap();
    sealer.reload().unwrap();
    assert_eq!(sealer.unseal("t", "c", 1, &before).unwrap_err(), Error::MissingKey(KeyVersion(1)));
    assert!(sealer.unseal("t", "c", 1, &after).is_ok());
}

#[test]
fn a_broken_or_exchanged_file_is_not_taken_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, format!("# two\n1:{}\n2:{}\n", key(1), key(2))).unwrap();
    let sealer = Sealer::open(&settings(None, Some(&path)), "user").unwrap();
    let sealed = sealer.seal("t", "c", 1, b"value").unwrap();
    assert_eq!(sealed.version(), KeyVersion(2));
    let cases = [
        String::new(),
        "nonsense".to_owned(),
        format!("0:{}", key(1)),
        format!("1:{}\n1:{}", key(1), key(2)),
        format!("1:{}\n2:{}", key(1), key(1)),
        format!("2:{}", key(9)),
        (1..=17).fold(String::new(), |text, version| text + &format!("{version}:{}\n", key(version))),
    ];
    for text in cases {
        fs::write(&path, &text).unwrap();
        let fault = sealer.reload().unwrap_err();
        assert!(!fault.to_string().contains(&key(1)), "{fault}");
        assert!(sealer.unseal("t", "c", 1, &sealed).is_ok(), "the keys of before go on");
    }
}

/// Turns every byte over.
#[derive(Debug)]
struct Mirror {
    away: bool,
}

impl Kms for Mirror {
    fn name(&self) -> &'static str {
        "mirror"
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        if self.away {
            return Err("it does not answer".to_owned());
        }
        Ok(Zeroizing::new(ciphertext.iter().map(|byte| !byte).collect()))
    }
}

#[test]
fn a_kms_opens_the_ring_and_its_absence_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, format!("3:{}\n", key(5))).unwrap();
    let ring = |away| Arc::new(KmsKeyring::new(&path, Arc::new(Mirror { away })));
    let sealer = Sealer::with_source("user", ring(false)).unwrap();
    assert_eq!(sealer.newest(), KeyVersion(3));
    let fault = Sealer::with_source("user", ring(true)).unwrap_err();
    assert_eq!(fault.to_string(), "failed to read master keys from mirror: it does not answer");
}

/// Rewrapping opens the key of a value and not the value: it must not carry on what was changed or is another hub's.
#[test]
fn l04_only_an_untouched_value_of_the_same_purpose_is_rewrapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, format!("1:{}\n", key(1))).unwrap();
    let open = |purpose| Sealer::open(&settings(None, Some(&path)), purpose).unwrap();
    let sealed = open("user").seal("t", "c", 1, b"value").unwrap();
    let other = open("user").seal("t", "c", 1, b"other").unwrap();
    fs::write(&path, format!("1:{}\n2:{}\n", key(1), key(2))).unwrap();
    let user = open("user");
    assert!(user.rewrap(&sealed).unwrap().is_some());
    for stranger in [open("onboarding"), user.within("tenant-7")] {
        assert_eq!(stranger.rewrap(&sealed).unwrap_err(), Error::Integrity);
    }
    let parts = |sealed: &Sealed| sealed.to_string().split('.').map(str::to_owned).collect::<Vec<_>>();
    let (one, two) = (parts(&sealed), parts(&other));
    let mixed: Sealed = format!("s1.1.{}.{}", one[2], two[3]).parse().unwrap();
    assert_eq!(user.rewrap(&mixed).unwrap_err(), Error::Integrity);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, format!("1:{}\n", key(1))).unwrap();
    let sealer = Sealer::open(&settings(None, Some(&path)), "user").unwrap();
    let tasks = Tasks::new();
    sealer.watch(&tasks);
    let wraps = async |version| {
        let found = async {
            while sealer.newest() != KeyVersion(version) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), found).await.is_ok()
    };
    fs::write(&path, format!("1:{}\n2:{}\n", key(1), key(2))).unwrap();
    assert!(wraps(2).await);
    // A file that is broken for a while does no harm.
    fs::write(&path, "nonsense").unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(sealer.newest(), KeyVersion(2));
    fs::write(&path, format!("1:{}\n2:{}\n3:{}\n", key(1), key(2), key(3))).unwrap();
    assert!(wraps(3).await);
    tasks.stop();
    tasks.finish(Duration::from_secs(1)).await;
}
