//! What a browser hands over, with limits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::CREDENTIAL_ID_MAX;

/// Longest statement of the browser: an origin, a challenge, and what browsers add.
const CLIENT_DATA_MAX: usize = 4 * 1024;
/// Longest statement about a new key: the longest id, an RSA key of 8192 bits, its signature, and some extensions.
const ATTESTATION_MAX: usize = 8 * 1024;
/// Longest statement of the authenticator at a sign-in: 37 bytes and some extensions.
const AUTHENTICATOR_DATA_MAX: usize = 1024;
/// Longest signature: RSA with 8192 bits.
const SIGNATURE_MAX: usize = 1024;

/// The id of a key, as the authenticator made it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialId(Vec<u8>);

impl CredentialId {
    /// From its bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=CREDENTIAL_ID_MAX).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// Reads base64url.
    pub fn parse(text: &str) -> Option<Self> {
        decode(text, CREDENTIAL_ID_MAX).and_then(|bytes| Self::new(&bytes))
    }

    /// Base64url.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }
}

/// A new key.
#[derive(Debug, Clone)]
pub struct RegistrationAnswer {
    /// What the browser calls it.
    pub id: CredentialId,
    pub(super) client_data: Vec<u8>,
    pub(super) attestation: Vec<u8>,
}

impl RegistrationAnswer {
    /// Reads the three parts of the answer's JSON form, each base64url. `None` when one is not, or is too long.
    pub fn parse(id: &str, client_data: &str, attestation: &str) -> Option<Self> {
        Some(Self {
            id: CredentialId::parse(id)?,
            client_data: decode(client_data, CLIENT_DATA_MAX)?,
            attestation: decode(attestation, ATTESTATION_MAX)?,
        })
    }

    /// The challenge that it claims to be for.
    pub fn challenge(&self) -> Option<String> {
        super::challenge_of(&self.client_data)
    }
}

/// A sign-in.
#[derive(Debug, Clone)]
pub struct AssertionAnswer {
    /// With which key.
    pub id: CredentialId,
    pub(super) client_data: Vec<u8>,
    pub(super) authenticator_data: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl AssertionAnswer {
    /// Reads the four parts of the answer's JSON form, each base64url. `None` when one is not, or is too long.
    pub fn parse(id: &str, client_data: &str, authenticator_data: &str, signature: &str) -> Option<Self> {
        Some(Self {
            id: CredentialId::parse(id)?,
            client_data: decode(client_data, CLIENT_DATA_MAX)?,
            authenticator_data: decode(authenticator_data, AUTHENTICATOR_DATA_MAX)?,
            signature: decode(signature, SIGNATURE_MAX)?,
        })
    }

    /// The challenge that it claims to be for.
    pub fn challenge(&self) -> Option<String> {
        super::challenge_of(&self.client_data)
    }
}

/// One spelling: without padding, the last bits zero.
fn decode(text: &str, longest: usize) -> Option<Vec<u8>> {
    if text.len() > (longest * 4).div_ceil(3) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()
}
