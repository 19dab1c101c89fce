//! asciicast, version 2: a line of JSON for the head, then one for each event.

use roadstead_contracts::message::SessionFacts;
use serde_json::json;

/// What happened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    /// The terminal showed something.
    Output(Vec<u8>),
    /// Somebody typed.
    Input(Vec<u8>),
    /// The terminal has another size.
    Size(u16, u16),
    /// The command ended.
    End(String),
}

/// Size of a terminal until it says its own.
const SIZE: (u16, u16) = (80, 24);

/// The head.
pub(super) fn head(session: &SessionFacts, started_at: i64) -> String {
    let place = format!("{}/{}/{}", session.cluster_name, session.namespace, session.pod);
    let mut line = json!({
        "version": 2,
        "width": SIZE.0,
        "height": SIZE.1,
        "timestamp": started_at,
        "title": format!("{} {} at {place}", session.username, session.verb),
        "env": { "TERM": "xterm-256color" },
    });
    if !session.command.is_empty() {
        line["command"] = session.command.join(" ").into();
    }
    format!("{line}\n")
}

/// Bytes into text: what is not UTF-8 is shown as such, and a character that comes in two halves is one.
#[derive(Debug, Default)]
pub(super) struct Text {
    half: Vec<u8>,
}

impl Text {
    fn take(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.half);
        all.extend_from_slice(bytes);
        let mut out = String::with_capacity(all.len());
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    break;
                }
                Err(fault) => {
                    let (good, bad) = rest.split_at(fault.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(good));
                    let Some(length) = fault.error_len() else {
                        self.half = bad.to_vec();
                        break;
                    };
                    out.push('\u{fffd}');
                    rest = bad.get(length..).unwrap_or_default();
                }
            }
        }
        out
    }
}

/// Writes events as lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    output: Text,
    input: Text,
}

impl Lines {
    /// The line of an event, `seconds` after the start; nothing when there is nothing to show yet.
    pub(super) fn line(&mut self, seconds: f64, happened: &Happened) -> Option<String> {
        let (kind, text) = match happened {
            Happened::Output(bytes) => ("o", self.output.take(bytes)),
            Happened::Input(bytes) => ("i", self.input.take(bytes)),
            Happened::Size(columns, rows) => ("r", format!("{columns}x{rows}")),
            Happened::End(text) => ("m", text.clone()),
        };
        // Microseconds are what players show at most.
        let seconds = (seconds * 1e6).round() / 1e6;
        (!text.is_empty()).then(|| format!("{}\n", json!([seconds, kind, text])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_two_halves_is_one() {
        let mut lines = Lines::default();
        let euro = "€".as_bytes();
        assert_eq!(lines.line(0.0, &Happened::Output(euro[..2].to_vec())), None);
        let line = lines.line(1.5, &Happened::Output(euro[2..].to_vec())).unwrap();
        assert_eq!(line, "[1.5,\"o\",\"€\"]\n");
        let odd = lines.line(2.0, &Happened::Output(vec![b'a', 0xff, b'b'])).unwrap();
        assert_eq!(odd, "[2.0,\"o\",\"a\u{fffd}b\"]\n");
        assert_eq!(lines.line(3.0, &Happened::Size(120, 40)).unwrap(), "[3.0,\"r\",\"120x40\"]\n");
        // Control characters are escaped: a line of the file is a line.
        let escaped = lines.line(4.0, &Happened::Output(b"a\r\n\x1b[0m".to_vec())).unwrap();
        assert_eq!(escaped.matches('\n').count(), 1, "{escaped}");
    }
}
