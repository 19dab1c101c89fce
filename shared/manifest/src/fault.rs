//! Faults: where in which file, and what.

use roadstead_contracts::error::FieldError;
use roadstead_contracts::{Code, Error};

use crate::limits::FAULTS_MAX;

/// Longest piece of the input that a fault repeats: a key's name, never a value.
const SHOWN_MAX: usize = 64;

/// A place in a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Name of the file.
    pub(crate) source: &'a str,
    /// Document in it, from 1.
    pub(crate) document: u32,
    /// Line in it, from 1.
    pub(crate) line: u32,
}

impl Place<'_> {
    /// A fault here. `kind` is its machine word.
    pub(crate) fn fault(&self, kind: &str, message: impl AsRef<str>) -> FieldError {
        let Self { source, document, line } = self;
        FieldError {
            loc: vec!["body".to_owned(), (*source).to_owned(), format!("document {document}"), format!("line {line}")],
            msg: format!("{source}, document {document}, line {line}: {}", message.as_ref()),
            kind: kind.to_owned(),
        }
    }
}

/// Faults of a body, bounded.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    named: Vec<FieldError>,
    more: usize,
}

impl Faults {
    pub(crate) fn push(&mut self, fault: FieldError) {
        if self.named.len() < FAULTS_MAX {
            self.named.push(fault);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Error> {
        let Some(first) = self.named.first() else { return Ok(value) };
        let others = self.named.len() - 1 + self.more;
        let detail = match others {
            0 => first.msg.clone(),
            others => format!("{} (and {others} more)", first.msg),
        };
        let mut error = Error::new(Code::Validation, detail);
        error.errors = self.named;
        Err(error)
    }
}

impl From<FieldError> for Faults {
    fn from(fault: FieldError) -> Self {
        Self { named: vec![fault], more: 0 }
    }
}

/// One fault as an error.
pub(crate) fn refused(fault: FieldError) -> Error {
    let mut error = Error::new(Code::Validation, fault.msg.clone());
    error.errors.push(fault);
    error
}

/// A piece of the input for people: short, without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text.chars().filter(|character| !character.is_control()).take(SHOWN_MAX).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// A file's name as it is shown: its last part, printable. Nothing is ever opened or written under it.
pub(crate) fn source_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last
        .chars()
        .filter(|character| !character.is_control() && !is_bidirectional(*character))
        .take(crate::limits::SOURCE_MAX)
        .collect();
    let plain = plain.trim().to_owned();
    if plain.is_empty() || plain == "." || plain == ".." { "manifest".to_owned() } else { plain }
}

/// Characters that make a name look like another one on a terminal.
fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_only_shown() {
        for (name, expected) in [
            ("deploy.yaml", "deploy.yaml"),
            ("../../etc/passwd", "passwd"),
            ("a\\b\\c.yaml", "c.yaml"),
            ("x\0y\r\n.yaml", "xy.yaml"),
            ("..", "manifest"),
            ("", "manifest"),
            ("\u{202e}lmay.x", "lmay.x"),
        ] {
            assert_eq!(source_name(name), expected, "{name:?}");
        }
        assert_eq!(source_name(&"x".repeat(4096)).len(), crate::limits::SOURCE_MAX);
    }

    #[test]
    fn faults_are_bounded() {
        let place = Place { source: "f", document: 1, line: 2 };
        let mut faults = Faults::default();
        for _ in 0..FAULTS_MAX + 5 {
            faults.push(place.fault("value_error", "wrong"));
        }
        let error = faults.into_result(()).unwrap_err();
        assert_eq!(error.errors.len(), FAULTS_MAX);
        assert_eq!(error.detail, "f, document 1, line 2: wrong (and 24 more)");
    }
}
