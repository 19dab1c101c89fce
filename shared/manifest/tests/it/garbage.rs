//! Whatever comes in: no panic, and what is accepted holds the promises.

use proptest::prelude::*;
use roadstead_manifest::limits::{DEPTH_MAX, OBJECTS_MAX};
use roadstead_manifest::{diff, keys, merge_patch, parse, render, to_yaml};
use serde_json::{Map, Value, json};

/// Pieces that make YAML interesting.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b:",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "---\n",
        "...\n",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "!x ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ",",
        "#",
        "?",
        "%YAML 1.2\n",
        "\t",
        "\r\n",
        "~",
        "0o7",
        "1e9",
        "kind: List\n",
        "items:\n",
        "apiVersion: v1\n",
        "metadata:\n",
        "\u{feff}",
        "ß",
        "\\",
        "\\u",
        "@",
        "`",
        "labels:",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        "[ -~\n\tä]{0,12}".prop_map(Value::String),
        prop::sample::select(vec!["no", "~", "1e3", "0644", "2001-01-01", "<<", "- a", "a: b", "|", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[ -~]{0,6}", inner, 0..5).prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn garbage_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let mut bundle = b"#roadstead-bundle\n".to_vec();
        bundle.extend_from_slice(&bytes);
        let _ = parse(&bundle);
    }

    #[test]
    fn near_yaml_does_not_panic(text in pieces()) {
        if let Ok(documents) = parse(text.as_bytes()) {
            prop_assert!(documents.len() <= OBJECTS_MAX);
            for document in &documents {
                prop_assert!(depth(&document.value) <= DEPTH_MAX);
            }
            let _ = keys(&documents, Some("default"));
            prop_assert_eq!(parse(&render(&documents)).unwrap(), documents);
        }
    }

    #[test]
    fn what_is_printed_reads_back(value in json_value()) {
        let object = json!({"kind": "X", "spec": value});
        let text = to_yaml(&object);
        let back = parse(text.as_bytes());
        prop_assert!(back.is_ok(), "{:?}\n{}", back, text);
        let back = back.unwrap();
        prop_assert_eq!(back.len(), 1, "{}", text);
        prop_assert_eq!(&back[0].value, &object, "{}", text);
        prop_assert_eq!(parse(object.to_string().as_bytes()).unwrap()[0].value.clone(), object);
    }

    #[test]
    fn a_diff_is_there_exactly_when_something_changed(one in json_value(), other in json_value()) {
        let (one, other) = (json!({"kind": "X", "spec": one}), json!({"kind": "X", "spec": other}));
        prop_assert!(diff(Some(&one), Some(&one)).is_none());
        prop_assert_eq!(diff(Some(&one), Some(&other)).is_some(), one != other);
    }

    #[test]
    fn a_merge_patch_is_idempotent(target in json_value(), patch in json_value()) {
        let mut once = target;
        merge_patch(&mut once, &patch);
        let mut twice = once.clone();
        merge_patch(&mut twice, &patch);
        prop_assert_eq!(once, twice);
    }
}
