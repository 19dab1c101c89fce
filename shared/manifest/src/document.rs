//! Bodies to documents.

use roadstead_contracts::{Code, Error};
use serde_json::Value;

use crate::bundle::{self, Piece};
use crate::fault::{Place, refused, source_name};
use crate::json;
use crate::limits::{BODY_MAX, OBJECTS_MAX};
use crate::yaml::{self, Read};

/// One object of a body, and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// For people: `deploy.yaml#2`, or `deploy.yaml#2.5` for the fifth object of a list.
    pub source: String,
    /// Its number over the whole body, from 0, in the order given.
    pub position: u32,
    /// Line of its file, from 1.
    pub line: u32,
    /// The object.
    pub value: Value,
}

/// Name of a body that has none.
const UNNAMED: &str = "manifest";

/// Reads a body: YAML with any number of documents, JSON, lists, JSON lines, or what [`fn@crate::bundle`] and
/// [`crate::render`] wrote.
pub fn parse(body: &[u8]) -> Result<Vec<Document>, Error> {
    parse_named(UNNAMED, body)
}

/// The same, with the file's name for faults.
pub fn parse_named(name: &str, body: &[u8]) -> Result<Vec<Document>, Error> {
    if body.len() > BODY_MAX {
        let sentence = format!("a manifest is at most {} MiB", BODY_MAX / 1024 / 1024);
        return Err(Error::new(Code::PayloadTooLarge, sentence));
    }
    let mut documents = Vec::new();
    for piece in bundle::pieces(name, body)? {
        match piece {
            Piece::File { name, bytes } => file(&source_name(name), bytes, &mut documents)?,
            Piece::Object { source, line, bytes } => {
                let place = Place { source: UNNAMED, document: 1, line };
                let value = serde_json::from_slice(bytes)
                    .map_err(|_| refused(place.fault("json_syntax", "the prepared object is damaged")))?;
                push(&mut documents, Document { source: source.to_owned(), position: 0, line, value })?;
            }
        }
    }
    Ok(documents)
}

fn file(source: &str, bytes: &[u8], documents: &mut Vec<Document>) -> Result<(), Error> {
    let text = text(source, bytes)?;
    for Read { document, line, value } in read(source, text)? {
        let place = Place { source, document, line };
        match value {
            Value::Null => {}
            Value::Object(_) => expand(place, &format!("{source}#{document}"), value, documents, 0)?,
            _ => return Err(refused(place.fault("not_an_object", "a document must be an object"))),
        }
    }
    Ok(())
}

/// Lists within lists: what `kubectl get` writes has one level.
const LISTS_MAX: usize = 4;

fn expand(
    place: Place<'_>,
    source: &str,
    value: Value,
    documents: &mut Vec<Document>,
    lists: usize,
) -> Result<(), Error> {
    let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"))
        && value.get("items").is_some_and(Value::is_array);
    if !is_list {
        return push(documents, Document { source: source.to_owned(), position: 0, line: place.line, value });
    }
    if lists >= LISTS_MAX {
        return Err(refused(place.fault("yaml_limit", "lists within lists within lists")));
    }
    let Value::Object(mut list) = value else { return Ok(()) };
    let Some(Value::Array(items)) = list.remove("items") else { return Ok(()) };
    for (at, item) in items.into_iter().enumerate() {
        if !item.is_object() {
            let message = format!("item {} of the list is not an object", at + 1);
            return Err(refused(place.fault("not_an_object", message)));
        }
        expand(place, &format!("{source}.{}", at + 1), item, documents, lists + 1)?;
    }
    Ok(())
}

fn push(documents: &mut Vec<Document>, mut document: Document) -> Result<(), Error> {
    if documents.len() >= OBJECTS_MAX {
        let source = document.source.split('#').next().unwrap_or_default();
        let number = document.source.split('#').nth(1).and_then(|text| text.split('.').next());
        let place =
            Place { source, document: number.and_then(|text| text.parse().ok()).unwrap_or(1), line: document.line };
        return Err(refused(place.fault("yaml_limit", format!("more than {OBJECTS_MAX} objects"))));
    }
    document.position = u32::try_from(documents.len()).unwrap_or(u32::MAX);
    documents.push(document);
    Ok(())
}

/// JSON when it begins like JSON and is JSON; else YAML.
fn read(source: &str, text: &str) -> Result<Vec<Read>, Error> {
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml::read(source, text).map_err(refused);
    }
    match json::read(source, text) {
        Ok(read) => Ok(read),
        Err(fault) if fault.syntax => yaml::read(source, text).map_err(|_| refused(fault.error)),
        Err(fault) => Err(refused(fault.error)),
    }
}

/// The text behind the bytes: UTF-8, with or without its mark, without control characters.
fn text<'b>(source: &str, bytes: &'b [u8]) -> Result<&'b str, Error> {
    let place = Place { source, document: 1, line: 1 };
    let wide = bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || (bytes.len() > 1 && (bytes[0] == 0 || bytes[1] == 0));
    if wide {
        return Err(refused(place.fault("encoding", "the file is UTF-16 or UTF-32; save it as UTF-8")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = line_at(bytes, error.valid_up_to());
        refused(Place { line, ..place }.fault("encoding", "the file is not UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some((at, _)) = text.char_indices().find(|(_, character)| is_refused(*character)) {
        let line = line_at(text.as_bytes(), at);
        return Err(refused(Place { line, ..place }.fault("encoding", "the file holds a control character")));
    }
    Ok(text)
}

/// What YAML calls not printable, but for DEL, which JSON may hold.
fn is_refused(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{80}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}')
}

fn line_at(bytes: &[u8], offset: usize) -> u32 {
    let feeds = bytes.iter().take(offset).filter(|byte| **byte == b'\n').count();
    u32::try_from(feeds + 1).unwrap_or(u32::MAX)
}
