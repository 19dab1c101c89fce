//! Texts from outside, made storable.

use serde_json::Value;

/// Cuts a text at a character.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// PostgreSQL keeps no NUL in JSON: it becomes the replacement character, on both databases alike.
pub(crate) fn scrub(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(fields) => {
            if fields.keys().any(|key| key.contains('\0')) {
                let taken = std::mem::take(fields);
                fields.extend(taken.into_iter().map(|(key, value)| (key.replace('\0', "\u{fffd}"), value)));
            }
            fields.values_mut().for_each(scrub);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nul_is_left() {
        let mut value = serde_json::json!({"a\0b": ["x\0", {"y": "\0"}], "c": 1});
        scrub(&mut value);
        assert!(!value.to_string().contains("\\u0000"), "{value}");
        assert_eq!(cut("añb", 2), "a");
    }
}
