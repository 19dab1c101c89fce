//! Tokens of identity providers: ID tokens (OpenID Connect Core §3.1.3.7) and logout tokens (OpenID Connect Back-Channel
//! Logout §2.6). Signatures are checked by the library with keys of the provider's own set; what the claims must say is
//! checked here, with the time that is given.
//!
//! No network: fetching discovery documents, keys and tokens is the user service's.

mod claims;
mod keys;

pub use claims::{Expected, IdToken, LogoutToken, issuer_of, verify_id_token, verify_logout_token};
pub use keys::{KEY_SET_BYTES_MAX, ProviderKeys};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The PKCE challenge of a verifier, method S256 (RFC 7636 §4.2).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn challenge_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(super::challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
