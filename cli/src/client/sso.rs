//! `roadstead login --sso`: through the hub's identity provider. On a machine with a browser the answer comes back to a port
//! of this program (RFC 8252 §7.3), with a code that is worth nothing without what only this program holds; elsewhere the
//! person approves on another device (RFC 8628).

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use roadstead_auth::oidc::challenge;
use roadstead_runtime::{Ids, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::hub::{Hub, Refused, segment};
use super::plain;

/// How long somebody may take in the browser; the hub forgets a login after the same time.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest head of the browser's request that is read.
const HEAD_MAX: usize = 8 * 1024;
/// How long a connection may take to send its head: others than the browser may knock.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Random bytes of a verifier and of a state.
const RANDOM_BYTES: usize = 32;

/// What the person sees at the end.
const DONE: &str = "You are logged in. This page can be closed.";
const FAILED: &str = "The login did not work. The terminal says why.";

#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: u64,
}

/// Which provider, by the hub's own list.
async fn provider(hub: &mut Hub, wanted: Option<&str>) -> Result<String> {
    let offered: Value = hub.get("/api/v1/auth/methods").await?;
    let methods = offered.get("methods").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = methods
        .iter()
        .filter(|method| method.get("type").and_then(Value::as_str) == Some("oidc"))
        .filter_map(|method| method.get("provider").and_then(Value::as_str))
        .collect();
    match (wanted, names.as_slice()) {
        (_, []) => bail!("the hub offers no single sign-on: use --username or --api-key"),
        (Some(wanted), _) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => bail!("the hub knows no provider {wanted}; it knows {}", names.join(", ")),
        (None, [one]) => Ok((*one).to_owned()),
        (None, _) => bail!("say --provider NAME; the hub knows {}", names.join(", ")),
    }
}

/// Logs in with a browser on this machine. Answers the hub's tokens.
pub(super) async fn by_browser(hub: &mut Hub, wanted: Option<&str>, open: bool) -> Result<Value> {
    let provider = provider(hub, wanted).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("failed to listen for the browser")?;
    let port = listener.local_addr()?.port();
    let ids = Ids::system(SystemClock::shared());
    let (verifier, state) = (ids.token(RANDOM_BYTES), URL_SAFE_NO_PAD.encode(ids.random_bytes::<RANDOM_BYTES>()));
    let url = format!(
        "{}/api/v1/auth/oidc/login?provider={}&loopback_port={port}&loopback_state={state}&challenge={}",
        hub.profile().url,
        segment(&provider),
        challenge(verifier.expose()),
    );
    // On standard error: standard output is for the answer.
    eprintln!("open this address to log in:\n\n  {url}\n");
    if open {
        open_browser(&url);
    }
    let code = timeout(PATIENCE, answer(&listener, &state)).await.context("nobody logged in within ten minutes")??;
    let body = json!({ "code": code, "verifier": verifier.expose() });
    hub.exchange(Method::POST, "/api/v1/auth/oidc/exchange", &body).await
}

/// Waits for the browser that brings the code.
async fn answer(listener: &TcpListener, state: &str) -> Result<String> {
    loop {
        let (stream, _) = listener.accept().await.context("failed to listen for the browser")?;
        // Anything else is somebody else: a scanner, the browser's wish for an icon.
        if let Ok(Some(outcome)) = timeout(HEAD_TIME, read(stream, state)).await {
            return outcome;
        }
    }
}

/// One connection. `None` when it is not the answer to this login.
async fn read(mut stream: TcpStream, state: &str) -> Option<Result<String>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < HEAD_MAX {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        head.extend_from_slice(chunk.get(..length)?);
    }
    let line = std::str::from_utf8(&head).ok()?.lines().next()?;
    let outcome = outcome(line, state);
    let (status, text) = match &outcome {
        Some(Ok(_)) => ("200 OK", DONE),
        Some(Err(_)) => ("200 OK", FAILED),
        None => ("404 Not Found", ""),
    };
    let page = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         referrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = stream.write_all(page.as_bytes()).await;
    let _ = stream.shutdown().await;
    outcome
}

/// What a request line says: `GET /callback?code=…&state=… HTTP/1.1`. `None` when it is not for this login.
fn outcome(line: &str, state: &str) -> Option<Result<String>> {
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix("/callback?")?;
    let one = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if one("state")? != state {
        return None;
    }
    if let Some(code) = one("code") {
        return Some(Ok(code.to_owned()));
    }
    let why: String =
        one("error")?.chars().filter(|letter| letter.is_ascii_lowercase() || *letter == '_').take(60).collect();
    Some(Err(anyhow::anyhow!("the hub refused the login: {why}")))
}

/// Opens the person's browser, where there is one. The address stands on the terminal anyway.
fn open_browser(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let _ = std::process::Command::new(program)
        .arg(url)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
}

/// Logs in with a browser on another device. Answers the hub's tokens.
pub(super) async fn by_device(hub: &mut Hub, wanted: Option<&str>) -> Result<Value> {
    let provider = provider(hub, wanted).await?;
    let begun: Begun = hub.exchange(Method::POST, "/api/v1/auth/oidc/device", &json!({ "provider": provider })).await?;
    let address = begun.verification_uri_complete.as_deref().unwrap_or(&begun.verification_uri);
    let (address, code) = (plain(address), plain(&begun.user_code));
    eprintln!("on any device open\n\n  {address}\n\nand compare the code {code}");
    let body = json!({ "provider": provider, "device_code": begun.device_code });
    let ask = async {
        loop {
            tokio::time::sleep(Duration::from_secs(begun.interval.clamp(1, 60))).await;
            match hub.exchange::<Value>(Method::POST, "/api/v1/auth/oidc/device/token", &body).await {
                Err(fault) if is_pending(&fault) => {}
                other => return other,
            }
        }
    };
    timeout(Duration::from_secs(begun.expires_in), ask).await.context("nobody approved the login in time")?
}

fn is_pending(fault: &anyhow::Error) -> bool {
    fault.downcast_ref::<Refused>().is_some_and(|refused| refused.code == "authorization_pending")
}

#[cfg(test)]
mod tests {
    use super::outcome;

    #[test]
    fn only_the_answer_to_this_login_counts() {
        let good = outcome("GET /callback?code=abc&state=s1 HTTP/1.1", "s1");
        assert_eq!(good.unwrap().unwrap(), "abc");
        for other in [
            "GET /favicon.ico HTTP/1.1",
            "GET /callback?code=abc&state=s2 HTTP/1.1",
            "GET /callback?code=abc HTTP/1.1",
            "POST /callback?code=abc&state=s1 HTTP/1.1",
            "GET /callback?state=s1 HTTP/1.1",
            "",
        ] {
            assert!(outcome(other, "s1").is_none(), "{other}");
        }
        let refused = outcome("GET /callback?error=login_refused%1b&state=s1 HTTP/1.1", "s1").unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "the hub refused the login: login_refusedb");
    }
}
