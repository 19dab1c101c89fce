//! Secrets in two parts, `<kind>_<id>_<secret>`: API keys, join tokens, refresh tokens. The id finds the row in one step,
//! the secret proves; only the SHA-256 of the secret is stored or sent on (256 random bits need no slow hash).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadstead_contracts::ids::{ApiKeyId, TypedId};
use roadstead_contracts::message::CredentialProof;
use roadstead_runtime::{Ids, Secret};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::hex;

/// Random bytes in the secret half.
pub const SECRET_BYTES: usize = 32;
/// Length of the secret half: base64url of 32 bytes without padding.
pub const SECRET_LEN: usize = 43;
/// Length of a whole token: kind, id, secret and two lines between.
pub const TOKEN_LEN: usize = 3 + 1 + 32 + 1 + SECRET_LEN;
/// Longest key of the predecessors' form that is looked at: theirs have 35 characters.
const LEGACY_LEN_MAX: usize = 128;
/// How the predecessors' keys begin.
const LEGACY_PREFIX: &str = "ks_";

/// What a token is for. The kind is in its text, so that one cannot be used as another and scanners find leaked ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `rsk_`: an API key.
    ApiKey,
    /// `rsj_`: a join token.
    Join,
    /// `rsr_`: a refresh token.
    Refresh,
    /// `rsp_`: a link to set a new password.
    PasswordReset,
}

impl Kind {
    /// The word before the first line.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "rsk",
            Self::Join => "rsj",
            Self::Refresh => "rsr",
            Self::PasswordReset => "rsp",
        }
    }
}

/// A token taken apart.
#[derive(Debug, Clone)]
pub struct TwoPart {
    /// What it is for.
    pub kind: Kind,
    /// Public half.
    pub id: Uuid,
    /// Secret half.
    pub secret: Secret,
}

impl TwoPart {
    /// A new token with this id.
    pub fn new(kind: Kind, id: impl TypedId, ids: &Ids) -> Self {
        Self { kind, id: id.uuid(), secret: ids.token(SECRET_BYTES) }
    }

    /// The public half as a typed id.
    pub fn id<T: TypedId>(&self) -> T {
        T::from_uuid(self.id)
    }

    /// SHA-256 of the secret half: what is stored and sent on.
    pub fn digest(&self) -> String {
        digest(self.secret.expose())
    }

    /// The whole text, as shown once.
    pub fn format(&self) -> Secret {
        format(self.kind, self.id, &self.secret)
    }
}

/// Puts a token together.
pub fn format(kind: Kind, id: Uuid, secret: &Secret) -> Secret {
    Secret::new(format!("{}_{}_{}", kind.prefix(), id.as_simple(), secret.expose()))
}

/// Takes a token of this kind apart. Only the one right spelling is read: upper case, hyphens and spaces are refused.
pub fn parse(kind: Kind, text: &str) -> Option<TwoPart> {
    if text.len() != TOKEN_LEN || !text.is_ascii() {
        return None;
    }
    let (id, secret) = text.strip_prefix(kind.prefix())?.strip_prefix('_')?.split_at_checked(32)?;
    let secret = secret.strip_prefix('_')?;
    if URL_SAFE_NO_PAD.decode(secret).ok()?.len() != SECRET_BYTES {
        return None;
    }
    let id = Uuid::from_slice(&hex::decode(id)?).ok()?;
    Some(TwoPart { kind, id, secret: Secret::new(secret.to_owned()) })
}

/// SHA-256 as lower-case hex.
pub fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes()))
}

/// Compares two digests in constant time.
pub fn digests_equal(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// What to send on for an API key: id and digest, never the key. Keys of the predecessors (`ks_…`) go by digest alone.
pub fn api_key_proof(text: &str) -> Option<CredentialProof> {
    if let Some(token) = parse(Kind::ApiKey, text) {
        return Some(CredentialProof::ApiKey { id: token.id::<ApiKeyId>(), digest: token.digest() });
    }
    let rest = text.strip_prefix(LEGACY_PREFIX)?;
    let legacy =
        !rest.is_empty() && text.len() <= LEGACY_LEN_MAX && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    legacy.then(|| CredentialProof::LegacyApiKey { digest: digest(text) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roadstead_runtime::SystemClock;

    use super::*;

    fn sample() -> TwoPart {
        let ids = Ids::seeded(SystemClock::shared(), 1);
        TwoPart::new(Kind::ApiKey, ids.next::<ApiKeyId>(), &ids)
    }

    #[test]
    fn a_token_reads_back() {
        let token = sample();
        let text = token.format();
        assert_eq!(text.expose().len(), TOKEN_LEN);
        let read = parse(Kind::ApiKey, text.expose()).unwrap();
        assert_eq!((read.id, read.digest()), (token.id, token.digest()));
        assert_eq!(token.digest(), digest(token.secret.expose()), "what is stored follows from the secret half");
        assert_eq!(token.id::<ApiKeyId>().uuid(), token.id);
        assert!(matches!(api_key_proof(text.expose()), Some(CredentialProof::ApiKey { id, .. }) if id == token.id()));
    }

    #[test]
    fn one_spelling_one_kind() {
        let text = sample().format();
        let text = text.expose();
        assert!(parse(Kind::Join, text).is_none());
        assert!(parse(Kind::Refresh, text).is_none());
        for bad in [
            text.to_uppercase(),
            format!(" {text}"),
            format!("{text} "),
            text[..36].to_owned(),
            text.replacen('_', "-", 1),
            String::new(),
            "rsk_".to_owned(),
            format!("{}=", &text[..TOKEN_LEN - 1]),
        ] {
            assert!(parse(Kind::ApiKey, &bad).is_none(), "{bad}");
            assert!(api_key_proof(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn keys_of_the_predecessors_go_by_digest() {
        let key = format!("ks_{}", "a1B2".repeat(8));
        assert_eq!(api_key_proof(&key), Some(CredentialProof::LegacyApiKey { digest: digest(&key) }));
        for bad in ["ks_", "ks_a b", "ks_../x", &format!("ks_{}", "a".repeat(200))] {
            assert!(api_key_proof(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn each_kind_has_its_word() {
        let words = [Kind::ApiKey, Kind::Join, Kind::Refresh, Kind::PasswordReset].map(Kind::prefix);
        assert_eq!(words, ["rsk", "rsj", "rsr", "rsp"], "scanners of leaked credentials look for them");
        let token = sample();
        for kind in [Kind::Join, Kind::Refresh, Kind::PasswordReset] {
            let text = format(kind, token.id, &token.secret);
            assert_eq!(parse(kind, text.expose()).unwrap().kind, kind);
            assert!(api_key_proof(text.expose()).is_none(), "{kind:?}");
        }
    }

    #[test]
    fn digests() {
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(digests_equal(&digest("a"), &digest("a")));
        assert!(!digests_equal(&digest("a"), "") && !digests_equal(&digest("a"), &digest("b")));
    }

    #[test]
    fn a_token_does_not_print_its_secret() {
        let token = sample();
        assert!(!format!("{token:?}").contains(token.secret.expose()));
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in "\\PC{0,120}") {
            for kind in [Kind::ApiKey, Kind::Join, Kind::Refresh, Kind::PasswordReset] {
                let _ = parse(kind, &text);
            }
            let _ = api_key_proof(&text);
        }

        #[test]
        fn near_tokens_do_not_panic(text in "rsk_[0-9a-fé]{28,34}_[A-Za-z0-9_-]{40,44}") {
            let _ = parse(Kind::ApiKey, &text);
        }
    }
}
