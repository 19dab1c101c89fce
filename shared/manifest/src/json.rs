//! JSON documents to values: one after the other, with the limits of YAML, and without taking the last of two equal keys
//! in silence as serde_json's own value does.

use std::fmt;

use roadstead_contracts::error::FieldError;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::fault::{Place, shown};
use crate::limits::{DEPTH_MAX, DOCUMENTS_MAX, NODES_MAX};
use crate::yaml::Read;

/// What was wrong with JSON.
pub(crate) struct Fault {
    pub(crate) error: FieldError,
    /// It is not JSON at all: it may still be YAML.
    pub(crate) syntax: bool,
}

/// Reads every document.
pub(crate) fn read(source: &str, text: &str) -> Result<Vec<Read>, Fault> {
    let mut read = Vec::new();
    let mut nodes = NODES_MAX;
    let mut line = Lines::new(text);
    let mut rest = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut document = 0;
    loop {
        let before = rest.byte_offset();
        let Some(next) = rest.next() else { return Ok(read) };
        document += 1;
        let first = line.at(before + leading_space(text.get(before..).unwrap_or_default()));
        let place = Place { source, document, line: first };
        if document as usize > DOCUMENTS_MAX {
            let error = place.fault("yaml_limit", format!("more than {DOCUMENTS_MAX} documents"));
            return Err(Fault { error, syntax: false });
        }
        let raw = next.map_err(|error| {
            let at = Place { line: number(error.line()), ..place };
            Fault { error: at.fault("json_syntax", "not JSON"), syntax: true }
        })?;
        let mut inner = serde_json::Deserializer::from_str(raw.get());
        let value = Node { nodes: &mut nodes, depth: DEPTH_MAX }.deserialize(&mut inner).map_err(|error| {
            let at = Place { line: first + number(error.line()).saturating_sub(1), ..place };
            let text = error.to_string();
            let (kind, message) = match text.split_once(": ") {
                Some((kind @ ("yaml_limit" | "yaml_duplicate_key"), rest)) => {
                    (kind, rest.rsplit_once(" at line ").map_or(rest, |(message, _)| message))
                }
                _ if text.contains("recursion limit") => ("yaml_limit", "nested too deep"),
                _ => ("json_syntax", "not JSON"),
            };
            Fault { error: at.fault(kind, message), syntax: kind == "json_syntax" }
        })?;
        read.push(Read { document, line: first, value });
    }
}

fn leading_space(text: &str) -> usize {
    text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

fn number(line: usize) -> u32 {
    u32::try_from(line.max(1)).unwrap_or(u32::MAX)
}

/// Line numbers of rising offsets.
struct Lines<'a> {
    text: &'a [u8],
    offset: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), offset: 0, line: 1 }
    }

    fn at(&mut self, offset: usize) -> u32 {
        let passed = self.text.get(self.offset..offset).unwrap_or_default();
        let feeds = passed.split(|byte| *byte == b'\n').count() - 1;
        self.line = self.line.saturating_add(u32::try_from(feeds).unwrap_or(u32::MAX));
        self.offset = self.offset.max(offset);
        self.line
    }
}

struct Node<'n> {
    nodes: &'n mut usize,
    depth: usize,
}

impl Node<'_> {
    fn below(&mut self) -> Option<Node<'_>> {
        let depth = self.depth.checked_sub(1)?;
        Some(Node { nodes: self.nodes, depth })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.nodes.checked_sub(1) else {
            return Err(D::Error::custom(format!("yaml_limit: more than {NODES_MAX} values")));
        };
        *self.nodes = left;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let Some(below) = self.below() else { return Err(too_deep()) };
            match sequence.next_element_seed(below)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                let message = format!("yaml_duplicate_key: the key {} stands there twice", shown(&key));
                return Err(A::Error::custom(message));
            }
            let Some(below) = self.below() else { return Err(too_deep()) };
            map.insert(key, entries.next_value_seed(below)?);
        }
        Ok(Value::Object(map))
    }
}

fn too_deep<E: serde::de::Error>() -> E {
    E::custom(format!("yaml_limit: nested more than {DEPTH_MAX} deep"))
}
