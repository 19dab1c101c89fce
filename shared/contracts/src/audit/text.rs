//! A text of an audit record: short, on one line, and without what looks like a credential.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Characters of a text: the longest name of Kubernetes (253) fits.
pub const TEXT_MAX: usize = 256;
/// What stands for something secret.
const STARS: &str = "***";
/// Beginnings of credentials, ours and well-known providers'; none is one of a name in Kubernetes.
const BEGINNINGS: &[&str] =
    &["rsk_", "rsj_", "rsr_", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "hvs.", "npm_", "ks_"];
/// Beginning of every JOSE token: base64url of `{"`. A name may begin so, too, but is not as long as a header.
const JOSE: &str = "eyj";
/// Shortest JOSE token: a header alone has some thirty characters.
const JOSE_MIN: usize = 40;
/// Names whose value is a secret wherever they stand: `password=…`, `"token": …`, `https://user:…@`.
const NAMES: &[&str] =
    &["password", "passwd", "pwd", "secret", "token", "apikey", "api_key", "api-key", "authorization", "cookie"];

/// Short, printable, starred out where it looks secret. The only way to make one is [`Text::new`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Takes a text in: control characters become spaces, what looks like a credential becomes `***`, the rest is cut.
    pub fn new(text: &str) -> Self {
        // Looked at before it is cut: half a token is still half a secret.
        let bounded: String = text.chars().take(TEXT_MAX * 4).collect();
        let printable: String = bounded
            .chars()
            .map(|letter| if letter.is_control() || is_invisible(letter) { ' ' } else { letter })
            .collect();
        let clean =
            if printable.to_ascii_lowercase().contains("-----begin") { STARS.to_owned() } else { starred(&printable) };
        Self(cut(&clean))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Text {
    /// What another process sent is cleaned again: a text that is clean already stays as it is.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// Marks that turn or hide what stands after them.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((end, _)) => {
            let last = text[..end].char_indices().next_back().map_or(0, |(start, _)| start);
            format!("{}…", &text[..last])
        }
    }
}

/// Word by word: a word that begins like a credential, and whatever follows the name of one.
fn starred(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut hide_next = false;
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        if word.is_empty() {
            continue;
        }
        let folded = word.to_ascii_lowercase();
        let folded = folded.trim_start_matches(['"', '\'', '(', '[', '{']);
        let scheme = matches!(folded.trim_end_matches(':'), "bearer" | "basic");
        let shown = if hide_next && !scheme { STARS.to_owned() } else { starred_word(word, folded) };
        // `token: x`, `Authorization: Bearer x`, `--password x`.
        hide_next = scheme || names_a_secret(folded);
        out.push_str(&shown);
    }
    out
}

/// Whether the word is only the name of a secret whose value comes next.
fn names_a_secret(folded: &str) -> bool {
    let bare = folded.trim_end_matches(['"', '\'']);
    let flag = bare.starts_with("--");
    let colon = bare.ends_with(':') || bare.ends_with('=');
    let bare = bare.trim_start_matches('-').trim_end_matches([':', '=', '"', '\'']);
    (flag || colon) && NAMES.iter().any(|name| bare.ends_with(name))
}

/// Whether a folded text begins as a credential does.
fn begins_secret(folded: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| folded.starts_with(beginning) && folded.len() > beginning.len() + 8)
        || (folded.starts_with(JOSE) && folded.len() >= JOSE_MIN)
}

fn starred_word(word: &str, folded: &str) -> String {
    if begins_secret(folded) {
        return STARS.to_owned();
    }
    // A credential after a sign: `key=rsk_…`, `?token=…`, `{"token":"…"}`.
    let lower = word.to_ascii_lowercase();
    for sign in ['=', ':'] {
        let mut from = 0;
        while let Some(at) = lower[from..].find(sign).map(|at| at + from) {
            let (name, value) = (&lower[..at], &lower[at + 1..]);
            let name = name.trim_end_matches(['"', '\'']);
            let value = value.trim_start_matches(['"', '\'']);
            let named = NAMES.iter().any(|known| name.ends_with(known)) && !value.is_empty();
            if named || begins_secret(value) {
                return format!("{}{sign}{STARS}", &word[..at]);
            }
            from = at + 1;
        }
    }
    // A password inside an address.
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((user, host)) = rest.rsplit_once('@')
        && user.contains(':')
    {
        return format!("{scheme}://{STARS}@{host}");
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_secret_is_starred_out() {
        for (text, shown) in [
            ("prod-eu", "prod-eu"),
            ("rsk_0198c5b0000070008000000000000001_secretsecret", "***"),
            ("Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln", "Bearer ***"),
            ("key=rsk_0198c5b0000070008000000000000001_x", "key=***"),
            ("password=hunter2", "password=***"),
            (r#"{"token":"hunter2"}"#, r#"{"token":***"#),
            ("login --password hunter2 now", "login --password *** now"),
            ("Authorization: Basic aHVudGVyMjpodW50ZXIy", "Authorization: Basic ***"),
            ("postgres://hub:hunter2@db:5432/hub", "postgres://***@db:5432/hub"),
            ("-----BEGIN PRIVATE KEY----- MC4CAQ", "***"),
            ("system:serviceaccount:a:token-reader", "system:serviceaccount:a:token-reader"),
            ("basic-auth-secret", "basic-auth-secret"),
            ("eyjafjallajokull-web-7d9c", "eyjafjallajokull-web-7d9c"),
        ] {
            assert_eq!(Text::new(text).as_str(), shown, "{text}");
        }
    }

    #[test]
    fn names_of_secrets_are_told_from_other_words() {
        for (text, shown) in [
            // A name alone hides nothing; with a sign, or as a flag, it hides what follows.
            ("the password is wrong", "the password is wrong"),
            ("note: see --name web", "note: see --name web"),
            ("a note= x", "a note= x"),
            ("token: hunter2 x", "token: *** x"),
            ("password= hunter2", "password= ***"),
            ("\"secret\": hunter2", "\"secret\": ***"),
            ("my-token: hunter2", "my-token: ***"),
            ("token=", "token="),
            ("bearer hunter2", "bearer ***"),
            ("authorization: bearer: hunter2", "authorization: bearer: ***"),
            // Behind the second sign, too.
            ("https://h/?a=1&token=hunter2", "https://h/?a=1&token=***"),
            ("a:b:password:hunter2", "a:b:password:***"),
            ("x=y=rsk_0198c5b000007000_secret", "x=y=***"),
            ("'apikey':'hunter2'", "'apikey':***"),
            (" two  spaces ", " two  spaces "),
            // A user without a password is no secret, nor is a port.
            ("https://ada@host:443/x", "https://ada@host:443/x"),
            ("https://ada:pw@host:443/x", "https://***@host:443/x"),
        ] {
            assert_eq!(Text::new(text).as_str(), shown, "{text}");
        }
    }

    #[test]
    fn beginnings_of_credentials_need_a_length() {
        let starred = |text: &str| Text::new(text).as_str() == STARS;
        assert!(!starred("ks_12345678") && starred("ks_123456789"));
        assert!(!starred("npm_config_x") && starred("npm_config_xy"));
        assert!(starred("(ghp_0123456789") && starred("\"GHP_0123456789\""));
        let jose = |length: usize| format!("eyJ{}", "a".repeat(length - 3));
        assert!(!starred(&jose(JOSE_MIN - 1)) && starred(&jose(JOSE_MIN)));
    }

    /// What is at the cut is looked at whole: half a token is still half a secret.
    #[test]
    fn a_credential_at_the_cut_is_starred_out() {
        for room in [20, 31, 36] {
            let token = format!("eyJ{}", "k".repeat(200));
            let shown = Text::new(&format!("{} {token}", "x".repeat(TEXT_MAX - room - 1)));
            assert!(shown.as_str().ends_with(STARS), "{shown}");
        }
        let shown = Text::new(&format!("{} -----BEGIN PRIVATE KEY-----", "MC4CAQAwBQYDK2VwBCIEI ".repeat(13)));
        assert_eq!(shown.as_str(), STARS);
    }

    #[test]
    fn what_was_cleaned_is_what_prints() {
        let text = Text::new("alpha token: hunter2");
        assert_eq!(format!("{text} {text:?}"), "alpha token: *** \"alpha token: ***\"");
        assert_eq!(serde_json::from_str::<Text>("\"token: hunter2\"").unwrap().as_str(), "token: ***");
        assert!(
            ["\u{200b}", "\u{200f}", "\u{2028}", "\u{2066}", "\u{feff}", "\u{7f}"]
                .iter()
                .all(|odd| Text::new(odd).as_str() == " ")
        );
    }

    #[test]
    fn texts_are_one_short_line() {
        let long = Text::new(&"ä".repeat(1000));
        assert_eq!(long.as_str().chars().count(), TEXT_MAX);
        let odd = Text::new("a\r\nb\u{1b}[31m\u{202e}c");
        assert!(!odd.as_str().contains(['\r', '\n', '\u{1b}', '\u{202e}']), "{odd}");
    }

    proptest! {
        #[test]
        fn cleaning_is_done_once(text in ".{0,400}") {
            let once = Text::new(&text);
            prop_assert_eq!(Text::new(once.as_str()), once);
        }

        #[test]
        fn keys_of_ours_never_stay(before in "[a-z ]{0,10}", key in "rsk_[0-9a-f]{32}_[A-Za-z0-9]{43}", after in "[a-z ]{0,10}") {
            let shown = Text::new(&format!("{before} {key} {after}"));
            prop_assert!(!shown.as_str().contains(&key[37..]));
        }
    }
}
