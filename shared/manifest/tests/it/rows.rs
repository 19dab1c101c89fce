//! The rows Y04 to Y09 of the reliability catalogue (Y01 and Y02 are the front door's multipart form, Y10 the cluster's
//! own rules).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use roadstead_contracts::{Code, Error};
use roadstead_manifest::limits::{ALIAS_NODES_MAX, BODY_MAX, DEPTH_MAX, OBJECTS_MAX};
use roadstead_manifest::{bundle, keys, parse, parse_named, render};
use serde_json::{Value, json};

fn one(text: &str) -> Value {
    let mut documents = parse(text.as_bytes()).unwrap();
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0).value
}

fn refused(body: impl AsRef<[u8]>) -> Error {
    let body = body.as_ref();
    let began = Instant::now();
    let error = match parse_named("app.yaml", body) {
        Err(error) => error,
        Ok(documents) => match keys(&documents, None) {
            Err(error) => error,
            Ok(keys) => panic!("{keys:?}"),
        },
    };
    // The row says 100 ms on a quiet machine and an optimised build.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    error
}

fn kind(error: &Error) -> &str {
    assert_eq!(error.code, Code::Validation, "{error}");
    &error.errors[0].kind
}

#[test]
fn y04_limits() {
    let long = vec![b'a'; BODY_MAX + 1];
    assert_eq!(parse(&long).unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(parse(&vec![b'a'; 20 * 1024 * 1024]).unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(kind(&refused("---\n".repeat(1_000_000))), "yaml_limit");
    // One scalar as long as a body may be is not an object, and is looked at once.
    assert_eq!(kind(&refused(vec![b'a'; BODY_MAX])), "not_an_object");
    assert_eq!(kind(&refused("[0]\n---\n".repeat(3))), "not_an_object");
    // What fits, fits: a ConfigMap near what etcd takes.
    let large =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  a: {}\n", "x".repeat(1_000_000));
    assert_eq!(parse(large.as_bytes()).unwrap().len(), 1);
}

fn bomb(wide: usize, deep: usize) -> String {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..deep {
        let aliases = vec![format!("*a{}", level - 1); wide].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    text
}

#[test]
fn y05_alias_bombs_and_depth() {
    let error = refused(bomb(9, 9));
    assert_eq!(kind(&error), "yaml_limit");
    assert!(error.detail.contains("app.yaml, document 1, line"), "{}", error.detail);
    assert_eq!(
        kind(&refused(format!("a: &a {}\nb: [{}]\n", "x".repeat(4_000), vec!["*a"; 2_000].join(", ")))),
        "yaml_limit"
    );
    assert_eq!(kind(&refused("a: &a\n  b: *a\n")), "yaml_limit");
    assert_eq!(kind(&refused("a: &a [*a]\n")), "yaml_limit");
    assert_eq!(kind(&refused(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)))), "yaml_limit");
    assert_eq!(kind(&refused(format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)))), "yaml_limit");
    let mut blocks = String::new();
    for level in 0..10_000 {
        blocks.push_str(&" ".repeat(level.min(400)));
        blocks.push_str("a:\n");
    }
    assert!(matches!(kind(&refused(blocks)), "yaml_limit" | "yaml_duplicate_key"));
    // Aliases may not reach deeper than a document either.
    let half = DEPTH_MAX / 2 + 5;
    let deep =
        format!("a: &a {}1{}\nb: {}*a{}\n", "[".repeat(half), "]".repeat(half), "[".repeat(half), "]".repeat(half));
    assert_eq!(kind(&refused(deep)), "yaml_limit");
    // Anchors for what they are meant for.
    let fine = one("kind: X\nbase: &base {cpu: 1, memory: 1Gi}\nmore:\n  <<: *base\n  cpu: 2\ncopy: *base\n");
    assert_eq!(fine["more"], json!({"cpu": 2, "memory": "1Gi"}));
    assert_eq!(fine["copy"], json!({"cpu": 1, "memory": "1Gi"}));
    const { assert!(ALIAS_NODES_MAX <= 100_000) };
}

#[test]
fn y06_tags_merges_and_duplicates() {
    for text in [
        "kind: X\na: !!python/object:os.system {}\n",
        "kind: X\na: !include /etc/passwd\n",
        "kind: X\na: !!str 1\n",
        "kind: X\na: ! 1\n",
        "kind: X\n!!binary a: 1\n",
    ] {
        let error = refused(text);
        assert!(matches!(kind(&error), "yaml_refused" | "yaml_syntax"), "{error}");
        assert!(!error.detail.contains("passwd"), "{}", error.detail);
        assert!(error.detail.contains("line 2"), "{}", error.detail);
    }
    assert_eq!(kind(&refused("%YAML 1.1\n---\nkind: X\n")), "yaml_refused");
    assert_eq!(kind(&refused("a: &a\n  <<: *a\n")), "yaml_limit");
    assert_eq!(kind(&refused("a:\n  <<: 7\n")), "yaml_refused");
    let error = refused("kind: A\n---\nkind: X\nspec:\n  a: 1\n  b: 2\n  a: 3\n");
    assert_eq!(kind(&error), "yaml_duplicate_key");
    assert_eq!(error.detail, "app.yaml, document 2, line 7: the key a stands there twice");
    assert_eq!(error.errors[0].loc, ["body", "app.yaml", "document 2", "line 7"]);
    let error = refused("{\"kind\": \"A\"}\n{\"kind\": \"X\",\n \"a\": 1,\n \"a\": 2}\n");
    assert_eq!(kind(&error), "yaml_duplicate_key");
    assert_eq!(error.detail, "app.yaml, document 2, line 4: the key a stands there twice");
    assert_eq!(kind(&refused("? [a, b]\n: 1\n")), "yaml_refused");
    assert_eq!(kind(&refused("a: {: 1}\n")), "yaml_refused");
}

/// A document whose label is written in a certain way.
fn labelled(scalar: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    tier: {scalar}\n")
}

#[test]
fn y07_labels_are_kept_as_written_or_refused() {
    for text in ["no", "yes", "on", "off", "y", "N", "2001-01-01", "12:30:45", "1_000", "0b11", "v1.10", "<<", "="] {
        let document = one(&labelled(text));
        assert_eq!(document["metadata"]["labels"]["tier"], json!(text), "{text}");
        keys(&parse(labelled(text).as_bytes()).unwrap(), None).unwrap();
    }
    for text in ["0o10", "1e3", "~", "null", "", "true", "False", "0644", "1.0", "0x10", "7", ".inf"] {
        let error = refused(labelled(text));
        assert!(matches!(kind(&error), "yaml_not_text" | "yaml_refused"), "{text}: {error}");
        assert!(error.detail.contains("line 6"), "{text}: {}", error.detail);
        let quoted = one(&labelled(&format!("{text:?}")));
        assert_eq!(quoted["metadata"]["labels"]["tier"], json!(text));
    }
    // The same deeper down, and in JSON.
    let template = "kind: X\nspec:\n  template:\n    metadata:\n      annotations: {port: 8080}\n";
    let error = refused(template);
    assert!(error.detail.contains("spec.template.metadata.annotations.port must be text"), "{}", error.detail);
    let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"tier":1}}}"#;
    assert_eq!(kind(&refused(json)), "yaml_not_text");
    // Keys are what is written, too.
    assert_eq!(one("kind: X\ndata: {no: a, 8080: b, 1e3: c}\n")["data"], json!({"no": "a", "8080": "b", "1e3": "c"}));
}

#[test]
fn y08_encodings() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: größe}\n";
    let mut marked = vec![0xef, 0xbb, 0xbf];
    marked.extend_from_slice(text.as_bytes());
    assert_eq!(parse(&marked).unwrap()[0].value["metadata"]["name"], "größe");
    let utf16 = |big: bool| -> Vec<u8> {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    };
    for wide in
        [utf16(true), utf16(false), [vec![0xff, 0xfe], utf16(false)].concat(), [vec![0xfe, 0xff], utf16(true)].concat()]
    {
        let error = refused(wide);
        assert_eq!(kind(&error), "encoding");
        assert!(error.detail.contains("UTF-16"), "{}", error.detail);
    }
    let latin: Vec<u8> = text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
    let error = refused(latin);
    assert_eq!(kind(&error), "encoding");
    assert!(error.detail.contains("line 3"), "{}", error.detail);
    for tabbed in ["kind: X\nspec:\n\ta: 1\n", "\tkind: X\n", "kind: X\nspec:\n  a: 1\n\tb: 2\n"] {
        assert_eq!(kind(&refused(tabbed)), "yaml_syntax", "{tabbed:?}");
    }
    // Inside text and JSON a tab is a tab.
    assert_eq!(one("kind: X\ndata:\n  Makefile: |\n    all:\n    \tcc a.c\n")["data"]["Makefile"], "all:\n\tcc a.c\n");
    assert_eq!(one("{\n\t\"kind\":\t\"X\"\n}\n")["kind"], "X");
    for control in ["kind: \"a\u{0}b\"\n", "kind: a\u{1b}[31m\n", "kind: a\u{7}\n"] {
        assert_eq!(kind(&refused(control)), "encoding", "{control:?}");
    }
    assert_eq!(one("kind: X\r\nmetadata:\r\n  name: a\r\n")["metadata"]["name"], "a");
}

#[test]
fn y09_objects_are_checked_before_any_is_applied() {
    let fine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    for (text, message) in [
        ("kind: ConfigMap\nmetadata: {name: a}\n", "apiVersion is missing"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "kind is missing"),
        ("apiVersion: v1\nkind: ConfigMap\n", "metadata is missing"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "metadata.name is missing"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\n", "generateName is not taken"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 7}\n", "metadata.name must be text"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../x}\n", "cannot be the name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A}\n", "cannot be the name"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}\n", "cannot be the name"),
        ("apiVersion: a/b/c\nkind: ConfigMap\nmetadata: {name: a}\n", "apiVersion a/b/c cannot be one"),
        ("apiVersion: v1\nkind: config map\nmetadata: {name: a}\n", "kind config map cannot be one"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: \"x/y\"}\n", "not a name of a namespace"),
    ] {
        let error = refused(format!("{fine}---\n# the second\n{text}"));
        assert!(error.detail.starts_with("app.yaml, document 2, line 6"), "{}", error.detail);
        assert!(error.detail.contains(message), "{} for {message}", error.detail);
    }
    let error = refused(format!("{fine}---\n{fine}"));
    assert_eq!(kind(&error), "object_twice");
    assert!(error.detail.contains("stands in app.yaml#1 already"), "{}", error.detail);

    // Every fault of a body is named, not only the first.
    let many = "kind: X\n---\n".repeat(50);
    let error = refused(many);
    assert_eq!(error.errors.len(), 20);
    assert!(error.detail.ends_with("(and 49 more)"), "{}", error.detail);

    let documents = parse(b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: theirs}\n").unwrap();
    assert_eq!(keys(&documents, Some("theirs")).unwrap()[0].namespace.as_deref(), Some("theirs"));
    assert_eq!(keys(&documents, Some("ours")).unwrap_err().errors[0].kind, "namespace_mismatch");
    assert_eq!(keys(&documents, Some("o/urs")).unwrap_err().errors[0].loc, ["query", "namespace"]);

    let items = vec![json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}); 50_000];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let error = refused(list);
    assert_eq!(kind(&error), "yaml_limit");
    assert!(error.detail.contains(&OBJECTS_MAX.to_string()), "{}", error.detail);
}

#[test]
fn every_form_reads_the_same() {
    let object = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let yaml = "# two\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n---\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n...\n";
    let lines = format!("{}\n{}\n", object("a"), object("b"));
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [object("a"), object("b")]});
    let typed = json!({"apiVersion": "v1", "kind": "ConfigMapList", "items": [object("a"), object("b")]});
    let bundled = bundle([
        ("x/a.yaml", &b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}"[..]),
        ("b.json", object("b").to_string().as_bytes()),
    ]);
    for (body, sources) in [
        (yaml.as_bytes().to_vec(), ["manifest#1", "manifest#3"]),
        (lines.into_bytes(), ["manifest#1", "manifest#2"]),
        (list.to_string().into_bytes(), ["manifest#1.1", "manifest#1.2"]),
        (typed.to_string().into_bytes(), ["manifest#1.1", "manifest#1.2"]),
        (bundled, ["a.yaml#1", "b.json#1"]),
    ] {
        let documents = parse(&body).unwrap();
        let values: Vec<&Value> = documents.iter().map(|document| &document.value).collect();
        assert_eq!(values, [&object("a"), &object("b")], "{}", String::from_utf8_lossy(&body));
        assert_eq!(documents.iter().map(|document| document.position).collect::<Vec<_>>(), [0, 1]);
        let named: Vec<&str> = documents.iter().map(|document| document.source.as_str()).collect();
        assert_eq!(named, sources);
        // What was read once is read again as it was, with the places where it stood.
        assert_eq!(parse(&render(&documents)).unwrap(), documents);
    }
    assert_eq!(parse(b"").unwrap(), []);
    assert_eq!(parse(b"# nothing\n---\n---\n").unwrap(), []);
    assert!(parse(b"#roadstead-bundle\n#file 9999 x\nabc\n").is_err());
    assert!(parse(b"#roadstead-bundle\n#object 3 1 x\nabc\n").is_err());
    assert!(parse(b"#roadstead-bundle\nkind: X\n").is_err());
}
