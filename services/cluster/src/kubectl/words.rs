//! A command line to words, as a shell reads it that can quote and nothing else. What a real shell would do with a character
//! is refused, so that nobody believes it was done.

use super::{Told, said};

/// Longest line.
pub(super) const LINE_MAX: usize = 8 * 1024;
/// Most words.
const WORDS_MAX: usize = 128;
/// Characters that mean something to a shell outside of quotes.
const OPERATORS: &str = "|&;<>()$`\n\r";

/// Splits a line.
pub(super) fn split(line: &str) -> Told<Vec<String>> {
    if line.len() > LINE_MAX {
        return said(format!("error: the command is longer than {LINE_MAX} bytes"));
    }
    let operator =
        || said("error: pipes, redirections, variables and several commands are not carried out; there is no shell");
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => quoted(&mut characters, word.get_or_insert_default())?,
            '"' => {
                let inside = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return said("error: a quote is not closed"),
                        Some('"') => break,
                        Some('$' | '`') => return operator(),
                        Some('\\') => match characters.next() {
                            None => return said("error: a quote is not closed"),
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => inside.push(escaped),
                            Some(other) => inside.extend(['\\', other]),
                        },
                        Some(other) => inside.push(other),
                    }
                }
            }
            '\\' => match characters.next() {
                Some(escaped) if !escaped.is_control() => word.get_or_insert_default().push(escaped),
                _ => return operator(),
            },
            ' ' | '\t' => words.extend(word.take()),
            _ if OPERATORS.contains(character) => return operator(),
            _ if character.is_control() => return said("error: the command has a control character"),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    if words.len() > WORDS_MAX {
        return said(format!("error: the command has more than {WORDS_MAX} words"));
    }
    Ok(words)
}

fn quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Told<()> {
    for character in characters {
        match character {
            '\'' => return Ok(()),
            other => word.push(other),
        }
    }
    said("error: a quote is not closed")
}

/// Words as a line again.
pub(super) fn join(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "-_./=:,@%+!^[]{}*".contains(character))
    };
    let shown =
        words.iter().map(|word| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Failure;
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap()
    }

    #[test]
    fn quotes_are_a_shells() {
        assert_eq!(words("kubectl get  pods"), ["kubectl", "get", "pods"]);
        assert_eq!(words("a --sort-by='.lastTimestamp' -o json"), ["a", "--sort-by=.lastTimestamp", "-o", "json"]);
        assert_eq!(words(r#"a "b c" d\ e "f\"g" '' "#), ["a", "b c", "d e", "f\"g", ""]);
        assert_eq!(words("a -l 'x in (b, c)'"), ["a", "-l", "x in (b, c)"]);
    }

    #[test]
    fn k1_nothing_of_a_shell_is_carried_out() {
        for line in [
            "kubectl get pods; rm -rf /",
            "kubectl get pods && id",
            "kubectl get pods | sh",
            "kubectl get pods > /etc/passwd",
            "kubectl get $(id)",
            "kubectl get `id`",
            "kubectl get \"$HOME\"",
            "kubectl get \"`id`\"",
            "kubectl get pods\nid",
            "kubectl get 'pods",
            "kubectl get \"pods",
            "kubectl get pods \\",
            "kubectl get pods &",
            "kubectl get pods <(id)",
        ] {
            assert!(matches!(split(line), Err(Failure::Said(_))), "{line}");
        }
        assert!(split(&"a ".repeat(200)).is_err());
        assert!(split(&"a".repeat(LINE_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn words_survive_a_round_trip(text in prop::collection::vec("[ -~]{0,12}", 0..8)) {
            let line = join(&text);
            prop_assert_eq!(split(&line).unwrap(), text);
        }

        #[test]
        fn garbage_does_not_panic(line in "\\PC{0,80}") {
            let _ = split(&line);
        }
    }
}
