//! Texts as parts of a URL (RFC 3986).

/// A text as a segment of a path or a value of a query: all but the unreserved characters is escaped.
pub fn escape(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte)]);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_means_otherwise_is_escaped() {
        assert_eq!(escape("a/../b?x#y"), "a%2F..%2Fb%3Fx%23y");
        assert_eq!(escape("a b+/="), "a%20b%2B%2F%3D");
        assert_eq!(escape("prod-1.eu_2~"), "prod-1.eu_2~");
        assert_eq!(escape("é\0"), "%C3%A9%00");
    }
}
