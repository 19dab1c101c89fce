//! A security key without hardware, for tests: it answers what a browser and an authenticator answer together, and can be made
//! to answer wrongly.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Somebody touched it.
pub const PRESENT: u8 = 1;
/// It made sure who.
pub const VERIFIED: u8 = 1 << 2;
/// Copies of its keys may be kept elsewhere.
pub const BACKUP_ELIGIBLE: u8 = 1 << 3;
/// They are.
pub const BACKED_UP: u8 = 1 << 4;
/// A new key follows.
const HAS_CREDENTIAL: u8 = 1 << 6;

/// A key for one account of one relying party. Its fields are what it answers with: a test bends them.
#[derive(Debug)]
pub struct SoftKey {
    /// Where the page is that asks.
    pub origin: String,
    /// Whose name it answers to; the one that the options name when it is empty.
    pub party: String,
    /// What it says of whoever is there.
    pub flags: u8,
    /// How often it signed; 0 for one that does not count.
    pub count: u32,
    /// Members that the browser adds to its statement, or says otherwise.
    pub client: Value,
    /// Whose it is, as the relying party called the account.
    pub handle: Option<String>,
    /// Its id.
    pub id: Vec<u8>,
    pair: EcdsaKeyPair,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SoftKey {
    /// A new key for pages at this origin.
    #[expect(clippy::expect_used, reason = "for tests")]
    pub fn new(origin: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key pair");
        let id = Sha256::digest(pair.public_key().as_ref()).to_vec();
        Self {
            origin: origin.to_owned(),
            party: String::new(),
            flags: PRESENT | VERIFIED,
            count: 1,
            client: json!({}),
            handle: None,
            id,
            pair,
        }
    }

    /// Answers to options for a new key (`PublicKeyCredentialCreationOptionsJSON`).
    pub fn create(&mut self, options: &Value) -> Value {
        self.handle = options["user"]["id"].as_str().map(str::to_owned);
        let client = self.client_data("webauthn.create", options);
        let party = options["rp"]["id"].as_str().unwrap_or_default();
        let mut data = self.data(party, HAS_CREDENTIAL);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&u16::try_from(self.id.len()).unwrap_or(u16::MAX).to_be_bytes());
        data.extend_from_slice(&self.id);
        data.extend_from_slice(&self.cose());
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encode(client.as_bytes()),
                "attestationObject": encode(&attestation(&data)),
                "transports": ["usb", "nfc"],
            },
        })
    }

    /// Answers to options for a sign-in (`PublicKeyCredentialRequestOptionsJSON`).
    #[expect(clippy::expect_used, reason = "for tests")]
    pub fn get(&self, options: &Value) -> Value {
        let client = self.client_data("webauthn.get", options);
        let data = self.data(options["rpId"].as_str().unwrap_or_default(), 0);
        let signed = [data.as_slice(), &Sha256::digest(client.as_bytes())].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).expect("a signature");
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encode(client.as_bytes()),
                "authenticatorData": encode(&data),
                "signature": encode(signature.as_ref()),
                "userHandle": self.handle,
            },
        })
    }

    fn client_data(&self, kind: &str, options: &Value) -> String {
        let mut said = json!({
            "type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false,
        });
        if let (Some(said), Some(other)) = (said.as_object_mut(), self.client.as_object()) {
            said.extend(other.clone());
        }
        said.to_string()
    }

    fn data(&self, party: &str, more: u8) -> Vec<u8> {
        let party = if self.party.is_empty() { party } else { &self.party };
        let mut data = Sha256::digest(party).to_vec();
        data.push(self.flags | more);
        data.extend_from_slice(&self.count.to_be_bytes());
        data
    }

    /// Its public half: `{1: 2, 3: -7, -1: 1, -2: x, -3: y}`.
    fn cose(&self) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let half = |start: usize| point.get(start..start + 32).unwrap_or_default().to_vec();
        let mut key = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
        key.extend(half(1));
        key.extend([0x22, 0x58, 0x20]);
        key.extend(half(33));
        key
    }
}

/// `{"fmt": "none", "attStmt": {}, "authData": data}`.
pub fn attestation(data: &[u8]) -> Vec<u8> {
    let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData".to_vec();
    match (u8::try_from(data.len()), u16::try_from(data.len())) {
        (Ok(length @ ..24), _) => object.push(0x40 | length),
        (Ok(length), _) => object.extend([0x58, length]),
        (Err(_), length) => {
            object.push(0x59);
            object.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    object.extend_from_slice(data);
    object
}
