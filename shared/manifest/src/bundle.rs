//! Several files, or documents already read, as one body.
//!
//! The first line says what it is; each piece has a line with its length, so that nothing inside a piece can end it.

use std::fmt::Write as _;

use roadstead_contracts::{Code, Error};

use crate::document::Document;
use crate::fault::source_name;
use crate::limits::FILES_MAX;

const MAGIC: &str = "#roadstead-bundle\n";
const FILE: &str = "#file ";
const OBJECT: &str = "#object ";

/// A piece of a body.
pub(crate) enum Piece<'b> {
    File { name: &'b str, bytes: &'b [u8] },
    Object { source: &'b str, line: u32, bytes: &'b [u8] },
}

/// One body of several files; the names are for faults only.
pub fn bundle<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Vec<u8> {
    let mut body = MAGIC.as_bytes().to_vec();
    for (name, bytes) in files {
        let mut head = String::new();
        let _ = writeln!(head, "{FILE}{} {}", bytes.len(), source_name(name));
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.push(b'\n');
    }
    body
}

/// One body of documents that were read before, with the places where they stood.
pub fn render(documents: &[Document]) -> Vec<u8> {
    let mut body = MAGIC.as_bytes().to_vec();
    for document in documents {
        let json = document.value.to_string();
        let source: String = document.source.chars().filter(|character| !character.is_control()).collect();
        let mut head = String::new();
        let _ = writeln!(head, "{OBJECT}{} {} {source}", json.len(), document.line);
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(json.as_bytes());
        body.push(b'\n');
    }
    body
}

/// The pieces of a body; one file when it is no bundle.
pub(crate) fn pieces<'b>(name: &'b str, body: &'b [u8]) -> Result<Vec<Piece<'b>>, Error> {
    let Some(mut rest) = body.strip_prefix(MAGIC.as_bytes()) else {
        return Ok(vec![Piece::File { name, bytes: body }]);
    };
    let mut pieces = Vec::new();
    let mut files = 0;
    while !rest.is_empty() {
        let (piece, after) = piece(rest).ok_or_else(|| Error::new(Code::BadRequest, "the bundle is damaged"))?;
        files += usize::from(matches!(piece, Piece::File { .. }));
        if files > FILES_MAX {
            return Err(Error::new(Code::Validation, format!("more than {FILES_MAX} files")));
        }
        pieces.push(piece);
        rest = after;
    }
    Ok(pieces)
}

fn piece(rest: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(rest.get(..end)?).ok()?;
    let after = rest.get(end + 1..)?;
    let (is_file, fields) = match head.strip_prefix(FILE) {
        Some(fields) => (true, fields),
        None => (false, head.strip_prefix(OBJECT)?),
    };
    let (length, fields) = fields.split_once(' ')?;
    let length: usize = length.parse().ok()?;
    let bytes = after.get(..length)?;
    let after = after.get(length..)?.strip_prefix(b"\n")?;
    let piece = if is_file {
        Piece::File { name: fields, bytes }
    } else {
        let (line, source) = fields.split_once(' ')?;
        Piece::Object { source, line: line.parse().ok()?, bytes }
    };
    Some((piece, after))
}
