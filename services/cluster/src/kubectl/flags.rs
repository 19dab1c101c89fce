//! Flags of a command line, told from its other words.

use super::{Told, said};

/// A flag: its long name, its letter, whether a value follows.
struct Flag(&'static str, Option<char>, bool);

/// Flags of all verbs: one that two verbs have means the same to both.
const FLAGS: [Flag; 20] = [
    Flag("namespace", Some('n'), true),
    Flag("all-namespaces", Some('A'), false),
    Flag("selector", Some('l'), true),
    Flag("field-selector", None, true),
    Flag("output", Some('o'), true),
    Flag("sort-by", None, true),
    Flag("show-labels", None, false),
    Flag("no-headers", None, false),
    Flag("ignore-not-found", None, false),
    Flag("container", Some('c'), true),
    Flag("tail", None, true),
    Flag("since", None, true),
    Flag("previous", Some('p'), false),
    Flag("timestamps", None, false),
    Flag("replicas", None, true),
    Flag("grace-period", None, true),
    Flag("now", None, false),
    Flag("wait", None, false),
    Flag("chunk-size", None, true),
    Flag("client", None, false),
];

/// Where, as whom and with which files: the hub's to say, never a command's (K1, K2).
const NEVER: [(&str, Option<char>); 25] = [
    ("server", Some('s')),
    ("token", None),
    ("kubeconfig", None),
    ("context", None),
    ("cluster", None),
    ("user", None),
    ("username", None),
    ("password", None),
    ("as", None),
    ("as-group", None),
    ("as-uid", None),
    ("as-user-extra", None),
    ("certificate-authority", None),
    ("client-certificate", None),
    ("client-key", None),
    ("tls-server-name", None),
    ("insecure-skip-tls-verify", None),
    ("cache-dir", None),
    ("filename", Some('f')),
    ("kustomize", Some('k')),
    ("raw", None),
    ("template", None),
    ("follow", None),
    ("watch", Some('w')),
    ("watch-only", None),
];

/// Words apart from flags.
#[derive(Default)]
pub(super) struct Line {
    pub(super) plain: Vec<String>,
    flags: Vec<(&'static str, String)>,
}

impl Line {
    pub(super) fn read(words: impl Iterator<Item = String>) -> Told<Self> {
        let mut line = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                line.take(
                    name,
                    |flag| flag.0 == name,
                    NEVER.iter().any(|(never, _)| *never == name),
                    value,
                    &mut words,
                )?;
            } else if word == "--" {
                return said("error: nothing may stand behind --");
            } else if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
                let mut characters = short.chars();
                let Some(letter) = characters.next() else { continue };
                let rest = characters.as_str();
                let value = Some(rest.strip_prefix('=').unwrap_or(rest)).filter(|_| !rest.is_empty());
                let never = NEVER.iter().any(|(_, never)| *never == Some(letter));
                line.take(&letter.to_string(), |flag| flag.1 == Some(letter), never, value, &mut words)?;
            } else {
                line.plain.push(word);
            }
        }
        Ok(line)
    }

    fn take(
        &mut self,
        name: &str,
        is: impl Fn(&Flag) -> bool,
        never: bool,
        value: Option<&str>,
        words: &mut impl Iterator<Item = String>,
    ) -> Told<()> {
        if never {
            let why = "the hub knows the cluster and the person, and there are no files and no streams here";
            return said(format!("error: the flag {name} is not taken: {why}"));
        }
        let Some(Flag(long, _, has_value)) = FLAGS.iter().find(|flag| is(flag)) else {
            // Not repeated beyond its first letters: it may be a secret in the wrong place.
            let name: String =
                name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(24).collect();
            return said(format!("error: unknown flag: {name}"));
        };
        if self.flags.iter().any(|(known, _)| known == long) {
            return said(format!("error: the flag {long} stands there twice"));
        }
        let value = match (value, has_value) {
            (Some(value), _) => value.to_owned(),
            (None, false) => "true".to_owned(),
            (None, true) => match words.next() {
                Some(next) => next,
                None => return said(format!("error: flag needs an argument: {long}")),
            },
        };
        if !has_value && !matches!(value.as_str(), "true" | "false") {
            return said(format!("error: the flag {long} is true or false"));
        }
        self.flags.push((long, value));
        Ok(())
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(long, _)| *long == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    pub(super) fn number(&self, name: &str, most: u32) -> Told<Option<u32>> {
        let Some(text) = self.value(name) else { return Ok(None) };
        match text.parse().ok().filter(|number| *number <= most) {
            Some(number) => Ok(Some(number)),
            None => said(format!("error: {name} must be a number from 0 to {most}")),
        }
    }

    pub(super) fn only(&self, allowed: &[&str]) -> Told<()> {
        match self.flags.iter().find(|(long, _)| !allowed.contains(long)) {
            Some((long, _)) => said(format!("error: unknown flag: --{long}")),
            None => Ok(()),
        }
    }

    pub(super) fn no_more(&self) -> Told<()> {
        if self.plain.is_empty() { Ok(()) } else { said("error: unexpected arguments") }
    }
}
