//! Passwords that everybody who guesses tries first: the most frequent ones of public leaks, kept as digests, so that the
//! check works offline and asks nobody. Source and licence: `data/README.md`.

use roadstead_auth::token;

const KNOWN: &[u8] = include_bytes!("../../data/leaked-passwords.bin");
/// Bytes of a digest that are kept: with 48 bits one password in 24 thousand million is taken for one of the list.
const WIDTH: usize = 6;

/// Whether a password is on the list. Case does not count.
pub(super) fn is_leaked(password: &str) -> bool {
    let digest = token::digest(&password.to_lowercase());
    let Some(wanted) = digest.get(..WIDTH * 2) else { return false };
    let (entries, _) = KNOWN.as_chunks::<WIDTH>();
    entries.binary_search_by(|entry| hex(*entry).as_str().cmp(wanted)).is_ok()
}

fn hex(bytes: [u8; WIDTH]) -> String {
    bytes.iter().fold(String::with_capacity(WIDTH * 2), |text, byte| text + format!("{byte:02x}").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_guesses_are_known() {
        for known in ["password", "12345678", "Password123", "QWERTYUIOP", "1qaz2wsx", "trustno1"] {
            assert!(is_leaked(known), "{known}");
        }
        for other in ["correct horse battery staple", "", "kTq7-vvz-RoadStead", "пароль-надёжный"] {
            assert!(!is_leaked(other), "{other}");
        }
    }

    #[test]
    fn the_list_is_whole_and_sorted() {
        let (entries, rest) = KNOWN.as_chunks::<WIDTH>();
        assert!(rest.is_empty() && entries.len() == 11_611, "{}", entries.len());
        assert!(entries.is_sorted());
    }
}
