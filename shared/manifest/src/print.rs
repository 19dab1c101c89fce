//! Objects as YAML for people: `apiVersion`, `kind` and `metadata` first, then by name, each value on its own line, so that
//! two of them can be compared line by line. Every text that could be read as something else is quoted.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::scalar;

/// Columns of each level.
const INDENT: usize = 2;

/// The object as YAML, with its keys in one stable order.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0, true);
    out
}

fn keys(map: &Map<String, Value>, top: bool) -> Vec<&String> {
    let mut keys: Vec<&String> = map.keys().collect();
    let place = |key: &str| match key {
        "apiVersion" => 0,
        "kind" => 1,
        "metadata" => 2,
        _ => 3,
    };
    keys.sort_by(|one, two| {
        let first = if top { place(one).cmp(&place(two)) } else { std::cmp::Ordering::Equal };
        first.then_with(|| one.cmp(two))
    });
    keys
}

fn block(out: &mut String, value: &Value, depth: usize, top: bool) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for key in keys(map, top) {
                indent(out, depth);
                text(out, key);
                out.push(':');
                if let Some(value) = map.get(key) {
                    entry(out, value, depth);
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(out, depth);
                out.push('-');
                item_entry(out, item, depth);
            }
        }
        other => {
            indent(out, depth);
            inline(out, other);
            out.push('\n');
        }
    }
}

/// After `key:`.
fn entry(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(out, value, depth + 1, false);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            // Sequences stand under their key, as kubectl writes them.
            block(out, value, depth, false);
        }
        Value::String(lines) if is_block_text(lines) => {
            literal(out, lines, depth + 1);
        }
        other => {
            out.push(' ');
            inline(out, other);
            out.push('\n');
        }
    }
}

/// After `-`.
fn item_entry(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut inner = String::new();
            block(&mut inner, value, depth + 1, false);
            // The first key stands on the dash's line.
            out.push(' ');
            out.push_str(inner.trim_start_matches(' '));
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, depth + 1, false);
        }
        Value::String(lines) if is_block_text(lines) => literal(out, lines, depth + 1),
        other => {
            out.push(' ');
            inline(out, other);
            out.push('\n');
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth * INDENT));
}

fn inline(out: &mut String, value: &Value) {
    match value {
        Value::String(plain) => text(out, plain),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Several lines that a literal block holds unchanged.
fn is_block_text(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|character| character == '\n' || character == '\t' || !is_special(character))
        && text.lines().all(|line| !line.ends_with([' ', '\t']))
}

fn literal(out: &mut String, text: &str, depth: usize) {
    let body = text.trim_end_matches('\n');
    let ends = text.len() - body.len();
    out.push_str(match ends {
        0 => " |-\n",
        1 => " |\n",
        _ => " |+\n",
    });
    for line in body.split('\n') {
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
        out.push('\n');
    }
    for _ in 1..ends {
        out.push('\n');
    }
}

/// Not printable, or a line break to somebody.
fn is_special(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

fn text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if is_special(other) => {
                let code = u32::from(other);
                let _ = if code > 0xffff { write!(out, "\\U{code:08x}") } else { write!(out, "\\u{code:04x}") };
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Whether the text stands for itself in YAML 1.1 and 1.2 alike.
fn is_plain(text: &str) -> bool {
    let words_of_old = ["y", "n", "yes", "no", "on", "off", "<<", "="];
    let Some(first) = text.chars().next() else { return false };
    !words_of_old.contains(&text.to_ascii_lowercase().as_str())
        && matches!(scalar::resolve(text), Ok(Value::String(_)))
        && (first.is_alphanumeric() || matches!(first, '/' | '_' | '.' | '$' | '(' | '^' | '+' | '-'))
        && !text.starts_with("- ")
        && text != "-"
        && !text.starts_with("---")
        && !text.starts_with("...")
        // Dates and sexagesimal numbers of YAML 1.1 begin with a digit.
        && !(first.is_ascii_digit() && text.contains([':', '-', '_']))
        && !(matches!(first, '+' | '-' | '.') && text.chars().nth(1).is_some_and(|second| second.is_ascii_digit()))
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && !text.chars().any(is_special)
}
