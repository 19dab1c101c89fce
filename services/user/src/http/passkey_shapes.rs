//! Passkeys in JSON, as browsers write and read them (W3C Web Authentication §5.1.8 to §5.1.10).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::{NewPasskeyWish, PasskeyWish};
use crate::domain::Passkey;

/// Who the hub is to people.
const TITLE: &str = "Roadstead";
/// The one kind of credential.
const KIND: &str = "public-key";

/// A passkey, to its owner.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasskeyView {
    id: String,
    name: String,
    /// Whether copies of it are kept elsewhere.
    synced: bool,
    created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<Passkey> for PasskeyView {
    fn from(passkey: Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name,
            synced: passkey.backed_up,
            created_at: passkey.created_at,
            last_used_at: passkey.last_used_at,
        }
    }
}

/// Answer of add.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Added {
    pub(super) passkey: PasskeyView,
    /// Each works once, in place of a second proof; only with the first one, and never shown again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) recovery_codes: Vec<String>,
}

/// Options for `navigator.credentials`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PublicKeyOptions<T> {
    pub(super) public_key: T,
}

/// The hub, to authenticators.
#[derive(Debug, Serialize, ToSchema)]
struct PartyShape {
    id: String,
    name: &'static str,
}

/// The account, to authenticators.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountShape {
    id: String,
    name: String,
    display_name: String,
}

/// A kind of key.
#[derive(Debug, Serialize, ToSchema)]
struct KeyKind {
    #[serde(rename = "type")]
    kind: &'static str,
    alg: i64,
}

/// What authenticators do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Selection {
    resident_key: &'static str,
    user_verification: &'static str,
}

/// A credential that is there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CredentialRef {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    transports: Vec<String>,
}

impl From<Passkey> for CredentialRef {
    fn from(passkey: Passkey) -> Self {
        Self { kind: KIND, id: passkey.credential_id, transports: passkey.transports }
    }
}

/// Options for a new passkey.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreationOptions {
    rp: PartyShape,
    user: AccountShape,
    challenge: String,
    pub_key_cred_params: Vec<KeyKind>,
    /// Milliseconds.
    timeout: i64,
    exclude_credentials: Vec<CredentialRef>,
    authenticator_selection: Selection,
    attestation: &'static str,
}

impl CreationOptions {
    pub(super) fn new(wish: NewPasskeyWish, algorithms: &[i64], timeout: i64) -> Self {
        Self {
            rp: PartyShape { id: wish.party, name: TITLE },
            user: AccountShape { id: wish.handle, display_name: wish.username.clone(), name: wish.username },
            challenge: wish.challenge.expose().to_owned(),
            pub_key_cred_params: algorithms.iter().map(|alg| KeyKind { kind: KIND, alg: *alg }).collect(),
            timeout,
            exclude_credentials: wish.known.into_iter().map(CredentialRef::from).collect(),
            // What can be signed in with alone is preferred; a plain security key does as a second factor.
            authenticator_selection: Selection { resident_key: "preferred", user_verification: "preferred" },
            attestation: "none",
        }
    }
}

/// Options for a sign-in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestOptions {
    challenge: String,
    rp_id: String,
    /// Milliseconds.
    timeout: i64,
    allow_credentials: Vec<CredentialRef>,
    user_verification: &'static str,
}

impl RequestOptions {
    pub(super) fn new(wish: PasskeyWish, timeout: i64) -> Self {
        Self {
            challenge: wish.challenge.expose().to_owned(),
            rp_id: wish.party,
            timeout,
            allow_credentials: wish.known.into_iter().map(CredentialRef::from).collect(),
            user_verification: if wish.verified { "required" } else { "discouraged" },
        }
    }
}

/// A new passkey, as `toJSON` writes it. Other members are not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Registration {
    pub(super) id: String,
    pub(super) response: RegistrationStatements,
}

/// The statements about a new passkey.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RegistrationStatements {
    #[serde(rename = "clientDataJSON")]
    pub(super) client_data: String,
    #[serde(rename = "attestationObject")]
    pub(super) attestation: String,
    #[serde(default)]
    pub(super) transports: Vec<String>,
}

/// A sign-in, as `toJSON` writes it. Other members are not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Assertion {
    pub(super) id: String,
    pub(super) response: AssertionStatements,
}

/// The statements of a sign-in.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct AssertionStatements {
    #[serde(rename = "clientDataJSON")]
    pub(super) client_data: String,
    #[serde(rename = "authenticatorData")]
    pub(super) authenticator_data: String,
    pub(super) signature: String,
    #[serde(rename = "userHandle", default)]
    pub(super) user_handle: Option<String>,
}
