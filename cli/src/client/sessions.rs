//! `roadstead sessions …`: recorded sessions.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hub::{Hub, segment};
use super::output::{Output, age, table};
use crate::args::kube::SessionsCommand;

#[derive(Serialize, Deserialize)]
struct Recording {
    id: String,
    username: String,
    cluster_name: String,
    namespace: String,
    pod: String,
    verb: String,
    #[serde(default)]
    command: Vec<String>,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    bytes: u64,
}

pub(super) async fn run(hub: &mut Hub, command: &SessionsCommand, output: Output) -> Result<()> {
    match command {
        SessionsCommand::Ls => {
            let recordings: Vec<Recording> = hub.get("/api/v1/recordings?limit=1000").await?;
            output.print(&recordings, |recordings| list(recordings))
        }
        SessionsCommand::Play { id, speed, idle, out } => {
            ensure!(*speed > 0.0 && speed.is_finite(), "--speed must be above 0");
            let cast = hub.send(Method::GET, &format!("/api/v1/recordings/{}", segment(id)), None).await?;
            if let Some(file) = out {
                // Somebody's terminal is in it.
                let mut opened = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(file)
                    .with_context(|| format!("failed to write {}", file.display()))?;
                opened.write_all(&cast)?;
                return output.print(&json!({ "id": id, "file": file }), |_| format!("written to {}", file.display()));
            }
            play(&cast, *speed, idle.max(0.0)).await
        }
    }
}

fn list(recordings: &[Recording]) -> String {
    let now = SystemClock.now();
    let rows = recordings
        .iter()
        .map(|recording| {
            let took = recording.ended_at.map_or_else(
                || "-".to_owned(),
                |ended| format!("{}s", (ended - recording.started_at).num_seconds().max(0)),
            );
            let mut what = format!("{} {}", recording.verb, recording.command.join(" "));
            what.truncate(what.char_indices().nth(40).map_or(what.len(), |(at, _)| at));
            vec![
                Cell::new(&recording.id),
                Cell::new(&recording.username),
                Cell::new(format!("{}/{}/{}", recording.cluster_name, recording.namespace, recording.pod)),
                Cell::new(what.trim_end().replace(char::is_control, " ")),
                Cell::new(age(Some(recording.started_at), now)),
                Cell::new(took),
                Cell::new(recording.bytes),
            ]
        })
        .collect();
    table(&["ID", "USER", "POD", "WHAT", "STARTED", "TOOK", "BYTES"], rows)
}

async fn play(cast: &[u8], speed: f64, idle: f64) -> Result<()> {
    let text = std::str::from_utf8(cast).context("the recording is not text")?;
    let mut lines = text.lines();
    let head: Value = serde_json::from_str(lines.next().unwrap_or_default()).context("the recording has no head")?;
    if head["version"] != 2 {
        bail!("the recording is of version {}, this program plays version 2", head["version"]);
    }
    let (mut screen, mut at) = (Screen::default(), 0.0_f64);
    let mut out = std::io::stdout();
    for line in lines {
        let (time, kind, data): (f64, String, String) =
            serde_json::from_str(line).context("a line of the recording cannot be read")?;
        let pause = ((time - at).clamp(0.0, idle)) / speed;
        at = time;
        tokio::time::sleep(Duration::try_from_secs_f64(pause).unwrap_or_default()).await;
        let shown = match kind.as_str() {
            "o" => screen.safe(&data),
            "m" => format!("\r\n[{}]\r\n", data.replace(char::is_control, " ")),
            _ => continue,
        };
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.context("failed to write to standard output")?,
        }
    }
    // Whatever colour it ended in.
    out.write_all(b"\x1b[0m\r\n").context("failed to write to standard output")
}

/// Leaves out what would do more than show: strings that set a clipboard, a title or a palette, or ask the terminal for
/// something that it then types (reliability row K09).
#[derive(Debug, Default)]
struct Screen {
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Plain,
    /// An escape that is not decided yet.
    Escape,
    /// Inside a control sequence; it is kept unless it asks for something.
    Sequence,
    /// Inside a string, which is left out.
    String,
    /// An escape inside a string: its end, or not.
    StringEscape,
}

impl Screen {
    fn safe(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut sequence = String::new();
        for character in text.chars() {
            self.state = match (self.state, character) {
                (State::Plain | State::Escape, '\u{1b}') => State::Escape,
                // Strings begin, by an escape or by the one-character form of the same (a C1 control).
                (State::Plain, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}')
                | (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::String,
                // Other C1 controls, `identify yourself`, and the end of a string.
                (State::Plain, '\u{80}'..='\u{9f}')
                | (State::Escape, 'Z')
                | (State::String | State::StringEscape, '\u{7}' | '\u{9c}')
                | (State::StringEscape, '\\') => State::Plain,
                (State::Plain, _) => {
                    out.push(character);
                    State::Plain
                }
                (State::Escape, '[') => {
                    sequence.clear();
                    State::Sequence
                }
                (State::Escape, _) => {
                    out.push('\u{1b}');
                    out.push(character);
                    State::Plain
                }
                (State::Sequence, '\u{40}'..='\u{7e}') => {
                    // Reports (`c`, `n`, `t`, …) make the terminal type an answer into the shell that plays.
                    if matches!(
                        character,
                        'A'..='H'
                            | 'J'
                            | 'K'
                            | 'L'
                            | 'M'
                            | 'P'
                            | 'S'
                            | 'T'
                            | 'X'
                            | '@'
                            | 'd'
                            | 'f'
                            | 'h'
                            | 'l'
                            | 'm'
                            | 'r'
                    ) {
                        out.push_str("\u{1b}[");
                        out.push_str(&sequence);
                        out.push(character);
                    }
                    State::Plain
                }
                (State::Sequence, _) => {
                    if sequence.len() < 64 {
                        sequence.push(character);
                    }
                    State::Sequence
                }
                (State::String | State::StringEscape, '\u{1b}') => State::StringEscape,
                (State::String | State::StringEscape, _) => State::String,
            };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k09_a_recording_cannot_do_more_than_show() {
        let safe = |text: &str| Screen::default().safe(text);
        assert_eq!(safe("a\x1b[31mred\x1b[0m\r\n"), "a\x1b[31mred\x1b[0m\r\n");
        for evil in [
            "\x1b]52;c;ZXZpbA==\x07",
            "\x1b]0;title\x1b\\",
            "\x1bP+q544e\x1b\\",
            "\u{9d}52;c;x\u{9c}",
            "\x1b[6n",
            "\x1b[c",
            "\x1bZ",
            "\x1b[21t",
        ] {
            assert_eq!(safe(&format!("a{evil}b")), "ab", "{evil:?}");
        }
        // Cut between two events.
        let mut screen = Screen::default();
        assert_eq!(screen.safe("a\x1b]52;c"), "a");
        assert_eq!(screen.safe(";x\x07b"), "b");
    }

    #[tokio::test]
    async fn another_version_is_refused() {
        assert!(play(b"{\"version\":1}\n", 1.0, 1.0).await.is_err());
        assert!(play(b"not a cast", 1.0, 1.0).await.is_err());
    }
}
