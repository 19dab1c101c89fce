//! Diffs for people: coloured on a terminal, unless somebody asked for no colours.

use std::io::IsTerminal as _;

use super::model::plain;

/// Colours a unified diff.
pub(super) fn diff(text: &str) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { coloured(text) } else { plain(text) }
}

fn coloured(text: &str) -> String {
    let line = |line: &str| {
        let line = plain(line);
        let colour = match line.as_bytes() {
            [b'+', ..] => "\u{1b}[32m",
            [b'-', ..] => "\u{1b}[31m",
            [b'@', ..] => "\u{1b}[36m",
            _ => return line,
        };
        format!("{colour}{line}\u{1b}[0m")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_colours_and_no_others() {
        let shown = coloured("@@ -1 +1 @@\n-a\u{1b}[2J\n+b\n c");
        assert_eq!(shown, "\u{1b}[36m@@ -1 +1 @@\u{1b}[0m\n\u{1b}[31m-a [2J\u{1b}[0m\n\u{1b}[32m+b\u{1b}[0m\n c");
        assert_eq!(diff("-a"), "-a", "tests write to no terminal");
    }
}
