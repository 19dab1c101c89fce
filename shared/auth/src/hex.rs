//! Lower-case hexadecimal.

/// Writes bytes as lower-case hex.
pub(crate) fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Reads lower-case hex; anything else is `None`, upper case too: one value has one text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_one_spelling() {
        assert_eq!(encode(&[0, 0x7f, 0xff]), "007fff");
        assert_eq!(decode("007fff").unwrap(), [0, 0x7f, 0xff]);
        assert_eq!(encode(&[0x1a, 0xc9, 0x58]), "1ac958");
        assert_eq!(decode("1ac958be").unwrap(), [0x1a, 0xc9, 0x58, 0xbe]);
        for bad in ["0", "0G", "AB", "é"] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }
}
