//! As much of an HTTP client as the demo needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// Longer than any of the demo's calls may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Gets a page of the hub; answers status and body. HTTP/1.0, so that the body ends with the connection.
pub(super) fn get(url: &str, path: &str, api_key: &str) -> Result<(u16, String)> {
    let address = url.strip_prefix("http://").context("the demo's hub speaks plain HTTP on loopback")?;
    let address = address.trim_end_matches('/');
    let mut stream = TcpStream::connect(address).with_context(|| format!("failed to reach {url}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nX-API-Key: {api_key}\r\nAccept: application/json\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("failed to read the answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP status")?;
    Ok((status, body.to_owned()))
}
