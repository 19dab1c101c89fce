//! The words of the query with which manifests are sent.

use std::time::Duration;

use actix_web::http::header::HeaderMap;
use roadstead_contracts::names::is_dns_label;
use roadstead_contracts::{Error, Result};
use roadstead_http_kit::QueryPairs;
use utoipa::IntoParams;

use crate::app::Terms;

/// Longest idempotency key: a UUID with words around it.
const KEY_MAX: usize = 128;
/// Longest address of a webhook.
pub(super) const URL_MAX: usize = 2_048;
/// Longest life of an operation, waiting for its cluster included.
pub(super) const DEADLINE_MAX: u32 = 7 * 24 * 3_600;
/// Highest priority.
const PRIORITY_MAX: u32 = 9;
/// How our own command line is called.
const OWN_PROGRAM: &str = "roadstead/";

/// What the description of the API says of the query's words that manifests and charts share; [`read`] and [`terms`] read them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is only described")]
pub(super) struct OrderParams {
    /// `server`: only ask; answers 200 with the diffs when that takes less than 30 s
    dry_run: Option<String>,
    /// The operation succeeds only once everything is ready
    wait: Option<bool>,
    /// It times out after so long, waiting for the cluster included
    deadline_seconds: Option<u32>,
    /// 0 (last) to 9; 5
    priority: Option<u8>,
    /// Free text
    description: Option<String>,
    /// Told when it has ended
    webhook_url: Option<String>,
}

/// What is asked for beside the manifests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ApplyQuery {
    pub(super) dry_run: Option<bool>,
    pub(super) namespace: Option<String>,
    pub(super) prune: Option<String>,
    pub(super) inventory: Option<String>,
    pub(super) force: bool,
    pub(super) wait: bool,
}

/// Whether the API server is only to be asked.
pub(super) fn dry_run(query: &QueryPairs) -> Result<Option<bool>> {
    match query.get("dry_run") {
        None => Ok(None),
        Some("server" | "true" | "1" | "All") => Ok(Some(true)),
        Some("none" | "false" | "0") => Ok(Some(false)),
        Some(_) => Err(fault("dry_run", "dry_run must be server, true or false")),
    }
}

pub(super) fn read(query: &QueryPairs) -> Result<ApplyQuery> {
    let dry_run = dry_run(query)?;
    let namespace = query.get("namespace").filter(|text| !text.is_empty()).map(str::to_owned);
    check_namespace("query", namespace.as_deref())?;
    let named = query.get("inventory").filter(|text| !text.is_empty()).map(str::to_owned);
    let (prune, inventory) = match query.get("prune") {
        None | Some("false" | "0" | "") => (None, named),
        Some("true" | "1") => {
            let named = named.ok_or_else(|| fault("inventory", "prune needs the name of an inventory"))?;
            (Some(named.clone()), Some(named))
        }
        Some(name) if named.as_deref().is_none_or(|other| other == name) => {
            (Some(name.to_owned()), Some(name.to_owned()))
        }
        Some(_) => return Err(fault("prune", "prune and inventory name two inventories")),
    };
    check_inventory("query", inventory.as_deref())?;
    Ok(ApplyQuery { dry_run, namespace, prune, inventory, force: flag(query, "force")?, wait: flag(query, "wait")? })
}

/// Reads what every way to start an operation takes.
pub(super) fn terms(query: &QueryPairs, headers: &HeaderMap) -> Result<Terms> {
    let number = |name: &str, most: u32| {
        let read = query.integer(name)?;
        read.map(|read| {
            u32::try_from(read)
                .ok()
                .filter(|read| *read <= most)
                .ok_or_else(|| fault(name, &format!("{name} must be at most {most}")))
        })
        .transpose()
    };
    let terms = Terms {
        source: source(headers),
        description: query.get("description").unwrap_or_default().to_owned(),
        idempotency_key: idempotency_key(headers)?,
        deadline_seconds: number("deadline_seconds", DEADLINE_MAX)?,
        priority: number("priority", PRIORITY_MAX)?.and_then(|read| u8::try_from(read).ok()),
        webhook_url: query.get("webhook_url").map(str::to_owned),
    };
    check_terms("query", &terms)?;
    Ok(terms)
}

/// Holds the terms to their limits, wherever they came from.
pub(super) fn check_terms(place: &str, terms: &Terms) -> Result<()> {
    let fault = |field: &str, message: String| Err(Error::field(&[place, field], "value_error", message));
    if terms.deadline_seconds.is_some_and(|seconds| !(1..=DEADLINE_MAX).contains(&seconds)) {
        return fault("deadline_seconds", format!("deadline_seconds must be from 1 to {DEADLINE_MAX}"));
    }
    if terms.priority.is_some_and(|priority| u32::from(priority) > PRIORITY_MAX) {
        return fault("priority", format!("priority must be from 0 to {PRIORITY_MAX}"));
    }
    let bad_url = |url: &String| url.len() > URL_MAX || !(url.starts_with("https://") || url.starts_with("http://"));
    if terms.webhook_url.as_ref().is_some_and(bad_url) {
        return fault("webhook_url", format!("webhook_url must be an http(s) address of at most {URL_MAX} bytes"));
    }
    crate::app::check_description(&terms.description)
}

/// A namespace is a DNS label.
pub(super) fn check_namespace(place: &str, namespace: Option<&str>) -> Result<()> {
    if namespace.is_none_or(is_dns_label) {
        return Ok(());
    }
    Err(Error::field(&[place, "namespace"], "value_error", "namespace must be a DNS label"))
}

/// An inventory's name becomes part of an object's.
pub(super) fn check_inventory(place: &str, inventory: Option<&str>) -> Result<()> {
    if inventory.is_none_or(is_dns_label) {
        return Ok(());
    }
    Err(Error::field(&[place, "inventory"], "value_error", "inventory must be a DNS label"))
}

/// The caller's own key for this change.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut keys = headers.get_all("idempotency-key");
    let Some(key) = keys.next() else { return Ok(None) };
    let plain = key.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()) && keys.next().is_none());
    let message = || format!("Idempotency-Key must be given once, with 1 to {KEY_MAX} printable characters");
    plain
        .map(|key| Some(key.to_owned()))
        .ok_or_else(|| Error::field(&["header", "idempotency-key"], "value_error", message()))
}

/// Where a change came from.
pub(super) fn source(headers: &HeaderMap) -> &'static str {
    let agent = headers.get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if agent.starts_with(OWN_PROGRAM) { "cli" } else { "http_api" }
}

/// How long a dry run is waited for: the hub's time for an agent, or not at all when the client asks for that
/// (RFC 7240, `Prefer: respond-async`).
pub(super) fn patience(headers: &HeaderMap, longest: Duration) -> Duration {
    let asked = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
    let not_at_all =
        asked.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("respond-async"));
    if not_at_all { Duration::ZERO } else { longest }
}

pub(super) fn flag(query: &QueryPairs, name: &str) -> Result<bool> {
    match query.get(name) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(_) => Err(fault(name, &format!("{name} must be true or false"))),
    }
}

fn fault(name: &str, message: &str) -> Error {
    Error::field(&["query", name], "value_error", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<ApplyQuery> {
        read(&QueryPairs::parse(text).unwrap())
    }

    #[test]
    fn words_are_read() {
        assert_eq!(query("").unwrap(), ApplyQuery::default());
        let all = query("dry_run=server&namespace=web&prune=true&inventory=shop&force=true&wait=1").unwrap();
        let shop = Some("shop".to_owned());
        assert_eq!((all.dry_run, all.namespace.as_deref(), all.force, all.wait), (Some(true), Some("web"), true, true));
        assert_eq!((all.prune, all.inventory), (shop.clone(), shop.clone()));
        let short = query("prune=shop").unwrap();
        assert_eq!((short.prune, short.inventory), (shop.clone(), shop.clone()));
        assert_eq!(
            (query("inventory=shop&prune=false").unwrap().prune, query("inventory=shop").unwrap().inventory),
            (None, shop)
        );
        for (bad, field) in [
            ("dry_run=client", "dry_run"),
            ("namespace=Web", "namespace"),
            ("prune=true", "inventory"),
            ("prune=a&inventory=b", "prune"),
            ("inventory=a/b", "inventory"),
            ("wait=maybe", "wait"),
        ] {
            assert_eq!(query(bad).unwrap_err().errors[0].loc[1], field, "{bad}");
        }
    }

    #[test]
    fn terms_are_bounded() {
        let read = |text: &str| terms(&QueryPairs::parse(text).unwrap(), &HeaderMap::new());
        assert_eq!(read("deadline_seconds=60&priority=9").unwrap().priority, Some(9));
        for bad in [
            "deadline_seconds=0",
            "deadline_seconds=-1",
            "deadline_seconds=99999999999",
            "priority=10",
            "webhook_url=ftp%3A%2F%2Fx",
            "description=%00",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
