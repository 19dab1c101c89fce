//! Bodies: bounded in size and time and all together ([`crate::room`]), JSON read strictly, wrong fields named and never
//! repeated.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::{Decompress, Payload};
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use roadstead_contracts::{Code, Error, Result};
use serde::de::DeserializeOwned;

use crate::room::{self, Growing, Share};
use crate::{ApiFailure, Limits};

/// Most characters of a field's name that an answer repeats: the client chose it, and may have chosen a megabyte.
const NAME_SHOWN: usize = 64;
/// Bytes that are unpacked at a time. They become a thousand times as many at most, so what is unpacked and not counted yet
/// is about as much as a small body has.
const UNPACKED_AT_ONCE: usize = 64;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;
type Piece = std::result::Result<Bytes, PayloadError>;

/// A whole body as it came, unpacked when it came gzipped.
#[derive(Debug, Clone)]
pub struct Body(pub Bytes);

impl Body {
    /// Gives the body up, and its share of the room with it. For handlers that go on waiting when they have passed it on.
    pub fn let_go(self, request: &HttpRequest) {
        drop(self.0);
        request.extensions_mut().remove::<Share>();
    }
}

/// Says in a request's extensions that its body was read to the end.
pub(crate) struct WasRead;

/// A JSON body. The content type must say so (415), the text must be JSON (400), the fields must fit (validation).
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// As [`Json`], for routes that clients also call without a body: nothing at all is the default.
#[derive(Debug, Clone)]
pub struct OptionalJson<T>(pub T);

impl FromRequest for Body {
    type Error = ApiFailure;
    type Future = BoxFuture<std::result::Result<Self, ApiFailure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limits = limits_of(request);
        let limits = Limits { body: limits.body_at(request.path()), ..limits };
        let encoding = encoding(request.headers());
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let compressed = encoding?;
            let length = announced(request.headers()).filter(|_| !compressed);
            let mut share = room::of(&request).share(length);
            let bytes = if compressed {
                collect(Decompress::from_headers(pieces(payload), request.headers()), limits, &mut share).await?
            } else {
                collect(payload, limits, &mut share).await?
            };
            let mut extensions = request.extensions_mut();
            extensions.insert(WasRead);
            if !bytes.is_empty() {
                // Until the request is answered: what is made of the body takes its place.
                extensions.insert(share);
            }
            Ok(Self(bytes))
        })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = ApiFailure;
    type Future = BoxFuture<std::result::Result<Self, ApiFailure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let typed = is_json(request.headers());
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            if !typed {
                return Err(Error::new(Code::UnsupportedMediaType, "the content type must be application/json").into());
            }
            Ok(Self(parse(&body.await?.0)?))
        })
    }
}

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalJson<T> {
    type Error = ApiFailure;
    type Future = BoxFuture<std::result::Result<Self, ApiFailure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let typed = is_json(request.headers());
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            let body = body.await?.0;
            if body.is_empty() {
                return Ok(Self(T::default()));
            }
            if !typed {
                return Err(Error::new(Code::UnsupportedMediaType, "the content type must be application/json").into());
            }
            Ok(Self(parse(&body)?))
        })
    }
}

fn limits_of(request: &HttpRequest) -> Limits {
    request.app_data::<web::Data<Limits>>().map_or_else(Limits::default, |limits| *limits.get_ref())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn encoding(headers: &HeaderMap) -> Result<bool> {
    match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip" | b"x-gzip" | b"deflate") => Ok(true),
        Some(_) => Err(Error::new(Code::UnsupportedMediaType, "the content encoding must be identity or gzip")),
    }
}

/// Length that the request says.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The same bytes in pieces of [`UNPACKED_AT_ONCE`].
fn pieces<S>(stream: S) -> impl Stream<Item = Piece> + Unpin
where
    S: Stream<Item = Piece> + Unpin,
{
    Box::pin(stream::unfold((stream, Bytes::new()), |(mut stream, mut left)| async move {
        if left.is_empty() {
            match stream.next().await? {
                Ok(chunk) => left = chunk,
                fault => return Some((fault, (stream, left))),
            }
        } else {
            // A chunk may become many megabytes: others of this thread have their turn between.
            tokio::task::yield_now().await;
        }
        let piece = left.split_to(left.len().min(UNPACKED_AT_ONCE));
        Some((Ok(piece), (stream, left)))
    }))
}

async fn collect<S>(mut stream: S, limits: Limits, share: &mut Share) -> Result<Bytes>
where
    S: Stream<Item = Piece> + Unpin,
{
    let read = async {
        let mut whole = Growing::new(limits.body, share);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|fault| match fault {
                PayloadError::Overflow => Error::of(Code::PayloadTooLarge),
                _ => Error::new(Code::BadRequest, "the body broke off or is not encoded as it says"),
            })?;
            // Counted after unpacking: a bomb ends here (row R20).
            whole.push(&chunk).await?;
        }
        Ok(whole.finish())
    };
    tokio::time::timeout(limits.body_time, read).await.unwrap_or_else(|_| Err(Error::of(Code::RequestTimeout)))
}

/// Reads a JSON object. Syntax errors tell the position, field errors the field; neither repeats what was sent.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if let Err(fault) = std::str::from_utf8(bytes) {
        // The parser would not look at the texts of fields that nobody takes (row R06).
        let good = bytes.get(..fault.valid_up_to()).unwrap_or_default();
        let line = good.split(|byte| *byte == b'\n').count();
        let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
        return Err(Error::new(Code::BadJson, format!("malformed JSON at line {line} column {column}")));
    }
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        // serde would take an array for the fields in their order, and an empty one for none of them (row R02).
        return Err(Error::field(&["body"], "type_error", "expected an object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|fault| field_error(&fault, bytes))?;
    reader.end().map_err(|fault| syntax_error(&fault))?;
    Ok(value)
}

fn syntax_error(fault: &serde_json::Error) -> Error {
    Error::new(Code::BadJson, format!("malformed JSON at line {} column {}", fault.line(), fault.column()))
}

fn field_error(fault: &serde_path_to_error::Error<serde_json::Error>, bytes: &[u8]) -> Error {
    use serde_json::error::Category;
    let inner = fault.inner();
    if inner.classify() != Category::Data {
        // A number where the name of a variant belongs is broken text to the library, though it is none.
        return match serde_json::from_slice::<serde_json::Value>(bytes) {
            Ok(_) => refused(fault.path(), "invalid type: expected a string"),
            Err(_) => syntax_error(inner),
        };
    }
    refused(fault.path(), &inner.to_string())
}

/// What does not fit, for a reader of another form of body than JSON as well: where it is, and serde's sentence about it.
pub fn refused(path: &serde_path_to_error::Path, sentence: &str) -> Error {
    let mut loc = vec!["body".to_owned()];
    for segment in path {
        match segment {
            serde_path_to_error::Segment::Seq { index } => loc.push(index.to_string()),
            serde_path_to_error::Segment::Map { key: name } | serde_path_to_error::Segment::Enum { variant: name } => {
                loc.push(name.chars().take(NAME_SHOWN).collect());
            }
            serde_path_to_error::Segment::Unknown => {}
        }
    }
    let text = sentence.rsplit_once(" at line ").map_or(sentence, |(text, _)| text);
    let (kind, message) = describe(text, &mut loc);
    let location: Vec<&str> = loc.iter().map(String::as_str).collect();
    let place = place(&location);
    let mut error = Error::field(&location, kind, message);
    // Many clients show this sentence and nothing else: where it does not say by itself what it is about, it begins with that.
    if location.len() > 2 || (location.len() == 2 && error.detail.starts_with(EXPECTED)) {
        error.detail = format!("{place}: {}", error.detail).into();
    }
    error
}

/// How a sentence begins that names only what would be good.
const EXPECTED: &str = "expected ";

/// A place as people write it: `rules[3].effect`.
fn place(location: &[&str]) -> String {
    let mut text = String::new();
    for segment in location.iter().skip(1) {
        if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
            text.extend(["[", segment, "]"]);
        } else {
            text.extend([if text.is_empty() { "" } else { "." }, segment]);
        }
    }
    text
}

/// serde's sentences without the value that was sent, which may be a secret in the wrong place.
fn describe(text: &str, loc: &mut Vec<String>) -> (&'static str, String) {
    let quoted = |prefix: &str| {
        text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(" `")).and_then(|rest| rest.split('`').next())
    };
    if let Some(field) = quoted("missing field") {
        loc.push(field.to_owned());
        return ("missing", "Field required".to_owned());
    }
    if quoted("unknown field").is_some() {
        return ("extra_forbidden", "Extra inputs are not permitted".to_owned());
    }
    if let Some(field) = quoted("duplicate field") {
        loc.push(field.to_owned());
        return ("duplicate", "Field given twice".to_owned());
    }
    for (prefix, kind) in [
        ("invalid type: ", "type_error"),
        ("invalid value: ", "value_error"),
        ("invalid length ", "value_error"),
        ("unknown variant ", "value_error"),
    ] {
        if text.starts_with(prefix) {
            let expected = text.rsplit_once("expected ").map_or("another value", |(_, expected)| expected);
            return (kind, format!("{EXPECTED}{expected}"));
        }
    }
    // Sentences of our own types (`contracts::names`), which repeat nothing.
    ("value_error", text.strip_prefix("validation_failed: ").unwrap_or("not acceptable").to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roadstead_contracts::names::ClusterName;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only parsed")]
        name: ClusterName,
        #[serde(default)]
        #[expect(dead_code, reason = "only parsed")]
        count: u32,
    }

    fn fault(text: &[u8]) -> Error {
        parse::<Sample>(text).unwrap_err()
    }

    #[test]
    fn bad_json_tells_only_the_position() {
        for bad in [
            &b"{\"name\":\"a\""[..],
            b"",
            b"{\"name\":\"abc\"}{}",
            b"{\"name\":\"abc\"} x",
            b"\xef\xbb\xbf{\"name\":\"abc\"}",
            b"{\"name\":\"\\ud800\"}",
            b"{\"name\":\"\xff\"}",
        ] {
            let error = fault(bad);
            assert_eq!(error.code, Code::BadJson, "{error:?}");
            assert!(error.detail.starts_with("malformed JSON at line "), "{}", error.detail);
        }
        let deep = format!("{{\"name\":{}", "[".repeat(10_000));
        assert!(matches!(fault(deep.as_bytes()).code, Code::BadJson | Code::Validation));
    }

    #[test]
    fn wrong_fields_are_named_and_not_repeated() {
        let cases: [(&str, &[&str], &str); 8] = [
            ("{}", &["body", "name"], "missing"),
            ("{\"name\":7}", &["body", "name"], "type_error"),
            ("{\"name\":\"Hunter2!\"}", &["body", "name"], "value_error"),
            ("{\"name\":\"a\",\"count\":\"hunter2\"}", &["body", "count"], "type_error"),
            ("{\"name\":\"a\",\"count\":-1}", &["body", "count"], "value_error"),
            ("{\"name\":\"a\",\"owner_id\":\"hunter2\"}", &["body", "owner_id"], "extra_forbidden"),
            ("{\"name\":\"a\",\"name\":\"b\"}", &["body", "name"], "duplicate"),
            ("7", &["body"], "type_error"),
        ];
        for (text, location, kind) in cases {
            let error = fault(text.as_bytes());
            assert_eq!(
                (
                    error.errors[0].loc.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
                    error.errors[0].kind.as_str()
                ),
                (location, kind),
                "{text}"
            );
            assert!(!format!("{error:?}").to_lowercase().contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn regression_a_sentence_says_where() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Effect {
            Allow,
            Deny,
        }
        #[derive(Debug, Deserialize)]
        struct Rule {
            #[expect(dead_code, reason = "only parsed")]
            effect: Effect,
        }
        #[derive(Debug, Deserialize)]
        struct Rules {
            #[expect(dead_code, reason = "only parsed")]
            rules: Vec<Rule>,
        }
        assert!(matches!((Effect::Allow, Effect::Deny), (Effect::Allow, Effect::Deny)));
        let wrong = parse::<Rules>(br#"{"rules":[{"effect":"deny"},{"effect":"hunter2"}]}"#).unwrap_err();
        assert_eq!(wrong.detail, "rules[1].effect: expected `allow` or `deny`");
        assert_eq!(wrong.errors[0].loc, ["body", "rules", "1", "effect"]);
        assert_eq!(wrong.errors[0].msg, "expected `allow` or `deny`");
        assert_eq!(parse::<Rules>(br#"{"rules":[{}]}"#).unwrap_err().detail, "rules[0].effect: Field required");
        assert_eq!(parse::<Rules>(b"{}").unwrap_err().detail, "Field required", "as the seeds say it");
        assert_eq!(parse::<Rule>(br#"{"effect":1}"#).unwrap_err().detail.split(':').next(), Some("effect"));
    }

    #[test]
    fn regression_an_array_is_no_object() {
        for text in ["[]", " [\"abc\"]", "[\"abc\", 1]", "["] {
            let error = fault(text.as_bytes());
            assert_eq!((error.code, error.errors[0].kind.as_str()), (Code::Validation, "type_error"), "{text}");
        }
    }

    #[test]
    fn regression_what_is_not_utf8_is_no_json() {
        #[derive(Debug, Deserialize)]
        struct Loose {}
        let error = parse::<Loose>(b"{\n \"other\":\"\xff\"}").unwrap_err();
        assert_eq!((error.code, error.detail.as_ref()), (Code::BadJson, "malformed JSON at line 2 column 11"));
        assert!(parse::<Loose>(b"{\"other\":1}").is_ok());
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<Sample>(&bytes);
        }
    }
}
