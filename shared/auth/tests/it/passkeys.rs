//! Passkeys: the vectors of the specification, and everything that must not be believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use roadstead_auth::webauthn::{
    ALGORITHMS, Asserted, AssertionAnswer, Expected, Known, Party, Refusal, Registered, RegistrationAnswer, assert,
    register,
};
use roadstead_testkit::passkey::{BACKED_UP, BACKUP_ELIGIBLE, PRESENT, SoftKey, VERIFIED, attestation};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("passkey_vectors.txt");
const ORIGIN: &str = "https://hub.example";
const CHALLENGE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// A vector: challenge, client data and attestation of the new key; challenge, client data, data and signature of a sign-in.
fn vector(name: &str) -> Vec<Vec<u8>> {
    let line = VECTORS.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    line.split(' ').skip(1).map(|text| text.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// Makes a key answer wrongly.
type Bend = fn(&mut SoftKey);

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

/// The authenticator's data of an attestation object: its last member.
fn data_of(object: &[u8]) -> &[u8] {
    let at = find(object, b"\x68authData") + 9;
    match object[at] {
        0x58 => &object[at + 2..],
        0x59 => &object[at + 3..],
        other => panic!("{other:x}"),
    }
}

fn id_of(object: &[u8]) -> &[u8] {
    let data = data_of(object);
    let length = usize::from(u16::from_be_bytes([data[53], data[54]]));
    &data[55..55 + length]
}

fn answers(vector: &[Vec<u8>]) -> (RegistrationAnswer, AssertionAnswer) {
    let id = encode(id_of(&vector[2]));
    let new = RegistrationAnswer::parse(&id, &encode(&vector[1]), &encode(&vector[2])).unwrap();
    let sign_in = AssertionAnswer::parse(&id, &encode(&vector[4]), &encode(&vector[5]), &encode(&vector[6])).unwrap();
    (new, sign_in)
}

fn known(key: &Registered) -> Known<'_> {
    Known { public_key: &key.public_key, sign_count: key.sign_count, backup_eligible: key.backup_eligible }
}

#[test]
fn the_vectors_of_the_specification() {
    let party = Party::at("https://example.org").unwrap();
    for name in ["none-es256", "packed-self-es256", "long-id"] {
        let vector = vector(name);
        let (new, sign_in) = answers(&vector);
        let (first, second) = (encode(&vector[0]), encode(&vector[3]));
        assert_eq!((new.id.base64url(), new.id.clone()), (encode(id_of(&vector[2])), sign_in.id.clone()));
        assert_eq!((new.challenge(), sign_in.challenge()), (Some(first.clone()), Some(second.clone())));
        let expected = |challenge| Expected { party: &party, challenge, verified: false };
        let key = register(&new, &expected(&first)).unwrap();
        assert_eq!(key.credential_id, new.id, "{name}");
        let asserted = assert(&sign_in, &known(&key), &expected(&second)).unwrap();
        assert_eq!((asserted.sign_count, asserted.backed_up), (0, vector[5][32] & 16 != 0), "{name}");
        assert_eq!(register(&new, &expected(&second)), Err(Refusal::Challenge));
        let mut spoiled = vector.clone();
        *spoiled[6].last_mut().unwrap() ^= 1;
        assert_eq!(assert(&answers(&spoiled).1, &known(&key), &expected(&second)), Err(Refusal::Signature), "{name}");
    }
    for name in ["cross-origin", "top-origin"] {
        let vector = vector(name);
        let (new, sign_in) = answers(&vector);
        let (first, second) = (encode(&vector[0]), encode(&vector[3]));
        let expected = |challenge| Expected { party: &party, challenge, verified: false };
        assert_eq!(register(&new, &expected(&first)), Err(Refusal::Origin), "{name}");
        let nothing = Known { public_key: &[], sign_count: 0, backup_eligible: false };
        assert_eq!(assert(&sign_in, &nothing, &expected(&second)), Err(Refusal::Origin), "{name}");
    }
    // Certificates were not asked for; the keys themselves are of kinds that are.
    for name in ["packed-rs256", "packed-eddsa"] {
        let mut vector = vector(name);
        let (first, second) = (encode(&vector[0]), encode(&vector[3]));
        let expected = |challenge| Expected { party: &party, challenge, verified: false };
        assert_eq!(register(&answers(&vector).0, &expected(&first)), Err(Refusal::Attestation), "{name}");
        vector[2] = attestation(data_of(&vector[2]));
        let (new, sign_in) = answers(&vector);
        let key = register(&new, &expected(&first)).unwrap();
        assert(&sign_in, &known(&key), &expected(&second)).unwrap();
        vector[6][0] ^= 1;
        assert_eq!(assert(&answers(&vector).1, &known(&key), &expected(&second)), Err(Refusal::Signature), "{name}");
    }
}

fn party() -> Party {
    Party::at(ORIGIN).unwrap()
}

fn creation() -> Value {
    json!({"rp": {"id": "hub.example"}, "user": {"id": "aGFuZGxl"}, "challenge": CHALLENGE})
}

fn request() -> Value {
    json!({"rpId": "hub.example", "challenge": CHALLENGE})
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer["response"][name].as_str().unwrap()
}

fn new_key(answer: &Value) -> Result<Registered, Refusal> {
    let parts = (answer["id"].as_str().unwrap(), text(answer, "clientDataJSON"), text(answer, "attestationObject"));
    let answer = RegistrationAnswer::parse(parts.0, parts.1, parts.2).unwrap();
    register(&answer, &Expected { party: &party(), challenge: CHALLENGE, verified: false })
}

fn sign_in(answer: &Value, key: &Registered, verified: bool) -> Result<Asserted, Refusal> {
    let part = |name| text(answer, name);
    let id = answer["id"].as_str().unwrap();
    let answer =
        AssertionAnswer::parse(id, part("clientDataJSON"), part("authenticatorData"), part("signature")).unwrap();
    assert(&answer, &known(key), &Expected { party: &party(), challenge: CHALLENGE, verified })
}

#[test]
fn a_sign_in_that_does_not_hold_is_refused() {
    let mut soft = SoftKey::new(ORIGIN);
    let key = new_key(&soft.create(&creation())).unwrap();
    assert_eq!((key.sign_count, key.user_verified, key.backup_eligible), (1, true, false));
    soft.count = 2;
    let good = sign_in(&soft.get(&request()), &key, true).unwrap();
    assert_eq!(good, Asserted { sign_count: 2, user_verified: true, backed_up: false });
    let bends: [(Bend, Refusal); 15] = [
        (|key| "https://evil.example".clone_into(&mut key.origin), Refusal::Origin),
        (|key| "http://hub.example".clone_into(&mut key.origin), Refusal::Origin),
        (|key| "https://hub.example:8443".clone_into(&mut key.origin), Refusal::Origin),
        (|key| "https://hub.example.evil.example".clone_into(&mut key.origin), Refusal::Origin),
        (|key| key.client = json!({"crossOrigin": true}), Refusal::Origin),
        (|key| key.client = json!({"topOrigin": "https://hub.example"}), Refusal::Origin),
        (|key| key.client = json!({"type": "webauthn.create"}), Refusal::Malformed),
        (|key| key.client = json!({"challenge": CHALLENGE.to_lowercase()}), Refusal::Challenge),
        (|key| key.client = json!({"crossOrigin": "no"}), Refusal::Malformed),
        (|key| "evil.example".clone_into(&mut key.party), Refusal::Party),
        (|key| key.flags = VERIFIED, Refusal::Presence),
        (|key| key.flags = PRESENT, Refusal::Verification),
        (|key| key.flags |= BACKED_UP, Refusal::Backup),
        (|key| key.flags |= BACKUP_ELIGIBLE, Refusal::Backup),
        (|key| key.count = 1, Refusal::Counter),
    ];
    for (index, (bend, refusal)) in bends.into_iter().enumerate() {
        let mut bent = SoftKey::new(ORIGIN);
        let key = new_key(&bent.create(&creation())).unwrap();
        bent.count = 2;
        bend(&mut bent);
        assert_eq!(sign_in(&bent.get(&request()), &key, true), Err(refusal), "bend {index}");
    }
    // Where nobody need be verified, presence is enough.
    soft.flags = PRESENT;
    assert!(sign_in(&soft.get(&request()), &key, false).is_ok());
    // Another key's signature, and a changed statement.
    let other = SoftKey::new(ORIGIN);
    assert_eq!(sign_in(&other.get(&request()), &key, false), Err(Refusal::Signature));
    let mut changed = soft.get(&request());
    changed["response"]["clientDataJSON"] = soft_client(&changed, "\"crossOrigin\":false", "\"crossOrigin\":false ");
    assert_eq!(sign_in(&changed, &key, false), Err(Refusal::Signature));
    // A counter that stays 0 is a key that does not count; one that falls to 0 went back.
    soft.count = 0;
    assert_eq!(sign_in(&soft.get(&request()), &key, false), Err(Refusal::Counter));
    let mut still = SoftKey::new(ORIGIN);
    still.count = 0;
    let key = new_key(&still.create(&creation())).unwrap();
    assert!(sign_in(&still.get(&request()), &key, true).is_ok());
}

fn soft_client(answer: &Value, from: &str, to: &str) -> Value {
    let client = URL_SAFE_NO_PAD.decode(text(answer, "clientDataJSON")).unwrap();
    let client = String::from_utf8(client).unwrap();
    assert!(client.contains(from));
    encode(client.replace(from, to).as_bytes()).into()
}

#[test]
fn a_new_key_that_does_not_hold_is_refused() {
    let bends: [(Bend, Refusal); 6] = [
        (|key| "https://evil.example".clone_into(&mut key.origin), Refusal::Origin),
        (|key| key.client = json!({"type": "webauthn.get"}), Refusal::Malformed),
        (|key| "evil.example".clone_into(&mut key.party), Refusal::Party),
        (|key| key.flags = 0, Refusal::Presence),
        (|key| key.flags |= BACKED_UP, Refusal::Backup),
        (|key| key.id = vec![7; 1_024], Refusal::Malformed),
    ];
    for (index, (bend, refusal)) in bends.into_iter().enumerate() {
        let mut soft = SoftKey::new(ORIGIN);
        bend(&mut soft);
        let mut answer = soft.create(&creation());
        if soft.id.len() > 1_023 {
            // An id that long is not even read; another one in its place is not the authenticator's.
            assert!(RegistrationAnswer::parse(answer["id"].as_str().unwrap(), "", "").is_none());
            answer["id"] = "AAAA".into();
        }
        assert_eq!(new_key(&answer), Err(refusal), "bend {index}");
    }
    let mut soft = SoftKey::new(ORIGIN);
    let good = soft.create(&creation());
    let mut named = good.clone();
    named["id"] = "AAAA".into();
    assert_eq!(new_key(&named), Err(Refusal::Malformed), "another name");
    // A member twice: two readers could disagree about which counts.
    let mut twice = good.clone();
    twice["response"]["clientDataJSON"] =
        soft_client(&good, "{", &format!("{{\"origin\":\"{ORIGIN}\",\"origin\":\"x\","));
    assert_eq!(new_key(&twice), Err(Refusal::Malformed));
    let object = URL_SAFE_NO_PAD.decode(text(&good, "attestationObject")).unwrap();
    let data = data_of(&object);
    let with = |bytes: Vec<u8>| {
        let mut answer = good.clone();
        answer["response"]["attestationObject"] = encode(&bytes).into();
        new_key(&answer)
    };
    assert!(with(attestation(data)).is_ok());
    assert_eq!(with([attestation(data), vec![0]].concat()), Err(Refusal::Malformed), "more behind it");
    assert_eq!(with(attestation(&[data, &[0]].concat())), Err(Refusal::Malformed));
    assert_eq!(with(attestation(&data[..data.len() - 1])), Err(Refusal::Malformed));
    assert_eq!(with(attestation(&data[..37])), Err(Refusal::Malformed), "no key");
    // A key of another kind, on another curve, with a point off it, with more than it needs.
    let key = find(data, b"\xa5\x01\x02\x03\x26\x20\x01");
    for (at, byte) in [(key + 2, 3), (key + 4, 0x27), (key + 6, 2), (key + 12, data[key + 12] ^ 1)] {
        let mut data = data.to_vec();
        data[at] = byte;
        assert_eq!(with(attestation(&data)), Err(Refusal::Key), "{at}");
    }
    let mut more = data.to_vec();
    more[key] = 0xa6;
    more.extend([0x04, 0x00]);
    assert_eq!(with(attestation(&more)), Err(Refusal::Key));
    // What vouches for it must be none, and say nothing then.
    let spoil = |from: &[u8], to: &[u8]| {
        let at = find(&object, from);
        [&object[..at], to, &object[at + from.len()..]].concat()
    };
    assert_eq!(with(spoil(b"\x64none", b"\x66packed")), Err(Refusal::Attestation));
    assert_eq!(with(spoil(b"\x64none", b"\x68fido-u2f")), Err(Refusal::Attestation));
    assert_eq!(with(spoil(b"\x67attStmt\xa0", b"\x67attStmt\xa1\x01\x02")), Err(Refusal::Attestation));
    assert_eq!(with(spoil(b"\x64none", b"\x78\x04none")), Err(Refusal::Malformed), "another spelling");
    assert_eq!(with(spoil(b"\x63fmt", b"\x63fmu")), Err(Refusal::Malformed));
}

/// What registering a vector's key comes to when its attestation object is another one.
fn registered(name: &str, bend: impl Fn(&mut Vec<u8>)) -> Result<(), Refusal> {
    let mut vector = vector(name);
    bend(&mut vector[2]);
    let (party, challenge) = (Party::at("https://example.org").unwrap(), encode(&vector[0]));
    let expected = Expected { party: &party, challenge: &challenge, verified: false };
    register(&answers(&vector).0, &expected).map(drop)
}

#[test]
fn a_key_vouches_for_itself_with_its_own_signature_and_no_more() {
    let bent = |bend: fn(&mut Vec<u8>)| registered("packed-self-es256", bend);
    assert_eq!(bent(|_| {}), Ok(()));
    let signature = |object: &mut Vec<u8>| {
        let end = find(object, b"\x68authData");
        object[end - 1] ^= 1;
    };
    assert_eq!(bent(signature), Err(Refusal::Attestation));
    let algorithm = |object: &mut Vec<u8>| {
        let at = find(object, b"\x63alg\x26");
        object[at + 4] = 0x27;
    };
    assert_eq!(bent(algorithm), Err(Refusal::Attestation));
    let certificates = |object: &mut Vec<u8>| {
        let (map, end) = (find(object, b"\x67attStmt\xa2") + 8, find(object, b"\x68authData"));
        object[map] = 0xa3;
        object.splice(end..end, *b"\x63x5c\x80");
    };
    assert_eq!(bent(certificates), Err(Refusal::Attestation));
}

#[test]
fn an_rsa_key_has_the_length_and_the_exponent_that_it_must_have() {
    const MODULUS: &[u8] = b"\x20\x59\x01\xb4";
    let bent = |bend: fn(&mut Vec<u8>)| {
        registered("packed-rs256", |object| {
            let mut data = data_of(object).to_vec();
            bend(&mut data);
            *object = attestation(&data);
        })
    };
    assert_eq!(bent(|_| {}), Ok(()));
    let bends: [fn(&mut Vec<u8>); 4] = [
        // Below 2048 bits; a zero in front; another exponent; a parameter more.
        |data| {
            let at = find(data, MODULUS);
            data.splice(at..at + 4 + 0x1b4, [&[0x20, 0x58, 255][..], &data[at + 4..at + 4 + 255]].concat());
        },
        |data| {
            let at = find(data, MODULUS);
            data[at + 4] = 0;
        },
        |data| {
            let at = find(data, b"\x21\x43\x01\x00\x01");
            data[at + 4] = 3;
        },
        |data| {
            let at = find(data, b"\xa4\x01\x03\x03\x39\x01\x00");
            data[at] = 0xa5;
            data.extend([0x04, 0x00]);
        },
    ];
    for (index, bend) in bends.into_iter().enumerate() {
        assert_eq!(bent(bend), Err(Refusal::Key), "bend {index}");
    }
}

#[test]
fn extensions_that_nobody_asked_for_do_not_harm() {
    let mut soft = SoftKey::new(ORIGIN);
    let answer = soft.create(&creation());
    let object = URL_SAFE_NO_PAD.decode(text(&answer, "attestationObject")).unwrap();
    let with = |extensions: &[u8]| {
        let mut data = data_of(&object).to_vec();
        data[32] |= 0x80;
        data.extend_from_slice(extensions);
        let mut answer = answer.clone();
        answer["response"]["attestationObject"] = encode(&attestation(&data)).into();
        new_key(&answer)
    };
    assert!(with(b"\xa1\x6bcredProtect\x02").is_ok());
    assert_eq!(with(b"\x02"), Err(Refusal::Malformed));
    assert_eq!(with(b""), Err(Refusal::Malformed));
    let mut grease = answer;
    grease["response"]["clientDataJSON"] = soft_client(&grease, "{", "{\"other_keys\":{\"a\":[1]},");
    assert!(new_key(&grease).is_ok());
}

#[test]
fn what_is_asked_for_is_what_is_taken() {
    assert_eq!(ALGORITHMS, [-7, -8, -257]);
    let words: std::collections::BTreeSet<&str> = [
        Refusal::Malformed,
        Refusal::Challenge,
        Refusal::Origin,
        Refusal::Party,
        Refusal::Presence,
        Refusal::Verification,
        Refusal::Backup,
        Refusal::Key,
        Refusal::Attestation,
        Refusal::Signature,
        Refusal::Counter,
    ]
    .map(Refusal::as_str)
    .into();
    assert_eq!(words.len(), 11, "a word each");
    assert_eq!(RegistrationAnswer::parse("AAAA", "e30", "oA").unwrap().challenge(), None);
    for odd in ["", "A", "AB=", "A+AA", "AAA"] {
        // The last one has bits beyond its bytes only when they are not zero.
        assert_eq!(RegistrationAnswer::parse(odd, "e30", "oA").is_some(), odd == "AAA", "{odd}");
    }
    assert!(RegistrationAnswer::parse("AAB", "e30", "oA").is_none(), "another spelling of the same bytes");
    for (client, object, read) in [(4_096, 8_192, true), (4_097, 8_192, false), (4_096, 8_193, false)] {
        let answer = RegistrationAnswer::parse("AAAA", &encode(&vec![0; client]), &encode(&vec![0; object]));
        assert_eq!(answer.is_some(), read, "{client} {object}");
    }
    assert!(AssertionAnswer::parse("AAAA", "e30", &"A".repeat(4 * 1024), "AAAA").is_none());
    assert!(AssertionAnswer::parse("AAAA", "e30", "AAAA", &"A".repeat(4 * 1024)).is_none());
}

proptest! {
    #[test]
    fn garbage_is_refused(
        client in proptest::collection::vec(any::<u8>(), 0..80),
        object in proptest::collection::vec(any::<u8>(), 0..200),
        key in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let expected = Expected { party: &party(), challenge: CHALLENGE, verified: false };
        let said = json!({"type": "webauthn.create", "challenge": CHALLENGE, "origin": ORIGIN}).to_string();
        for client in [encode(&client), encode(said.as_bytes())] {
            let new = RegistrationAnswer::parse("AAAA", &client, &encode(&object)).unwrap();
            prop_assert!(register(&new, &expected).is_err());
            let wrapped = RegistrationAnswer::parse("AAAA", &client, &encode(&attestation(&object))).unwrap();
            prop_assert!(register(&wrapped, &expected).is_err());
        }
        let said = json!({"type": "webauthn.get", "challenge": CHALLENGE, "origin": ORIGIN}).to_string();
        let known = Known { public_key: &key, sign_count: 0, backup_eligible: false };
        let answer = AssertionAnswer::parse("AAAA", &encode(said.as_bytes()), &encode(&object), "AAAA").unwrap();
        prop_assert!(assert(&answer, &known, &expected).is_err());
    }
}
