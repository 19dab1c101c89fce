//! Heads: written from parts that are valid by their types, read by `httparse`.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::nonsense;

/// Longest head that is read: kubectl's are below a kilobyte, those of browsers some.
pub(super) const HEAD_MAX: usize = 64 * 1024;
/// Most headers that are read, as hyper has it.
const HEADERS_MAX: usize = 100;

/// The head of a request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answered {
    /// HTTP/1.1 or later, whose connections are kept unless somebody says otherwise.
    pub(super) keeps: bool,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// Appends a request's head without its last line.
pub(super) fn put_request(out: &mut BytesMut, method: &Method, target: &str, headers: &HeaderMap) {
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    put_headers(out, headers);
}

/// Appends an answer's head without its last line.
pub(super) fn put_answer(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        out.put_slice(part.as_bytes());
    }
    put_headers(out, headers);
}

fn put_headers(out: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        put_header(out, name.as_str(), value.as_bytes());
    }
}

/// Appends one header.
pub(super) fn put_header(out: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

/// Appends the last line of a head.
pub(super) fn put_end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

/// Reads the head of a request, and says how long it is; nothing when there is more of it to come.
pub(super) fn request(bytes: &Bytes) -> io::Result<Option<(Asked, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let Some(length) = parse(parsed.parse(bytes))? else { return Ok(None) };
    if parsed.version != Some(1) {
        return Err(nonsense("another version of HTTP"));
    }
    let method = parsed.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let uri = parsed.path.and_then(|path| Uri::from_maybe_shared(bytes.slice_ref(path.as_bytes())).ok());
    let (Some(method), Some(uri)) = (method, uri) else { return Err(nonsense("a request line that is none")) };
    let headers = collect(bytes, parsed.headers)?;
    Ok(Some((Asked { method, uri, headers }, length)))
}

/// Reads the head of an answer, and says how long it is; nothing when there is more of it to come.
pub(super) fn answer(bytes: &Bytes) -> io::Result<Option<(Answered, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let Some(length) = parse(parsed.parse(bytes))? else { return Ok(None) };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| nonsense("a status line that is none"))?;
    let keeps = parsed.version == Some(1);
    let headers = collect(bytes, parsed.headers)?;
    Ok(Some((Answered { keeps, status, headers }, length)))
}

fn parse(parsed: httparse::Result<usize>) -> io::Result<Option<usize>> {
    match parsed {
        Ok(httparse::Status::Complete(length)) => Ok(Some(length)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(nonsense("a head that is none")),
    }
}

fn collect(bytes: &Bytes, parsed: &[httparse::Header<'_>]) -> io::Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| nonsense("a header that is none"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value));
        headers.append(name, value.map_err(|_| nonsense("a header that is none"))?);
    }
    Ok(headers)
}
