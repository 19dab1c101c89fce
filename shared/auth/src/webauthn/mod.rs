//! Passkeys and security keys: what a browser hands over from an authenticator, checked before it is believed (W3C Web
//! Authentication Level 3, §7.1 for a new key, §7.2 for a sign-in). [`Party`] is who the hub is to browsers.
//!
//! Bytes in, verdict out. Challenges are made, kept and spent by the caller: [`challenge_of`] says which one an answer claims, and
//! only who gave it out knows whether it still counts. Attestation is not asked for; what comes all the same must be none, or
//! signed by the new key itself. Signatures are aws-lc's, as everywhere here (ADR 0006).

mod answer;
mod attestation;
mod cbor;
mod client;
mod cose;
mod data;
mod party;

use sha2::{Digest as _, Sha256};

pub use answer::{AssertionAnswer, CredentialId, RegistrationAnswer};
pub use client::challenge_of;
pub use cose::ALGORITHMS;
pub use party::Party;

use attestation::Attestation;
use cose::Key;
use data::AuthenticatorData;

/// Random bytes of a challenge (§13.4.3: at least 16).
pub const CHALLENGE_BYTES: usize = 32;
/// Longest id of a key (§7.1, step 25).
pub const CREDENTIAL_ID_MAX: usize = 1_023;

/// Why an answer is not believed. For the audit trail: whoever sent it is told none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not what a browser sends.
    #[error("the answer is malformed")]
    Malformed,
    /// It belongs to another challenge, or to none.
    #[error("the answer is for another challenge")]
    Challenge,
    /// A page of another site asked for it, or ours inside a page of another site.
    #[error("the answer was asked for by another page")]
    Origin,
    /// The authenticator answered to another name.
    #[error("the answer is for another relying party")]
    Party,
    /// Nobody touched the authenticator.
    #[error("nobody was present")]
    Presence,
    /// The authenticator did not make sure who was there.
    #[error("nobody was verified")]
    Verification,
    /// What it says of copies cannot be, or is not what it said before.
    #[error("the backup flags do not hold")]
    Backup,
    /// The key is of a kind that was not asked for, or is no key.
    #[error("the key is not acceptable")]
    Key,
    /// What vouches for the key does not hold, or was not asked for.
    #[error("the attestation is not acceptable")]
    Attestation,
    /// The signature is not the key's.
    #[error("the signature is not right")]
    Signature,
    /// The counter did not rise: there may be a copy of the key.
    #[error("the counter went back")]
    Counter,
}

impl Refusal {
    /// A word for the trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Challenge => "challenge",
            Self::Origin => "origin",
            Self::Party => "relying_party",
            Self::Presence => "no_presence",
            Self::Verification => "no_verification",
            Self::Backup => "backup_flags",
            Self::Key => "key",
            Self::Attestation => "attestation",
            Self::Signature => "signature",
            Self::Counter => "counter",
        }
    }
}

/// What an answer is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who we are.
    pub party: &'a Party,
    /// The challenge that was given out, base64url.
    pub challenge: &'a str,
    /// Whether the authenticator must have made sure who was there.
    pub verified: bool,
}

/// A key that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its id.
    pub credential_id: CredentialId,
    /// Its public half, as the authenticator wrote it (COSE).
    pub public_key: Vec<u8>,
    /// How often it signed; 0 where it does not count.
    pub sign_count: u32,
    /// Whether the authenticator made sure who was there.
    pub user_verified: bool,
    /// Whether copies of it may be kept elsewhere; that never changes.
    pub backup_eligible: bool,
    /// Whether they are.
    pub backed_up: bool,
}

/// What is known of a key that signs in.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its public half, as it was stored.
    pub public_key: &'a [u8],
    /// Its counter at the last sign-in.
    pub sign_count: u32,
    /// Whether copies of it may be kept elsewhere.
    pub backup_eligible: bool,
}

/// A sign-in that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asserted {
    /// Its counter now.
    pub sign_count: u32,
    /// Whether the authenticator made sure who was there.
    pub user_verified: bool,
    /// Whether copies of it are kept elsewhere.
    pub backed_up: bool,
}

/// Checks a new key (§7.1).
pub fn register(answer: &RegistrationAnswer, expected: &Expected<'_>) -> Result<Registered, Refusal> {
    client::check(&answer.client_data, client::CREATE, expected)?;
    let hash = Sha256::digest(&answer.client_data);
    let attestation = Attestation::read(&answer.attestation)?;
    let data = AuthenticatorData::read(&attestation.data).ok_or(Refusal::Malformed)?;
    check_data(&data, expected)?;
    let credential = data.credential.ok_or(Refusal::Malformed)?;
    let key = Key::read(credential.public_key).ok_or(Refusal::Key)?;
    attestation.check(&key, &hash)?;
    let credential_id = CredentialId::new(credential.id).ok_or(Refusal::Malformed)?;
    // What the browser calls the key is what the authenticator calls it.
    if credential_id != answer.id {
        return Err(Refusal::Malformed);
    }
    Ok(Registered {
        credential_id,
        public_key: credential.public_key.to_vec(),
        sign_count: data.sign_count,
        user_verified: data.user_verified(),
        backup_eligible: data.backup_eligible(),
        backed_up: data.backed_up(),
    })
}

/// Checks a sign-in with a key that is known (§7.2). Whose key it is, is looked up by [`AssertionAnswer::id`].
pub fn assert(answer: &AssertionAnswer, known: &Known<'_>, expected: &Expected<'_>) -> Result<Asserted, Refusal> {
    client::check(&answer.client_data, client::GET, expected)?;
    let data = AuthenticatorData::read(&answer.authenticator_data).ok_or(Refusal::Malformed)?;
    // A signature over a new key's data would be one for another purpose (§6.1).
    if data.credential.is_some() {
        return Err(Refusal::Malformed);
    }
    check_data(&data, expected)?;
    if data.backup_eligible() != known.backup_eligible {
        return Err(Refusal::Backup);
    }
    let key = Key::read(known.public_key).ok_or(Refusal::Key)?;
    let mut signed = answer.authenticator_data.clone();
    signed.extend_from_slice(&Sha256::digest(&answer.client_data));
    if !key.verify(&signed, &answer.signature) {
        return Err(Refusal::Signature);
    }
    // Keys that do not count say 0 for good.
    if (data.sign_count, known.sign_count) != (0, 0) && data.sign_count <= known.sign_count {
        return Err(Refusal::Counter);
    }
    Ok(Asserted { sign_count: data.sign_count, user_verified: data.user_verified(), backed_up: data.backed_up() })
}

/// What both ceremonies ask of the authenticator's own statement.
fn check_data(data: &AuthenticatorData<'_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    if data.party != expected.party.id_hash() {
        return Err(Refusal::Party);
    }
    if !data.user_present() {
        return Err(Refusal::Presence);
    }
    if expected.verified && !data.user_verified() {
        return Err(Refusal::Verification);
    }
    if data.backed_up() && !data.backup_eligible() {
        return Err(Refusal::Backup);
    }
    Ok(())
}
