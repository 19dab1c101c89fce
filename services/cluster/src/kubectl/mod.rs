//! kubectl's command lines without kubectl: a line is read to one of a few verbs and carried out through the cluster's API as
//! the person who sent it. No shell, no program, no file; what is not on the list is refused in kubectl's own words.
//!
//! [`Command::read`] is the reading (`words.rs` the quoting, `flags.rs` the flags, `command.rs` the verbs), [`run`] the doing. The cluster is
//! whatever answers as [`Api`]; `kubernetes/ask.rs` is the real one.

#[expect(clippy::format_push_string, reason = "lines as kubectl prints them")]
mod change;
mod command;
#[expect(clippy::format_push_string, clippy::format_collect, reason = "lines as kubectl prints them")]
mod describe;
mod flags;
mod get;
mod kinds;
mod lists;
mod logs;
mod print;
#[cfg(test)]
mod tests;
mod words;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use roadstead_contracts::names::is_dns_label;
use roadstead_contracts::percent::escape;
use roadstead_contracts::{Code, Error};
use serde_json::Value;

pub(crate) use command::{Command, Logs};
pub(crate) use kinds::{Resource, find, find_all, is_name};
pub(crate) use lists::each;
pub(crate) use print::{masked, time_of};

/// What asks for the columns that kubectl prints.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub(crate) const AS_JSON: &str = "application/json";
/// What asks for names and labels alone: of Secrets nothing else leaves the cluster.
pub(crate) const AS_METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
/// Most bytes that a command prints: more is no answer that somebody reads.
pub(crate) const OUTPUT_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of the objects that a command takes together: printed they are no less.
const COLLECTED_MAX: usize = 8 * OUTPUT_MAX;
/// Rows of one page, as kubectl asks.
const PAGE: usize = 500;
/// Most pages of one list.
const PAGES_MAX: usize = 20;

/// A request to the cluster's API.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    /// Content type and body.
    pub(crate) body: Option<(&'static str, String)>,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), accept: AS_JSON, body: None }
    }

    fn table(path: impl Into<String>) -> Self {
        Self { accept: AS_TABLE, ..Self::get(path) }
    }
}

/// What the cluster said.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// A cluster's API, as one person has it.
#[async_trait]
pub(crate) trait Api: Send + Sync {
    /// Asks. An error is the hub's own; what the cluster refuses is an answer.
    async fn ask(&self, ask: Ask) -> Result<Answered, Error>;
}

/// Why something did not work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What kubectl would have printed.
    Said(String),
    /// What the cluster refused, with its status, as kubectl prints it.
    Cluster(u16, String),
    /// What the hub says.
    Hub(Error),
}

impl Failure {
    /// As an error of a route that is no command line.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Hub(error) => error,
            Self::Said(text) => Error::new(Code::BadRequest, text),
            Self::Cluster(status, text) => {
                let code = match status {
                    400 | 405 | 422 => Code::BadRequest,
                    403 => Code::Forbidden,
                    404 => Code::NotFound,
                    409 => Code::Conflict,
                    429 => Code::RateLimited,
                    503 => Code::Unavailable,
                    504 => Code::Timeout,
                    _ => Code::AgentError,
                };
                Error::new(code, text)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Hub(error)
    }
}

fn said<T>(text: impl Into<String>) -> Told<T> {
    Err(Failure::Said(text.into()))
}

pub(crate) type Told<T> = Result<T, Failure>;

/// What a command printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) out: String,
    pub(crate) err: String,
    /// Whether there may be more that was left away.
    pub(crate) is_cut: bool,
}

impl Printed {
    pub(crate) fn out(text: impl Into<String>) -> Self {
        Self { out: text.into(), ..Self::default() }
    }
}

/// Carries a command out.
pub(crate) async fn run(api: &dyn Api, command: &Command, now: DateTime<Utc>) -> Told<Printed> {
    let printed = match command {
        Command::Get(get) => get::get(api, get).await?,
        Command::Describe(describe) => describe::describe(api, describe).await?,
        Command::Logs(logs) => logs::logs(api, logs).await?,
        Command::Delete(delete) => change::delete(api, delete).await?,
        Command::Scale(scale) => change::scale(api, scale).await?,
        Command::Restart(restart) => change::restart(api, restart, now).await?,
        Command::Version => {
            let version = json(api, Ask::get("/version")).await?;
            Printed::out(format!("Server Version: {}\n", version["gitVersion"].as_str().unwrap_or("unknown")))
        }
    };
    if printed.out.len() > OUTPUT_MAX {
        return said(format!("error: the output is larger than {} MiB; ask for less", OUTPUT_MAX / 1024 / 1024));
    }
    Ok(printed)
}

/// Asks for JSON; a refusal of the cluster is told as kubectl tells it.
pub(crate) async fn json(api: &dyn Api, ask: Ask) -> Told<Value> {
    let Answered { status, body } = api.ask(ask).await?;
    judged(status, serde_json::from_slice(&body).ok())
}

/// What an answer says. A success that is no JSON says nothing: it must not be told as an empty list.
fn judged(status: u16, body: Option<Value>) -> Told<Value> {
    match body {
        Some(body) if status < 400 => Ok(body),
        None if status < 400 => Err(Error::new(Code::AgentError, "the cluster's answer is not JSON").into()),
        body => Err(Failure::Cluster(status, refusal(status, &body.unwrap_or_default()))),
    }
}

/// A `Status` of the cluster, as kubectl prints it.
pub(crate) fn refusal(status: u16, body: &Value) -> String {
    let message = body["message"].as_str().map_or_else(|| format!("the server answered {status}"), printable);
    match body["reason"].as_str().filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("Error from server ({}): {message}", printable(reason)),
        None => format!("Error from server: {message}"),
    }
}

/// Without what would move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Which namespace a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    One(String),
    All,
}

impl Scope {
    fn of(namespace: Option<&str>, all: bool) -> Told<Self> {
        match (namespace, all) {
            (_, true) => Ok(Self::All),
            (None, false) => Ok(Self::One("default".to_owned())),
            (Some(name), false) if is_dns_label(name) => Ok(Self::One(name.to_owned())),
            (Some(_), false) => said("error: the namespace is not a DNS label"),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::One(name) => Some(name),
            Self::All => None,
        }
    }
}
