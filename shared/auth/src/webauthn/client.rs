//! What the browser says of the page that asked (§5.8.1).

use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::{Expected, Refusal};

/// Kind of a new key.
pub(super) const CREATE: &str = "webauthn.create";
/// Kind of a sign-in.
pub(super) const GET: &str = "webauthn.get";

/// Browsers add members as they please; those that mean something are there once.
#[derive(Deserialize)]
struct ClientData<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    challenge: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    origin: std::borrow::Cow<'a, str>,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<serde_json::Value>,
}

/// The challenge that an answer claims to be for, unchecked: only to look up what was given out.
pub fn challenge_of(client_data: &[u8]) -> Option<String> {
    let claimed = read(client_data)?.challenge.into_owned();
    // 32 bytes in base64url; nothing else was ever given out.
    (claimed.len() == (super::CHALLENGE_BYTES * 4).div_ceil(3)).then_some(claimed)
}

/// Kind, challenge and origin, and that no other site's page is around ours.
pub(super) fn check(client_data: &[u8], kind: &str, expected: &Expected<'_>) -> Result<(), Refusal> {
    let said = read(client_data).ok_or(Refusal::Malformed)?;
    if said.kind != kind {
        return Err(Refusal::Malformed);
    }
    if !bool::from(said.challenge.as_bytes().ct_eq(expected.challenge.as_bytes())) {
        return Err(Refusal::Challenge);
    }
    if said.origin != expected.party.origin() || said.cross_origin || said.top_origin.is_some() {
        return Err(Refusal::Origin);
    }
    Ok(())
}

fn read(client_data: &[u8]) -> Option<ClientData<'_>> {
    serde_json::from_slice(client_data).ok()
}
