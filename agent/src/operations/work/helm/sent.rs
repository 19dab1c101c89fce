//! Which object a request's body is: in JSON, or in Kubernetes' protobuf, of which only the names are read (client-go's typed
//! clients send it).

use serde_json::{Value, json};

/// Begins a body in protobuf.
const MAGIC: &[u8] = b"k8s\0";

/// What a body says it is: at least `kind` and `metadata.name`, where it has them; null when it is neither form.
pub(super) fn read(body: &[u8]) -> Value {
    match body.strip_prefix(MAGIC) {
        Some(unknown) => protobuf(unknown).unwrap_or_default(),
        None => serde_json::from_slice(body).unwrap_or_default(),
    }
}

/// `runtime.Unknown` around the object. Every kind has its metadata first, and metadata the name.
fn protobuf(unknown: &[u8]) -> Option<Value> {
    let (about, raw) = (field(unknown, 1)?, field(unknown, 2)?);
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let kind = field(about, 2).and_then(text)?;
    let name = field(raw, 1).and_then(|metadata| field(metadata, 1)).and_then(text);
    Some(json!({ "kind": kind, "metadata": { "name": name } }))
}

/// The first field of a number that has a length.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let tag = number(&mut message)?;
        let length = match tag & 7 {
            0 => {
                number(&mut message)?;
                0
            }
            1 => 8,
            2 => usize::try_from(number(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = message.split_at_checked(length)?;
        if tag == (wanted << 3) | 2 {
            return Some(content);
        }
        message = rest;
    }
    None
}

/// A varint.
fn number(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(number: u8, content: &[u8]) -> Vec<u8> {
        [&[(number << 3) | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn secret(name: &str) -> Vec<u8> {
        let about = [wrap(1, b"v1"), wrap(2, b"Secret")].concat();
        // Something else before the metadata's name does not confuse it.
        let metadata = [vec![7 << 3, 0x96, 0x01], wrap(1, name.as_bytes()), wrap(3, b"n")].concat();
        let raw = [wrap(1, &metadata), wrap(2, b"data")].concat();
        [MAGIC.to_vec(), wrap(1, &about), wrap(2, &raw), wrap(3, b"")].concat()
    }

    #[test]
    fn both_forms_say_what_they_are() {
        let expected = json!({ "kind": "Secret", "metadata": { "name": "a" } });
        assert_eq!(read(&secret("a")), expected);
        assert_eq!(read(expected.to_string().as_bytes()), expected);
    }

    #[test]
    fn garbage_is_nothing() {
        let whole = secret("abc");
        for cut in 0..whole.len() {
            let read = read(&whole[..cut]);
            assert!(read.is_null() || read["kind"] == "Secret", "{cut}: {read}");
        }
        for garbage in
            [&b""[..], b"x", b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"k8s\0\x0b", b"k8s\0\x0a\x7f"]
        {
            assert!(read(garbage).is_null());
        }
    }
}
