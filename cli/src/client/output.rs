//! Answers on the terminal: a table for people, JSON and YAML for everything else.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use comfy_table::{Attribute, Cell, Color, Table, presets};
use serde::Serialize;

use crate::args::OutputFormat;

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: OutputFormat,
}

impl Output {
    /// Prints to standard output.
    pub fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    /// Prints a value: as a table made by `table`, or as it is.
    pub fn print<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> String) -> Result<()> {
        let text = match self.format {
            OutputFormat::Table => table(value),
            OutputFormat::Json => serde_json::to_string_pretty(value).context("failed to print JSON")?,
            OutputFormat::Yaml => serde_saphyr::to_string(value).context("failed to print YAML")?,
        };
        write_line(&text)
    }

    /// Prints a value for programs; nothing for people.
    pub fn data<T: Serialize>(self, value: &T) -> Result<()> {
        if self.format == OutputFormat::Table { Ok(()) } else { self.print(value, |_| String::new()) }
    }

    /// Prints a sentence for people; nothing for programs.
    pub fn say(self, text: &str) -> Result<()> {
        if self.format == OutputFormat::Table { write_line(text) } else { Ok(()) }
    }
}

pub(super) fn write_line(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        // `roadstead … | head` is no failure.
        Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("failed to write to standard output"),
    }
}

/// A text of the hub or of a cluster on a terminal: nothing in it moves the cursor (row K09).
pub fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() && character != '\n' { ' ' } else { character }).collect()
}

/// A cell that holds no line of its own making and moves no cursor (row K09).
fn in_one_line(cell: Cell) -> Cell {
    let text = cell.content();
    if text.contains(char::is_control) { Cell::new(plain(&text).replace('\n', " ")) } else { cell }
}

/// A table without lines, as kubectl prints them.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<Cell>>) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head.iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.into_iter().map(in_one_line));
    }
    let last = head.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 3 }));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A cell coloured by what a state means.
pub(crate) fn state(text: &str) -> Cell {
    let color = match text {
        "connected" | "healthy" | "ok" | "Active" | "yes" | "succeeded" | "approved" => Color::Green,
        "pending" | "warning" | "degraded" | "Terminating" | "cancelled" | "halted" | "awaiting_approval" => {
            Color::Yellow
        }
        "disconnected" | "error" | "broken" | "unhealthy" | "revoked" | "expired" | "failed" | "timed_out"
        | "interrupted" => Color::Red,
        _ => return Cell::new(text),
    };
    if std::io::stdout().is_terminal() { Cell::new(text).fg(color) } else { Cell::new(text) }
}

/// A cell for something that may be missing.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> Cell {
    Cell::new(value.map_or_else(|| "-".to_owned(), |value| value.to_string()))
}

/// How long ago, in kubectl's short form.
pub(super) fn age(then: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    let Some(then) = then else { return "never".to_owned() };
    let seconds = (now - then).num_seconds();
    match seconds {
        ..0 => format!("in {}", span(-seconds)),
        _ => span(seconds),
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Labels on one line.
pub(super) fn labels(map: &std::collections::BTreeMap<String, String>) -> String {
    if map.is_empty() {
        return "-".to_owned();
    }
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_k09_no_cell_moves_the_cursor_or_makes_a_row() {
        let row = |name: &str| vec![Cell::new(name), Cell::new(7)];
        let text = table(&["NAME", "COUNT"], vec![row("web\u{1b}[2J\nforged   9"), row("db")]);
        assert!(text.lines().count() == 3 && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn ages_read_like_kubectl() {
        let now: DateTime<Utc> = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(age(Some(now - chrono::Duration::seconds(90)), now), "90s");
        assert_eq!(age(Some(now - chrono::Duration::hours(3)), now), "3h");
        assert_eq!(age(Some(now + chrono::Duration::minutes(30)), now), "in 30m");
        assert_eq!(age(None, now), "never");
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(&["NAME", "STATE"], vec![vec![Cell::new("a"), Cell::new("b")]]);
        assert!(text.lines().all(|line| line == line.trim_end()), "{text:?}");
        assert_eq!(table(&["NAME"], Vec::new()), "none");
    }
}
