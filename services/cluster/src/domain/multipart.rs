//! `multipart/form-data` (RFC 7578) of a body that is in memory already. Not a stream: bodies are bounded by the door.

use bytes::Bytes;

/// Most parts: a folder of manifests fits, a flood does not (row Y02).
const PARTS_MAX: usize = 256;
/// Longest headers of one part: a file name of 4 KiB fits (row Y01).
const HEAD_MAX: usize = 8 * 1024;
/// Longest boundary (RFC 2046 §5.1.1).
const BOUNDARY_MAX: usize = 70;
/// Longest file name that is kept, for messages.
const NAME_MAX: usize = 64;

/// The body is no form, never ends, or has too many parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Name of the field.
    pub(crate) field: String,
    /// The file's own name, for messages and nothing else.
    pub(crate) file: Option<String>,
    /// What is in it.
    pub(crate) body: Bytes,
}

/// The boundary that a content type names.
pub(crate) fn boundary_of(content_type: &str) -> Option<String> {
    let (_, rest) = content_type.split_once(';')?;
    let named = parameters(rest).into_iter().find(|(name, _)| name == "boundary");
    named.map(|(_, value)| value).filter(|text| is_boundary(text))
}

/// The boundary that the body itself begins with: seed 000's Python client overwrites the content type that named it.
pub(crate) fn sniff(body: &[u8]) -> Option<String> {
    let line = body.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line.strip_prefix(b"--")?).ok()?.trim_end();
    Some(line.to_owned()).filter(|text| is_boundary(text))
}

fn is_boundary(text: &str) -> bool {
    (1..=BOUNDARY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Takes a body apart. A line feed alone counts as an end of a line, as curl's and browsers' readers have it.
pub(crate) fn parse(body: &Bytes, boundary: &str) -> Result<Vec<Part>, Broken> {
    let delimiter = format!("--{boundary}");
    let delimiter = delimiter.as_bytes();
    let (_, mut at) = next(body, 0, delimiter).ok_or(Broken)?;
    let mut parts = Vec::new();
    loop {
        let rest = body.get(at..).ok_or(Broken)?;
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if parts.len() == PARTS_MAX {
            return Err(Broken);
        }
        let line = rest.iter().position(|byte| *byte == b'\n').ok_or(Broken)?;
        if !rest.iter().take(line).all(u8::is_ascii_whitespace) {
            return Err(Broken);
        }
        let (head, start) = head(body, at + line + 1)?;
        let (end, after) = next(body, start, delimiter).ok_or(Broken)?;
        if let Some(mut part) = head {
            part.body = body.slice(start..end);
            parts.push(part);
        }
        at = after;
    }
}

/// The next delimiter at the beginning of a line: where the content before it ends, and what comes behind it.
fn next(body: &[u8], from: usize, delimiter: &[u8]) -> Option<(usize, usize)> {
    let mut line = from;
    loop {
        let rest = body.get(line..)?;
        if rest.starts_with(delimiter) {
            let before = body.get(from..line)?;
            let before = before.strip_suffix(b"\n").unwrap_or(before);
            let before = before.strip_suffix(b"\r").unwrap_or(before);
            return Some((from + before.len(), line + delimiter.len()));
        }
        line += rest.iter().position(|byte| *byte == b'\n')? + 1;
    }
}

/// Reads a part's headers; nothing for a part that names no field. Answers where its content begins.
fn head(body: &[u8], from: usize) -> Result<(Option<Part>, usize), Broken> {
    let mut at = from;
    let mut found = None;
    loop {
        let rest = body.get(at..).ok_or(Broken)?;
        let length = rest.iter().take(HEAD_MAX).position(|byte| *byte == b'\n').ok_or(Broken)?;
        let line = rest.get(..length).ok_or(Broken)?;
        at += length + 1;
        if at - from > HEAD_MAX {
            return Err(Broken);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok((found, at));
        }
        let line = std::str::from_utf8(line).map_err(|_| Broken)?;
        let (name, value) = line.split_once(':').ok_or(Broken)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => found = disposition(value),
            // Given up by RFC 7578 §4.7; what is packed would be applied as it stands.
            "content-transfer-encoding" if !is_plain(value) => return Err(Broken),
            _ => {}
        }
    }
}

fn is_plain(encoding: &str) -> bool {
    ["7bit", "8bit", "binary"].iter().any(|plain| encoding.trim().eq_ignore_ascii_case(plain))
}

fn disposition(value: &str) -> Option<Part> {
    let (kind, rest) = value.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let parameters = parameters(rest);
    let get = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    Some(Part { field: get("name")?.to_owned(), file: get("filename").map(plain_name), body: Bytes::new() })
}

/// `a=b; c="d;e"`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, tail)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(';').trim().to_ascii_lowercase();
        let tail = tail.trim_start();
        let (value, after) = if let Some(quoted) = tail.strip_prefix('"') {
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(characters.next().map(|(_, character)| character)),
                    other => value.push(other),
                }
            }
            (value, quoted.get(end..).unwrap_or_default())
        } else {
            let (value, after) = tail.split_once(';').unwrap_or((tail, ""));
            (value.trim().to_owned(), after)
        };
        found.push((name, value));
        rest = after;
    }
    found
}

/// A file name as it may stand in a message: no folders, no odd characters, not long.
pub(crate) fn plain_name(text: &str) -> String {
    let last = text.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    last.chars().filter(plain).take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: &str = "--xyz\r\nContent-Disposition: form-data; name=\"manifests\"; filename=\"a;b.yaml\"\r\n\
        Content-Type: text/yaml\r\n\r\nkind: A\r\n---\r\nkind: B\r\n\r\n--xyz\r\n\
        content-disposition: form-data; name=namespace\r\n\r\nweb\r\n--xyz--\r\n";

    fn read(text: &str) -> Result<Vec<Part>, Broken> {
        parse(&Bytes::copy_from_slice(text.as_bytes()), "xyz")
    }

    #[test]
    fn parts_come_as_they_were_sent() {
        for text in [FORM.to_owned(), format!("a preamble\r\n{FORM}an epilogue"), FORM.replace("\r\n", "\n")] {
            let parts = read(&text).unwrap();
            let manifest = String::from_utf8(parts[0].body.to_vec()).unwrap().replace("\r\n", "\n");
            assert_eq!(manifest, "kind: A\n---\nkind: B\n");
            assert_eq!((parts[0].field.as_str(), parts[0].file.as_deref()), ("manifests", Some("ab.yaml")));
            assert_eq!((parts[1].field.as_str(), parts[1].file.as_deref()), ("namespace", None));
            assert_eq!(&parts[1].body[..], b"web");
        }
        assert_eq!(read("--xyz--").unwrap(), []);
    }

    #[test]
    fn what_is_broken_is_refused() {
        let never = FORM.trim_end().trim_end_matches('-').trim_end_matches("--xyz");
        let many = "--xyz\r\nContent-Disposition: form-data; name=\"manifests\"\r\n\r\n\r\n".repeat(10_000) + "--xyz--";
        for bad in [
            "",
            "{}",
            "--xyz",
            "--xyz\r\n",
            "--xyz junk\r\n\r\n\r\n--xyz--",
            "--xyz\r\nno colon\r\n\r\n\r\n--xyz--",
            "--xyz\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--xyz--",
            "--other\r\n\r\n\r\n--other--",
            never,
            &many,
        ] {
            assert_eq!(read(bad), Err(Broken), "{}", &bad[..bad.len().min(60)]);
        }
    }

    #[test]
    fn boundaries_are_found() {
        for (text, found) in [
            ("multipart/form-data; boundary=xyz", Some("xyz")),
            ("multipart/form-data; charset=utf-8; Boundary=\"x y\"", Some("x y")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
        ] {
            assert_eq!(boundary_of(text).as_deref(), found, "{text}");
        }
        assert_eq!(sniff(FORM.as_bytes()).as_deref(), Some("xyz"));
        for none in ["", "{}", "--", "--\r\n", &format!("--{}\r\n", "x".repeat(71))] {
            assert_eq!(sniff(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn file_names_lose_their_folders() {
        for (text, plain) in
            [("../../etc/passwd", "passwd"), ("C:\\x\\y.yaml", "y.yaml"), ("a\u{0}\u{202e}b", "ab"), ("..", "..")]
        {
            assert_eq!(plain_name(text), plain);
        }
        assert_eq!(plain_name(&"a".repeat(4_096)).len(), NAME_MAX);
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[-xyz:;=\"\\\\\r\n a]{0,80}") {
            let _ = parse(&Bytes::from(bytes.clone()), "xyz");
            let _ = sniff(&bytes);
            let _ = boundary_of(&text);
            let framed = format!("--xyz\r\n{text}\r\n--xyz--");
            let _ = read(&framed);
        }
    }
}
