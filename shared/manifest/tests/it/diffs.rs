//! Diffs and the YAML they are made of.

use roadstead_manifest::limits::{DIFF_INPUT_MAX, DIFF_MAX};
use roadstead_manifest::{diff, parse, to_yaml};
use serde_json::{Value, json};

#[test]
fn a_diff_shows_what_a_person_changed() {
    let before = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "resourceVersion": "1", "generation": 1, "uid": "u", "managedFields": [{"manager": "x"}]},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}},
        "status": {"readyReplicas": 1},
    });
    let mut after = before.clone();
    after["metadata"]["resourceVersion"] = json!("2");
    after["metadata"]["managedFields"] = json!([]);
    after["status"] = json!({});
    assert_eq!(diff(Some(&before), Some(&after)), None);
    after["spec"]["replicas"] = json!(3);
    after["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    let shown = diff(Some(&before), Some(&after)).unwrap();
    assert_eq!(
        shown,
        "@@ -3,9 +3,9 @@\n metadata:\n   name: web\n spec:\n-  replicas: 1\n+  replicas: 3\n   template:\n     spec:\n       containers:\n-      - image: web:1\n+      - image: web:2\n         name: web\n"
    );
    let made = diff(None, Some(&after)).unwrap();
    assert!(made.lines().skip(1).all(|line| line.starts_with('+')), "{made}");
    assert!(diff(Some(&before), None).unwrap().contains("-kind: Deployment"));
    assert_eq!(diff(None, None), None);
}

#[test]
fn a_secrets_values_are_never_shown() {
    let secret = |data: Value, applied: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}},
            "data": data, "stringData": {"plain": "canary-plain"},
        })
    };
    let before = secret(json!({"kept": "canary-1", "changed": "canary-2", "gone": "canary-3"}), "canary-4");
    let after = secret(json!({"kept": "canary-1", "changed": "canary-5", "new": "canary-6"}), "canary-7");
    for (one, other) in [(Some(&before), Some(&after)), (None, Some(&after)), (Some(&before), None)] {
        let shown = diff(one, other).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
    }
    let shown = diff(Some(&before), Some(&after)).unwrap();
    for line in ["-  changed: \"*** (before)\"", "+  changed: \"*** (after)\"", "-  gone: \"***\"", "+  new: \"***\""] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    let mut broken = before.clone();
    broken["data"] = json!("canary-8");
    assert!(!diff(Some(&broken), Some(&after)).unwrap().contains("canary"));
}

#[test]
fn only_secrets_are_masked_and_nothing_is_kept_of_kubectl() {
    let object = |api_version: &str, kind: &str, value: &str| {
        json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": value, "own": value}},
            "data": {"key": value},
        })
    };
    for (api_version, kind, masked) in
        [("v1", "Secret", true), ("v1", "ConfigMap", false), ("example.com/v1", "Secret", false)]
    {
        let (one, two) = (object(api_version, kind, "first"), object(api_version, kind, "second"));
        let shown = diff(Some(&one), Some(&two)).unwrap();
        assert_eq!(shown.contains("key: first"), !masked, "{shown}");
        assert!(shown.contains("own: second") && !shown.contains("last-applied"), "{shown}");
    }
    // What became a Secret, or was one, is one on both sides.
    let (plain, secret) = (object("v1", "ConfigMap", "canary"), object("v1", "Secret", "canary"));
    for (one, two) in [(&plain, &secret), (&secret, &plain)] {
        let mut shown = diff(Some(one), Some(two)).unwrap();
        shown = shown.replace("own: canary", "");
        assert!(!shown.contains("canary"), "{shown}");
    }
    // An annotation that was only kubectl's leaves no empty map behind; an empty one of one's own is no change either.
    let bare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let mut annotated = bare.clone();
    annotated["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"});
    assert_eq!(diff(Some(&bare), Some(&annotated)), None);
}

#[test]
fn what_is_too_large_on_one_side_is_not_compared() {
    let sized = |bytes: usize| {
        let object = |text: String| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": text}});
        let plain = to_yaml(&object("x".to_owned())).len();
        let object = object("x".repeat(bytes - plain + 1));
        assert_eq!(to_yaml(&object).len(), bytes);
        object
    };
    let small = sized(500);
    let fits = sized(DIFF_INPUT_MAX);
    let large = sized(DIFF_INPUT_MAX + 1);
    for (one, two, shown) in
        [(&small, &fits, true), (&fits, &small, true), (&small, &large, false), (&large, &small, false)]
    {
        let text = diff(Some(one), Some(two)).unwrap();
        assert_eq!(!text.contains("too large"), shown);
    }
}

#[test]
fn a_diff_is_whole_up_to_its_bound() {
    let object = |length: usize| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "x".repeat(length)}});
    let shown = |length: usize| diff(Some(&object(1)), Some(&object(length))).unwrap();
    let plain = shown(2).len() - 2;
    let whole = shown(DIFF_MAX - plain);
    assert_eq!(whole.len(), DIFF_MAX);
    assert!(!whole.contains("not shown"));
    let cut = shown(DIFF_MAX - plain + 1);
    assert!(cut.ends_with("-  a: x\n… the rest is not shown\n"), "{cut}");
}

#[test]
fn a_diff_that_is_cut_is_filled_up_to_its_bound() {
    let object = |a: &str, b: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": a, "b": b}});
    let shown = |length: usize| diff(Some(&object("x", "one")), Some(&object(&"x".repeat(length), "two"))).unwrap();
    let (last, note) = ("+  b: two\n", "… the rest is not shown\n");
    // With so many letters, all but the last line is as long as may be shown.
    let fits = DIFF_MAX + last.len() - (shown(2).len() - 2);
    let full = shown(fits);
    assert!(full.ends_with(&format!("xx\n{note}")) && full.len() == DIFF_MAX + note.len(), "{}", full.len());
    assert!(shown(fits + 1).ends_with(&format!("-  b: one\n{note}")));
}

#[test]
fn diffs_are_bounded() {
    let object = |lines: usize, tail: &str| {
        let text = (0..lines).map(|line| format!("line {line} {tail}")).collect::<Vec<_>>().join("\n");
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": text}})
    };
    let shown = diff(Some(&object(20_000, "a")), Some(&object(20_000, "b"))).unwrap();
    assert!(shown.len() < DIFF_MAX + 100 && shown.ends_with("the rest is not shown\n"), "{}", shown.len());
    let shown = diff(Some(&object(200_000, "a")), Some(&object(200_000, "b"))).unwrap();
    assert!(shown.contains("too large"), "{}", shown.len());
}

#[test]
fn printed_yaml_reads_back() {
    let value = json!({
        "kind": "X", "apiVersion": "v1", "metadata": {"name": "a", "labels": {"no": "yes", "empty": "", "number": "1e3"}},
        "spec": {
            "text": "a\nb\n", "cut": "a\nb", "more": "a\n\n\n", "odd": " lead\nx", "tail": "x \ny", "tab": "a:\n\tb\n",
            "quotes": "say \"it\" \\ now", "colon": "a: b", "hash": "a #b", "dash": "- a", "star": "*a", "bell": "\u{7}",
            "wide": "größe 🚢", "nel": "a\u{85}b", "date": "2001-01-01", "time": "12:30", "null": null, "list": [[], {}, [1, [2]], {"a": [1]}, "x\ny\n"],
            "float": 1.5, "big": u64::MAX, "neg": -1, "true": true, "truth": "true", "tilde": "~", "merge": "<<", "": "nameless",
            "url": "https://example.com/a?b=c#d", "image": "web:1.2", "path": "/a/b", "percent": "50%", "ip": "10.0.0.1",
        },
    });
    let text = to_yaml(&value);
    assert!(text.starts_with("apiVersion: v1\nkind: X\nmetadata:\n"), "{text}");
    let back = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(back[0].value, value, "{text}");
}
