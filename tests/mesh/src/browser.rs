//! A page in a real browser, by the DevTools protocol: few commands, one at a time, over one WebSocket.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Longest answer to one command, on two busy cores.
const COMMAND: Duration = Duration::from_secs(30);
/// Longest time until a page is as a test expects it.
const PAGE: Duration = Duration::from_secs(60);

/// A page with cookies of its own.
pub struct Page {
    socket: WebSocketStream<TcpStream>,
    session: Option<String>,
    next: u64,
    /// Every address that the page asked for, redirects included.
    pub requested: Vec<String>,
    /// What the browser had to say against the page: refused sources, scripts that failed.
    pub complaints: Vec<String>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Page {
    /// Opens a page that shares no cookies with others; `address` is the browser's.
    pub async fn open(address: &str) -> Result<Self> {
        let mut page = Self::as_served(address).await?;
        // The hub's answers are no pages with scripts, and say so; these tests stand in for the scripts of pages that are.
        page.command("Page.setBypassCSP", json!({ "enabled": true })).await?;
        Ok(page)
    }

    /// The same, where the content security policy that the hub sends holds.
    pub async fn as_served(address: &str) -> Result<Self> {
        let host = address.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).context("no address")?;
        let stream = TcpStream::connect(host).await.context("failed to reach the browser")?;
        let (socket, _) = tokio_tungstenite::client_async(address, stream).await.context("no DevTools there")?;
        let mut page = Self { socket, session: None, next: 0, requested: Vec::new(), complaints: Vec::new() };
        let context = page.command("Target.createBrowserContext", json!({})).await?;
        let target = json!({ "url": "about:blank", "browserContextId": context["browserContextId"] });
        let target = page.command("Target.createTarget", target).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.command("Target.attachToTarget", attach).await?;
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Network.enable", "Log.enable", "Runtime.enable"] {
            page.command(domain, json!({})).await?;
        }
        Ok(page)
    }

    async fn command(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.socket.send(Message::text(message.to_string())).await.context("the browser is gone")?;
        let answer = timeout(COMMAND, self.answer(id)).await.with_context(|| format!("no answer to {method}"))??;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].clone())
    }

    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = self.socket.next().await.context("the browser closed the connection")??;
            let Ok(text) = message.to_text() else { continue };
            let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
            if value["id"] == id {
                return Ok(value);
            }
            let text = |pointer| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            match value["method"].as_str() {
                Some("Network.requestWillBeSent") => self.requested.extend(text("/params/request/url")),
                Some("Log.entryAdded") if text("/params/entry/level").as_deref() == Some("error") => {
                    self.complaints.extend(text("/params/entry/text"));
                }
                Some("Runtime.exceptionThrown") => {
                    self.complaints.extend(text("/params/exceptionDetails/exception/description"));
                }
                _ => {}
            }
        }
    }

    /// Goes to an address, not waiting for what comes of it.
    pub async fn goto(&mut self, url: &str) -> Result<()> {
        self.command("Page.navigate", json!({ "url": url })).await.map(|_| ())
    }

    /// What a script comes to; promises are waited for.
    pub async fn eval(&mut self, script: &str) -> Result<Value> {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let answer = self.command("Runtime.evaluate", params).await?;
        if answer.get("exceptionDetails").is_some() {
            bail!("{script}: {}", answer["exceptionDetails"]["text"]);
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until a script is true on a loaded page.
    pub async fn until(&mut self, script: &str) -> Result<()> {
        let whole = format!("document.readyState === 'complete' && Boolean({script})");
        let began = Instant::now();
        loop {
            // While a page gives way to another there is nobody to ask.
            if matches!(self.eval(&whole).await, Ok(Value::Bool(true))) {
                return Ok(());
            }
            if began.elapsed() > PAGE {
                let seen = self.eval("location.href + '\\n' + document.body.innerText").await;
                bail!("not so after {PAGE:?}: {script}\n{}", seen.unwrap_or_default().as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the page shows JSON of the hub at this path; answers it.
    pub async fn json_at(&mut self, path: &str) -> Result<Value> {
        self.until(&format!("location.pathname === '{path}' && document.body.innerText.startsWith('{{')")).await?;
        let text = self.eval("document.body.innerText").await?;
        serde_json::from_str(text.as_str().unwrap_or_default()).context("the page shows no JSON")
    }

    /// Gives the page an authenticator that keeps passkeys, makes sure who is there, and needs nobody to touch it.
    pub async fn add_authenticator(&mut self) -> Result<()> {
        // Browsers ask people about keys on a page that they look at.
        self.command("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await?;
        self.command("WebAuthn.enable", json!({ "enableUI": false })).await?;
        let options = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "automaticPresenceSimulation": true,
        });
        self.command("WebAuthn.addVirtualAuthenticator", json!({ "options": options })).await.map(|_| ())
    }

    /// The cookies that go to an address, those that scripts cannot read among them.
    pub async fn cookies(&mut self, url: &str) -> Result<Vec<Value>> {
        let answer = self.command("Network.getCookies", json!({ "urls": [url] })).await?;
        Ok(answer["cookies"].as_array().cloned().unwrap_or_default())
    }
}

/// Waits until a server answers 200, as long as `alive` says that it may.
pub async fn answers(what: &str, url: &str, limit: Duration, alive: impl Fn() -> Result<()>) -> Result<Duration> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let began = Instant::now();
    loop {
        alive()?;
        if client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > limit {
            bail!("{what}: not so after {limit:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
