//! CBOR as authenticators write it (CTAP2 §8): definite lengths, shortest numbers, no name twice, and not deep.

use ciborium::Value;

/// Deepest nesting that is read: a list of certificates in a statement in an attestation is four deep.
const DEPTH_MAX: usize = 8;
/// Most members of a map that is looked into: keys have five, attestations three.
const MEMBERS_MAX: usize = 16;

/// Reads one item; answers it and what follows it.
pub(super) fn read(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX).ok()?;
    let read = bytes.get(..bytes.len().checked_sub(rest.len())?)?;
    // One spelling: what was read is written the same.
    let mut again = Vec::with_capacity(read.len());
    ciborium::into_writer(&value, &mut again).ok()?;
    (again == read).then_some((value, rest))
}

/// The members of a map, none of them named twice.
pub(super) fn members(value: Value) -> Option<Vec<(Value, Value)>> {
    let members = value.into_map().ok().filter(|members| members.len() <= MEMBERS_MAX)?;
    let once = |index: usize, name: &Value| members.iter().skip(index + 1).all(|(other, _)| other != name);
    members.iter().enumerate().all(|(index, (name, _))| once(index, name)).then_some(members)
}

/// Takes a member out.
pub(super) fn take(members: &mut Vec<(Value, Value)>, name: &Value) -> Option<Value> {
    let at = members.iter().position(|(known, _)| known == name)?;
    Some(members.swap_remove(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_and_not_deep() {
        let (value, rest) = read(b"\xa1\x01\x02\xff").unwrap();
        assert_eq!((members(value).unwrap().len(), rest), (1, &b"\xff"[..]));
        for odd in [
            &b""[..],
            b"\xa1\x01",
            // Indefinite lengths, numbers longer than they need be.
            b"\xbf\x01\x02\xff",
            b"\x5f\x41\x00\xff",
            b"\x18\x01",
            b"\x58\x01\x00",
            b"\xb8\x01\x01\x02",
            // Longer than there is.
            b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x9b\x00\xff\xff\xff\xff\xff\xff\xff",
            &[0x81; 64],
        ] {
            assert!(read(odd).is_none(), "{odd:x?}");
        }
        assert!(members(read(b"\xa2\x01\x02\x01\x03").unwrap().0).is_none(), "a name twice");
        assert!(members(read(b"\x01").unwrap().0).is_none(), "no map");
    }
}
