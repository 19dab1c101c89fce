//! YAML documents to values, event by event, so that limits and line numbers are ours.
//!
//! Refused: tags, duplicate keys, keys that are no scalars, aliases beyond a budget, aliases into their own anchor, control
//! characters, directives. A label or annotation that YAML would read as something else than text is refused too: it is the
//! one place where a manifest is silently changed elsewhere.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use roadstead_contracts::error::FieldError;
use serde_json::{Map, Value};

use crate::fault::{Place, shown};
use crate::limits::{ALIAS_BYTES_MAX, ALIAS_NODES_MAX, DEPTH_MAX, DOCUMENTS_MAX, NODES_MAX};
use crate::scalar;

/// A document as it was read.
#[derive(Debug)]
pub(crate) struct Read {
    /// Which one of the file, from 1.
    pub(crate) document: u32,
    /// Line of its first node, from 1.
    pub(crate) line: u32,
    /// What it says; null for an empty one.
    pub(crate) value: Value,
}

/// Reads every document.
pub(crate) fn read(source: &str, text: &str) -> Result<Vec<Read>, FieldError> {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        // Ours is the lower one and says more; the scanner looks ahead of it.
        flow_nesting_limit: 4 * DEPTH_MAX,
        block_nesting_limit: 4 * DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut reader = Reader::new(source, text);
    for next in Parser::new_from_str_with_options(text, options) {
        match next {
            Ok((event, span)) => reader.take(event, span)?,
            Err(error) => return Err(reader.scan_fault(&error)),
        }
    }
    Ok(reader.read)
}

/// A collection whose end has not come yet.
#[derive(Debug)]
struct Open {
    what: What,
    anchor: usize,
    /// Nodes and bytes below it and itself.
    weight: Weight,
}

#[derive(Debug)]
enum What {
    Sequence(Vec<Value>),
    Mapping {
        map: Map<String, Value>,
        /// The key whose value comes next.
        key: Option<Key>,
        /// Values of `<<`.
        merges: Vec<Value>,
        /// Written line by line, not in braces.
        block: bool,
    },
}

#[derive(Debug)]
enum Key {
    Name(String),
    Merge,
}

#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Where a value goes next.
type Done = (Value, Weight);

struct Reader<'a> {
    source: &'a str,
    text: &'a str,
    read: Vec<Read>,
    document: u32,
    /// Line of the document's first node.
    first_line: u32,
    open: Vec<Open>,
    anchors: HashMap<usize, Done>,
    root: Option<Value>,
    nodes: usize,
    copied: Weight,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, text: &'a str) -> Self {
        Self {
            source,
            text,
            read: Vec::new(),
            document: 0,
            first_line: 1,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            nodes: 0,
            copied: Weight::default(),
        }
    }

    fn place(&self, line: u32) -> Place<'a> {
        Place { source: self.source, document: self.document.max(1), line }
    }

    fn scan_fault(&self, error: &ScanError) -> FieldError {
        let place = self.place(line_number(error.marker().line()));
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => place.fault("yaml_limit", too_deep()),
            ErrorKind::DirectiveDisallowed => place.fault("yaml_refused", "YAML directives are not taken"),
            ErrorKind::UnknownAnchor => place.fault("yaml_syntax", "an alias names an anchor that is not there"),
            _ => place.fault("yaml_syntax", shown(&error.info())),
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), FieldError> {
        let line = line_number(span.start.line());
        match event {
            Event::DocumentStart(..) => {
                self.document += 1;
                if self.document as usize > DOCUMENTS_MAX {
                    let message = format!("more than {DOCUMENTS_MAX} documents");
                    return Err(self.place(line).fault("yaml_limit", message));
                }
                self.first_line = 0;
                self.anchors.clear();
                self.root = None;
            }
            Event::DocumentEnd => {
                let value = self.root.take().unwrap_or(Value::Null);
                let line = if self.first_line == 0 { line } else { self.first_line };
                self.read.push(Read { document: self.document, line, value });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.node(line, tag.is_some())?;
                if self.expects_key() && self.is_indented_by_tab(&span) {
                    return Err(self.place(line).fault("yaml_syntax", "a tab cannot indent; use spaces"));
                }
                return self.scalar(&text, style, anchor, line);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.node(line, tag.is_some())?;
                self.refuse_as_key(line)?;
                self.begin(What::Sequence(Vec::new()), anchor, line)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                self.node(line, tag.is_some())?;
                self.refuse_as_key(line)?;
                let block = style == StructureStyle::Block;
                self.begin(What::Mapping { map: Map::new(), key: None, merges: Vec::new(), block }, anchor, line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => return self.end(line),
            Event::Alias(anchor) => return self.alias(anchor, line),
            _ => {}
        }
        Ok(())
    }

    /// Counts a node.
    fn node(&mut self, line: u32, tagged: bool) -> Result<(), FieldError> {
        if self.first_line == 0 {
            self.first_line = line;
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.place(line).fault("yaml_limit", format!("more than {NODES_MAX} values")));
        }
        if tagged {
            return Err(self.place(line).fault("yaml_refused", "YAML tags are not taken"));
        }
        Ok(())
    }

    fn begin(&mut self, what: What, anchor: usize, line: u32) -> Result<(), FieldError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.place(line).fault("yaml_limit", too_deep()));
        }
        self.open.push(Open { what, anchor, weight: Weight { nodes: 1, bytes: 0 } });
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { what: What::Mapping { key: None, .. }, .. }))
    }

    /// Whether a key of a block stands behind a tab: some parsers take it, others see another indentation.
    fn is_indented_by_tab(&self, span: &Span) -> bool {
        if !matches!(self.open.last(), Some(Open { what: What::Mapping { block: true, .. }, .. })) {
            return false;
        }
        let before = span.byte_range().and_then(|range| self.text.get(..range.start)).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        line.contains('\t') && line.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
    }

    fn refuse_as_key(&self, line: u32) -> Result<(), FieldError> {
        if self.expects_key() {
            return Err(self.place(line).fault("yaml_refused", "a key must be a scalar"));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, line: u32) -> Result<(), FieldError> {
        let weight = Weight { nodes: 1, bytes: text.len() };
        if self.expects_key() {
            if anchor != 0 {
                self.keep(anchor, &Value::String(text.to_owned()), weight, line)?;
            }
            return self.key(text, style, line);
        }
        let value = if style == ScalarStyle::Plain {
            scalar::resolve(text).map_err(|message| self.place(line).fault("yaml_refused", message))?
        } else {
            Value::String(text.to_owned())
        };
        if !value.is_string() && self.in_text_map() {
            let what = if value.is_null() { "no value" } else { "a number or a truth value" };
            let message = format!("{} must be text and YAML reads {what} here; put it in quotes", self.path());
            return Err(self.place(line).fault("yaml_not_text", message));
        }
        if anchor != 0 {
            self.keep(anchor, &value, weight, line)?;
        }
        self.give((value, weight));
        Ok(())
    }

    /// A key is kept as it is written: `8080`, `no` and `1e3` are names.
    fn key(&mut self, text: &str, style: ScalarStyle, line: u32) -> Result<(), FieldError> {
        let place = self.place(line);
        let Some(Open { what: What::Mapping { map, key, .. }, weight, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if style == ScalarStyle::Plain && text == "<<" {
            *key = Some(Key::Merge);
            return Ok(());
        }
        // The parser writes `~` for a key that is not there.
        if style == ScalarStyle::Plain && matches!(text, "" | "~") {
            return Err(place.fault("yaml_refused", "a key is missing"));
        }
        if map.contains_key(text) {
            return Err(place.fault("yaml_duplicate_key", format!("the key {} stands there twice", shown(text))));
        }
        weight.bytes = weight.bytes.saturating_add(text.len());
        *key = Some(Key::Name(text.to_owned()));
        Ok(())
    }

    fn end(&mut self, line: u32) -> Result<(), FieldError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.what {
            What::Sequence(items) => Value::Array(items),
            What::Mapping { mut map, merges, .. } => {
                for merge in merges {
                    let several = match merge {
                        Value::Array(several) => several,
                        one => vec![one],
                    };
                    for one in several {
                        let Value::Object(one) = one else {
                            return Err(self.place(line).fault("yaml_refused", "`<<` takes mappings only"));
                        };
                        for (key, value) in one {
                            map.entry(key).or_insert(value);
                        }
                    }
                }
                Value::Object(map)
            }
        };
        if open.anchor != 0 {
            self.keep(open.anchor, &value, open.weight, line)?;
        }
        self.give((value, open.weight));
        Ok(())
    }

    /// Remembers an anchor's value.
    fn keep(&mut self, anchor: usize, value: &Value, weight: Weight, line: u32) -> Result<(), FieldError> {
        self.spend(weight, line)?;
        self.anchors.insert(anchor, (value.clone(), weight));
        Ok(())
    }

    fn alias(&mut self, anchor: usize, line: u32) -> Result<(), FieldError> {
        self.node(line, false)?;
        let Some(weight) = self.anchors.get(&anchor).map(|(_, weight)| *weight) else {
            return Err(self.place(line).fault("yaml_limit", "an alias stands inside its own anchor"));
        };
        // Paid before it is copied: this is what an alias bomb runs into.
        self.spend(weight, line)?;
        let Some((value, _)) = self.anchors.get(&anchor).cloned() else { return Ok(()) };
        if self.expects_key() {
            let Value::String(text) = value else {
                return Err(self.place(line).fault("yaml_refused", "a key must be a scalar"));
            };
            return self.key(&text, ScalarStyle::DoubleQuoted, line);
        }
        if self.in_text_map() && !value.is_string() {
            let message = format!("{} must be text", self.path());
            return Err(self.place(line).fault("yaml_not_text", message));
        }
        if self.open.len() + height(&value, DEPTH_MAX) > DEPTH_MAX {
            return Err(self.place(line).fault("yaml_limit", too_deep()));
        }
        self.give((value, weight));
        Ok(())
    }

    fn spend(&mut self, weight: Weight, line: u32) -> Result<(), FieldError> {
        self.copied.add(weight);
        if self.copied.nodes > ALIAS_NODES_MAX || self.copied.bytes > ALIAS_BYTES_MAX {
            let message = "anchors and aliases make more of this document than is taken";
            return Err(self.place(line).fault("yaml_limit", message));
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn give(&mut self, (value, weight): Done) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return;
        };
        open.weight.add(weight);
        match &mut open.what {
            What::Sequence(items) => items.push(value),
            What::Mapping { map, key, merges, .. } => match key.take() {
                Some(Key::Name(name)) => drop(map.insert(name, value)),
                Some(Key::Merge) => merges.push(value),
                None => {}
            },
        }
    }

    /// Whether the value at hand is a label or an annotation.
    fn in_text_map(&self) -> bool {
        let name = |open: &Open| match &open.what {
            What::Mapping { key: Some(Key::Name(name)), .. } => Some(name.clone()),
            _ => None,
        };
        let mut last = self.open.iter().rev();
        let (Some(own), Some(map), Some(metadata)) = (last.next(), last.next(), last.next()) else { return false };
        name(own).is_some()
            && name(map).is_some_and(|name| name == "labels" || name == "annotations")
            && name(metadata).is_some_and(|name| name == "metadata")
    }

    /// `metadata.labels.tier`.
    fn path(&self) -> String {
        let names = self.open.iter().filter_map(|open| match &open.what {
            What::Mapping { key: Some(Key::Name(name)), .. } => Some(name.as_str()),
            _ => None,
        });
        shown(&names.collect::<Vec<_>>().join("."))
    }
}

fn too_deep() -> String {
    format!("nested more than {DEPTH_MAX} deep")
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line.max(1)).unwrap_or(u32::MAX)
}

/// How deep a value is, looked at no deeper than a limit. Only values that an alias copied are deep at once.
fn height(value: &Value, limit: usize) -> usize {
    if limit == 0 {
        return 1;
    }
    match value {
        Value::Array(items) => 1 + items.iter().map(|item| height(item, limit - 1)).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(|item| height(item, limit - 1)).max().unwrap_or(0),
        _ => 0,
    }
}
