//! One spelling of every path, before anything looks at it: route, policy and log see the same text (row R18).

use roadstead_contracts::{Code, Error, Result};

/// The canonical form of a path, `None` when it is canonical already: slashes collapsed, no slash at the end.
///
/// Refused: dot segments, backslashes, broken or non-UTF-8 percent escapes, and escapes of characters that either need
/// none (RFC 3986 §2.3: letters, digits, `-._~`) or would change the structure (`/`, `\`, controls).
pub(crate) fn canonical(path: &str) -> Result<Option<String>> {
    let refuse = |detail: &'static str| Err(Error::new(Code::BadRequest, detail));
    if !path.starts_with('/') {
        return refuse("the path must begin with /");
    }
    if path.contains('\\') {
        return refuse("the path contains a backslash");
    }
    if path.contains('%') {
        let Some(decoded) = percent_decode(path) else { return refuse("the path has a broken percent escape") };
        if has_needless_escape(path) {
            return refuse("the path has an escaped separator, dot, control or plain character");
        }
        if std::str::from_utf8(&decoded).is_err() {
            return refuse("the path is not UTF-8");
        }
    }
    if path.split('/').any(|segment| segment == "." || segment == ".." || segment.starts_with("..;")) {
        return refuse("the path has a dot segment");
    }
    let plain = !path.contains("//") && (path.len() == 1 || !path.ends_with('/'));
    if plain {
        return Ok(None);
    }
    let mut clean = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        clean.push('/');
        clean.push_str(segment);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Ok(Some(clean))
}

/// Whether a query string is well-formed: good escapes, UTF-8 (row R06).
pub(crate) fn query_is_sane(query: &str) -> bool {
    !query.contains('%') || percent_decode(query).is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok())
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            out.push(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

fn has_needless_escape(path: &str) -> bool {
    path.as_bytes().windows(3).filter(|window| window[0] == b'%').any(|window| {
        let (Some(high), Some(low)) = (hex(window[1]), hex(window[2])) else { return true };
        let byte = high << 4 | low;
        byte.is_ascii_alphanumeric()
            || byte.is_ascii_control()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b'%')
    })
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slashes_are_collapsed() {
        assert_eq!(canonical("/api/v1/clusters").unwrap(), None);
        assert_eq!(canonical("/").unwrap(), None);
        assert_eq!(canonical("//api/v1//clusters/").unwrap().unwrap(), "/api/v1/clusters");
        assert_eq!(canonical("///").unwrap().unwrap(), "/");
        assert_eq!(canonical("/api-keys//7/regenerate").unwrap().unwrap(), "/api-keys/7/regenerate");
        assert_eq!(canonical("/a%20b/%C3%A9").unwrap(), None);
    }

    #[test]
    fn second_spellings_are_refused() {
        for bad in [
            "/api/v1/../v1/clusters",
            "/api/./v1",
            "/%2e%2e/x",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%31",
            "/%252e",
            "/%00",
            "/%0d%0a",
            "/%zz",
            "/%f",
            "/%ff",
            "/..;/a",
            "",
            "api",
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_utf8() {
        assert!(query_is_sane("a=%C3%A9&b=%2F"));
        assert!(!query_is_sane("a=%ff"));
        assert!(!query_is_sane("a=%"));
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(path in "/[a-z/%.;0-9A-F]{0,40}") {
            if let Ok(Some(clean)) = canonical(&path) {
                prop_assert_eq!(canonical(&clean).unwrap(), None);
            }
        }
    }
}
