//! A sealed value as it is stored.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keys::{KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use crate::sealer::PLAIN_MAX;
use crate::{Error, KeyVersion, Result};

/// Version of the form, the beginning of every sealed text.
pub(crate) const FORM: &str = "s1.";
/// Bytes of a wrapped data key.
pub(crate) const WRAPPED_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
/// Longest text that is looked at.
const TEXT_MAX: usize = (PLAIN_MAX + NONCE_BYTES + TAG_BYTES).div_ceil(3) * 4 + 128;

/// One text column: `s1.<version of the master key>.<wrapped data key>.<nonce, ciphertext, tag>`, base64url without
/// padding. Holds nothing that is secret, so it may be printed; it is long and of no use, so `Debug` does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    text: String,
    version: KeyVersion,
}

impl Sealed {
    /// Reads a column.
    pub fn parse(text: &str) -> Result<Self> {
        let (version, wrapped, body) = parts(text)?;
        let wrapped = URL_SAFE_NO_PAD.decode(wrapped).map_err(|_| Error::Malformed)?;
        // Base64 has no other spelling of the same bytes in this engine, so a text compares as its bytes do.
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| Error::Malformed)?;
        if wrapped.len() != WRAPPED_BYTES || body.len() < NONCE_BYTES + TAG_BYTES {
            return Err(Error::Malformed);
        }
        Ok(Self { text: text.to_owned(), version })
    }

    pub(crate) fn new(version: KeyVersion, wrapped: &[u8], body: &[u8]) -> Self {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Self { text: format!("{FORM}{version}.{}.{}", encode(wrapped), encode(body)), version }
    }

    /// Whether a column's text looks sealed, without reading all of it.
    pub fn looks_sealed(text: &str) -> bool {
        text.starts_with(FORM)
    }

    /// Version of the master key that it is wrapped with.
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// The text for the column.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Wrapped data key, and the rest.
    pub(crate) fn bytes(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let (_, wrapped, body) = parts(&self.text)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Malformed);
        Ok((decode(wrapped)?, decode(body)?))
    }

    /// The same body under another wrapped key.
    pub(crate) fn with_key(&self, version: KeyVersion, wrapped: &[u8]) -> Result<Self> {
        let (_, _, body) = parts(&self.text)?;
        Ok(Self { text: format!("{FORM}{version}.{}.{body}", URL_SAFE_NO_PAD.encode(wrapped)), version })
    }
}

fn parts(text: &str) -> Result<(KeyVersion, &str, &str)> {
    if text.len() > TEXT_MAX {
        return Err(Error::Malformed);
    }
    let mut parts = text.strip_prefix(FORM).ok_or(Error::Malformed)?.split('.');
    let (Some(version), Some(wrapped), Some(body), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::Malformed);
    };
    // One spelling: no sign, no leading zero.
    if version.starts_with(['0', '+']) {
        return Err(Error::Malformed);
    }
    let version = version.parse().map(KeyVersion).map_err(|_| Error::Malformed)?;
    Ok((version, wrapped, body))
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(key {}, {} bytes)", self.version, self.text.len())
    }
}

impl FromStr for Sealed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wrapped: usize, body: usize) -> String {
        let part = |length| URL_SAFE_NO_PAD.encode(vec![7; length]);
        format!("s1.1.{}.{}", part(wrapped), part(body))
    }

    #[test]
    fn parts_have_their_lengths() {
        let least = NONCE_BYTES + TAG_BYTES;
        for (wrapped, body, good) in [
            (WRAPPED_BYTES, least, true),
            (WRAPPED_BYTES, least + 1, true),
            (WRAPPED_BYTES, least - 1, false),
            (WRAPPED_BYTES, 0, false),
            (WRAPPED_BYTES - 1, least, false),
            (WRAPPED_BYTES + 1, least, false),
            (WRAPPED_BYTES * 2, least, false),
            (0, least, false),
        ] {
            assert_eq!(Sealed::parse(&text(wrapped, body)).is_ok(), good, "{wrapped} {body}");
        }
    }

    #[test]
    fn texts_are_read_up_to_their_bound() {
        let plain = text(WRAPPED_BYTES, NONCE_BYTES + TAG_BYTES);
        let head = plain.rsplit_once('.').unwrap().0.len() + 1;
        let of = |length: usize| format!("{}{}", &plain[..head], "A".repeat(length - head));
        assert_ne!((TEXT_MAX - head) % 4, 1, "so many letters are whole bytes");
        assert_eq!(TEXT_MAX, 1_398_268, "the longest value, and some room");
        assert!(Sealed::parse(&of(TEXT_MAX)).is_ok());
        for length in TEXT_MAX + 1..TEXT_MAX + 5 {
            assert_eq!(Sealed::parse(&of(length)), Err(Error::Malformed));
        }
    }

    #[test]
    fn one_spelling_and_what_it_looks_like() {
        let good = text(WRAPPED_BYTES, 40);
        assert!(Sealed::looks_sealed(&good) && !Sealed::looks_sealed("postgres://") && !Sealed::looks_sealed(""));
        let sealed: Sealed = good.parse().unwrap();
        assert_eq!((sealed.version(), sealed.as_str()), (KeyVersion(1), good.as_str()));
        assert_eq!(format!("{sealed:?}"), format!("Sealed(key 1, {} bytes)", good.len()));
        for odd in [
            good.replacen("s1.1.", "s1.01.", 1),
            good.replacen("s1.1.", "s1.+1.", 1),
            good.replacen("s1.1.", "s1.0.", 1),
            good.replacen("s1.1.", "s1..", 1),
            good.replacen("s1.1.", "s1.4294967296.", 1),
            good.replacen("s1.", "s2.", 1),
            format!("{good}."),
            format!("{good}="),
            format!(" {good}"),
            good.rsplit_once('.').unwrap().0.to_owned(),
        ] {
            assert_eq!(Sealed::parse(&odd), Err(Error::Malformed), "{odd}");
        }
    }
}
