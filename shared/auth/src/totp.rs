//! Codes of authenticator apps (RFC 6238 over RFC 4226): HMAC-SHA-1, six digits, thirty seconds, which is what every app
//! reads. SHA-1 is broken for collisions, not for HMAC (RFC 6194 §3.3); apps ignore a request for another hash.

use aws_lc_rs::hmac;
use roadstead_contracts::percent::escape;
use roadstead_runtime::{Ids, Secret};
use subtle::ConstantTimeEq as _;

/// Bytes of a secret: the output of the hash (RFC 4226 §4, R6).
const SECRET_BYTES: usize = 20;
/// Seconds of a step.
pub const STEP_SECONDS: i64 = 30;
/// Steps before and after the current one whose codes are taken: people type, and clocks differ.
const DRIFT: i64 = 1;
const DIGITS: usize = 6;
const MODULUS: u32 = 1_000_000;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The secret that an app and the hub share.
#[derive(Clone)]
pub struct TotpSecret([u8; SECRET_BYTES]);

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl TotpSecret {
    /// A new one.
    pub fn random(ids: &Ids) -> Self {
        Self(ids.random_bytes())
    }

    /// From what was stored.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// To be sealed and stored.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As people type it into an app (RFC 4648 §6, without padding).
    pub fn base32(&self) -> Secret {
        let mut text = String::with_capacity(SECRET_BYTES * 8 / 5);
        let (mut buffer, mut bits) = (0u32, 0);
        for byte in self.0 {
            buffer = (buffer << 8) | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                let index = (buffer >> bits) & 31;
                text.push(char::from(BASE32.get(index as usize).copied().unwrap_or(b'A')));
            }
        }
        Secret::new(text)
    }

    /// What an app reads from a QR code.
    pub fn uri(&self, issuer: &str, account: &str) -> Secret {
        let (issuer, account) = (escape(issuer), escape(account));
        Secret::new(format!("otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}", self.base32().expose()))
    }

    /// The step whose code this is, near now and after the last one that was used: a code counts once.
    pub fn accept(&self, code: &str, unix_seconds: i64, last_step: i64) -> Option<i64> {
        if code.len() != DIGITS || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let now = unix_seconds.div_euclid(STEP_SECONDS);
        let mut found = None;
        for step in now - DRIFT..=now + DRIFT {
            let same: bool = self.code(step).as_bytes().ct_eq(code.as_bytes()).into();
            if same && step > last_step {
                found = Some(step);
            }
        }
        found
    }

    /// The code of a step.
    pub fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        // Dynamic truncation (RFC 4226 §5.3).
        let offset = usize::from(tag.last().copied().unwrap_or(0) & 15);
        let word = tag.get(offset..offset + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).unwrap_or_default();
        let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % MODULUS;
        format!("{number:0DIGITS$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890").unwrap()
    }

    #[test]
    fn codes_of_the_rfc() {
        // RFC 6238, appendix B, last six digits.
        for (seconds, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(sample().code(seconds / STEP_SECONDS), code, "{seconds}");
        }
        assert_eq!(sample().base32().expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }

    #[test]
    fn a_code_counts_once_and_for_a_while() {
        let secret = sample();
        let now = 1_800_000_000;
        let code = secret.code(now / 30);
        let step = secret.accept(&code, now, 0).unwrap();
        assert_eq!(secret.accept(&code, now, step), None, "used");
        assert!(secret.accept(&code, now + 30, 0).is_some() && secret.accept(&code, now - 30, 0).is_some());
        assert_eq!(secret.accept(&code, now + 90, 0), None, "over");
        for odd in ["", "12345", "1234567", "abcdef", "１２３４５６"] {
            assert_eq!(secret.accept(odd, now, 0), None, "{odd}");
        }
    }

    #[test]
    fn a_secret_has_twenty_bytes_and_is_stored_as_it_is() {
        assert_eq!(sample().bytes(), b"12345678901234567890");
        for length in [0, 19, 21, 32] {
            assert!(TotpSecret::from_bytes(&vec![7; length]).is_none(), "{length}");
        }
    }

    #[test]
    fn a_code_of_an_earlier_step_does_not_count_after_a_later_one() {
        let (secret, now) = (sample(), 1_800_000_000);
        let step = now / STEP_SECONDS;
        for (of, last, found) in [
            (step - 1, step - 2, Some(step - 1)),
            (step - 1, step - 1, None),
            (step - 1, step, None),
            (step + 1, step, Some(step + 1)),
            (step + 2, 0, None),
            (step - 2, 0, None),
        ] {
            assert_eq!(secret.accept(&secret.code(of), now, last), found, "{of} after {last}");
        }
    }

    #[test]
    fn apps_read_the_address() {
        let uri = sample().uri("Road stead", "ada@example.com");
        assert!(uri.expose().starts_with("otpauth://totp/Road%20stead:ada%40example.com?secret=GEZDG"));
        assert_eq!(format!("{:?}", sample()), "***");
    }
}
