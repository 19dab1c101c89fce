//! `roadstead login`, `logout`, `whoami`

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::hub::{Hub, Refused};
use super::output::Output;
use super::profile::Profile;
use super::sso;
use crate::args::LoginArgs;

/// Longest password or key read from standard input.
const SECRET_MAX: u64 = 4 * 1024;

pub(super) async fn login(args: &LoginArgs, output: Output) -> Result<()> {
    let ca_file = args.ca_file.as_ref().map(std::path::absolute).transpose().context("the CA file has no path")?;
    let profile = Profile { url: args.url.clone(), ca_file, ..Profile::default() };
    let mut hub = Hub::new(profile, None)?;
    if args.sso {
        let provider = args.provider.as_deref();
        let answer = if args.device {
            sso::by_device(&mut hub, provider).await?
        } else {
            sso::by_browser(&mut hub, provider, !args.no_browser).await?
        };
        keep_session(&mut hub, &answer)?;
        return remember(&mut hub, output).await;
    }
    match (&args.api_key, &args.username) {
        (Some(key), _) => {
            let key = if key == "-" { read_secret("API key")? } else { key.clone() };
            hub.profile_mut().api_key = Some(key);
        }
        (None, Some(username)) => {
            let password = read_secret("Password")?;
            let answer = by_password(&mut hub, username, &password).await?;
            keep_session(&mut hub, &answer)?;
        }
        (None, None) => bail!("say --api-key KEY, --username NAME or --sso"),
    }
    remember(&mut hub, output).await
}

/// Logs in with a password, and with a code where the account asks for one.
async fn by_password(hub: &mut Hub, username: &str, password: &str) -> Result<Value> {
    let body = json!({ "username": username, "password": password });
    let asked = match hub.exchange(Method::POST, "/api/v1/auth/login", &body).await {
        Err(fault) if std::io::stdin().is_terminal() && needs_code(&fault) => fault,
        other => return other,
    };
    eprintln!("{asked:#}");
    let code = read_secret("Code")?;
    let body = json!({ "username": username, "password": password, "code": code });
    hub.exchange(Method::POST, "/api/v1/auth/login", &body).await
}

fn needs_code(fault: &anyhow::Error) -> bool {
    fault.downcast_ref::<Refused>().is_some_and(|refused| refused.code == "second_factor_required")
}

fn keep_session(hub: &mut Hub, answer: &Value) -> Result<()> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let profile = hub.profile_mut();
    profile.access_token = Some(text("access_token").context("the hub gave no access token")?);
    profile.refresh_token = text("refresh_token");
    Ok(())
}

async fn remember(hub: &mut Hub, output: Output) -> Result<()> {
    // Nothing is remembered that does not work.
    let who: Value = hub.get("/api/v1/auth/profile").await?;
    hub.profile().write(&Profile::path()?)?;
    let url = hub.profile().url.clone();
    output.print(&who, |who| format!("logged in at {url} as {}", name(who)))
}

pub(super) async fn logout(output: Output) -> Result<()> {
    let path = Profile::path()?;
    let Some(profile) = Profile::read(&path)? else {
        return output.say("no hub was remembered");
    };
    let session = profile.access_token.is_some();
    let mut hub = Hub::new(profile, Some(path.clone()))?;
    if session {
        // The hub may be away or the session over: forgetting must work all the same.
        let _ = hub.send(Method::POST, "/api/v1/auth/logout", Some(&json!({}))).await;
    }
    std::fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
    output.say("logged out")
}

pub(super) async fn whoami(hub: &mut Hub, output: Output) -> Result<()> {
    let who: Value = hub.get("/api/v1/auth/profile").await?;
    let url = hub.profile().url.clone();
    output.print(&who, |who| {
        let roles: Vec<&str> =
            who.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        format!("{} ({}) at {url}", name(who), if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") })
    })
}

fn name(who: &Value) -> &str {
    who.get("username").and_then(Value::as_str).unwrap_or("?")
}

fn read_secret(prompt: &str) -> Result<String> {
    let text = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{prompt}: ")).context("no answer")?
    } else {
        let mut text = String::new();
        std::io::stdin().take(SECRET_MAX).read_to_string(&mut text).context("standard input broke off")?;
        text
    };
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() {
        bail!("{prompt} is empty");
    }
    Ok(text)
}
