//! Row L04: ciphertext of row A put in row B, a bit flipped, an older version put back.

use proptest::prelude::*;
use roadstead_seal::sealer::PLAIN_MAX;
use roadstead_seal::{Error, Sealed, Sealer};

const CANARY: &[u8] = b"canary-token-4711";

fn sealer() -> Sealer {
    Sealer::ephemeral("onboarding").unwrap()
}

#[test]
fn l04_a_value_opens_only_in_its_own_place() {
    let sealer = sealer();
    let sealed = sealer.seal("clusters", "sealed_token", "a", CANARY).unwrap();
    assert_eq!(sealer.unseal("clusters", "sealed_token", "a", &sealed).unwrap().as_slice(), CANARY);
    for (table, column, row) in [
        ("clusters", "sealed_token", "b"),
        ("clusters", "sealed_ca", "a"),
        ("hooks", "sealed_token", "a"),
        ("clusterss", "ealed_token", "a"),
    ] {
        assert_eq!(sealer.unseal(table, column, row, &sealed).unwrap_err(), Error::Integrity, "{table} {column} {row}");
    }
    let elsewhere = sealer.within("tenant-7");
    assert_eq!(elsewhere.unseal("clusters", "sealed_token", "a", &sealed).unwrap_err(), Error::Integrity);
}

#[test]
fn l04_an_older_version_put_back_does_not_open() {
    let sealer = sealer();
    let old = sealer.seal_version("clusters", "sealed_token", 7, 1, b"old").unwrap();
    let new = sealer.seal_version("clusters", "sealed_token", 7, 2, b"new").unwrap();
    assert_eq!(sealer.unseal_version("clusters", "sealed_token", 7, 2, &new).unwrap().as_slice(), b"new");
    assert_eq!(sealer.unseal_version("clusters", "sealed_token", 7, 2, &old).unwrap_err(), Error::Integrity);
}

#[test]
fn l04_a_flipped_bit_anywhere_is_noticed() {
    let sealer = sealer();
    let sealed = sealer.seal("t", "c", 1, CANARY).unwrap().to_string();
    for index in 0..sealed.len() {
        let mut bytes = sealed.clone().into_bytes();
        // Another letter of the alphabet in its place.
        bytes[index] = if bytes[index] == b'B' { b'C' } else { b'B' };
        let text = String::from_utf8(bytes).unwrap();
        match Sealed::parse(&text) {
            Err(_) => {}
            Ok(read) => assert!(sealer.unseal("t", "c", 1, &read).is_err(), "letter {index}"),
        }
    }
}

#[test]
fn l04_neither_key_nor_body_can_be_swapped_between_rows() {
    let sealer = sealer();
    let (one, two) = (sealer.seal("t", "c", 1, b"one").unwrap(), sealer.seal("t", "c", 2, b"two").unwrap());
    let parts = |sealed: &Sealed| sealed.to_string().split('.').map(str::to_owned).collect::<Vec<_>>();
    let (one, two) = (parts(&one), parts(&two));
    let mixed = Sealed::parse(&format!("s1.{}.{}.{}", one[1], two[2], one[3])).unwrap();
    assert_eq!(sealer.unseal("t", "c", 1, &mixed).unwrap_err(), Error::Integrity);
}

#[test]
fn nothing_of_the_plain_text_is_printed_or_stored() {
    let sealer = sealer();
    let sealed = sealer.seal("t", "c", 1, CANARY).unwrap();
    let printed = format!("{sealed:?} {sealed} {sealer:?}");
    assert!(!printed.contains("canary"));
    assert!(printed.contains(r#"Sealer { purpose: "onboarding", keys: MasterKeys([KeyVersion(1)])"#), "{printed}");
    assert_ne!(sealed, sealer.seal("t", "c", 1, CANARY).unwrap(), "each value has a key of its own");
    assert_eq!(sealer.seal("t", "c", 1, &vec![0; PLAIN_MAX + 1]).unwrap_err(), Error::TooLong);
    assert_eq!(sealer.seal("t", "c", 1, &vec![0; PLAIN_MAX * 2]).unwrap_err(), Error::TooLong);
    for length in [0, 1, 1_048_576] {
        let sealed = sealer.seal("t", "c", 1, &vec![7; length]).unwrap();
        let read = Sealed::parse(sealed.as_str()).unwrap();
        assert_eq!(sealer.unseal("t", "c", 1, &read).unwrap().len(), length, "what can be sealed can be read");
    }
}

proptest! {
    #[test]
    fn values_come_back(plain in proptest::collection::vec(any::<u8>(), 0..500), row in ".{0,40}") {
        let sealer = sealer();
        let sealed: Sealed = sealer.seal("t", "c", &row, &plain).unwrap().as_str().parse().unwrap();
        let opened = sealer.unseal("t", "c", &row, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), plain.as_slice());
    }

    #[test]
    fn garbage_does_not_panic(text in ".{0,200}", number in any::<u64>()) {
        let sealer = sealer();
        for text in [text.clone(), format!("s1.{text}"), format!("s1.{number}.{text}.{text}")] {
            if let Ok(sealed) = Sealed::parse(&text) {
                prop_assert!(sealer.unseal("t", "c", 1, &sealed).is_err());
            }
        }
    }
}
