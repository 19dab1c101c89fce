//! `roadstead kubeconfig --static`: a token in a file. It ends by itself, and whoever finds the file gets no more than the file
//! is for: these clusters, in at most this role.

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use reqwest::Method;
use roadstead_contracts::scope::{CLUSTERS_MAX, Scope};
use roadstead_runtime::{Clock as _, Ids, SystemClock};
use serde_json::{Value, json};

use super::super::hub::{Hub, segment};
use super::super::output::plain;
use super::Known;
use crate::args::kube::TokenRole;

/// Longest part of a cluster's name in the name of a key, which has 100 characters.
const NAME_SHOWN: usize = 40;

/// A key for these clusters only. Says on standard error what was made: standard output may be the kubeconfig.
pub(super) async fn token(hub: &mut Hub, clusters: &[Known], lifetime: u32, role: TokenRole) -> Result<String> {
    let now = SystemClock.now();
    let ids = Ids::system(SystemClock::shared());
    // Two of the same cluster may be made within a second; the end of an id is what differs.
    let tail = ids.uuid().simple().to_string().split_off(26);
    let body = body(clusters, role, now + Duration::seconds(i64::from(lifetime)), &tail)?;
    let made: Value = hub.exchange(Method::POST, "/api-keys/", &body).await?;
    let token = made["api_key"].as_str().context("the hub gave no key")?.to_owned();
    let id = made["id"].as_str().map_or_else(|| made["id"].to_string(), str::to_owned);
    eprintln!(
        "{}",
        plain(&format!(
            "the token works for {} as {} at most, until {}; sooner ended with `roadstead api-key revoke {}`",
            named(clusters),
            role.role().as_str(),
            made["expires_at"].as_str().or_else(|| body["expires_at"].as_str()).unwrap_or("-"),
            segment(&id),
        ))
    );
    Ok(token)
}

/// What the hub is asked for. A cluster sees the role whose every permission the key covers, so these are the least that
/// reading (`viewer`) and changing (`operator`) through the Kubernetes door take.
fn body(clusters: &[Known], role: TokenRole, end: DateTime<Utc>, tail: &str) -> Result<Value> {
    ensure!(
        clusters.len() <= CLUSTERS_MAX,
        "a token is held to at most {CLUSTERS_MAX} clusters, and you can see {}: name one, or leave out --static",
        clusters.len()
    );
    let permissions = role.role().permissions().iter().map(|word| (*word).to_owned()).collect();
    let held = clusters.iter().map(|cluster| cluster.id).collect();
    let scope = Scope { permissions: Some(permissions), clusters: Some(held), sources: None };
    let end = end.to_rfc3339_opts(SecondsFormat::Secs, true);
    Ok(json!({
        "key_name": format!("kubeconfig of {} until {end} {tail}", named(clusters)),
        "expires_at": end,
        "permissions": scope.permissions,
        "clusters": scope.clusters,
    }))
}

fn named(clusters: &[Known]) -> String {
    match clusters {
        [one] => one.name.chars().take(NAME_SHOWN).collect(),
        more => format!("{} clusters", more.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(count: u128) -> Vec<Known> {
        let one = |number: u128| {
            let id = format!("00000000-0000-7000-8000-{number:012}").parse().unwrap();
            Known { id, name: format!("quay-{number}") }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn regression_a_token_in_a_file_is_held_to_its_clusters() {
        let end = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |count, role| body(&clusters(count), role, end, "a1");
        let one = of(1, TokenRole::Operator).unwrap();
        assert_eq!(one["key_name"], "kubeconfig of quay-0 until 2026-01-01T00:00:00Z a1");
        assert_eq!(one["clusters"], json!(["00000000-0000-7000-8000-000000000000"]));
        assert_eq!(one["expires_at"], "2026-01-01T00:00:00Z");
        for role in [TokenRole::Viewer, TokenRole::Operator, TokenRole::Admin] {
            let words = of(2, role).unwrap()["permissions"].clone();
            let scope = Scope { permissions: serde_json::from_value(words).unwrap(), ..Scope::default() };
            // What a cluster is told; and that the hub takes the words.
            assert_eq!(scope.highest_role(), Some(role.role()));
            assert!(scope.checked().is_ok());
        }
        assert!(of(200, TokenRole::Viewer).is_ok());
        assert!(of(201, TokenRole::Viewer).unwrap_err().to_string().contains("at most 200 clusters"));
    }
}
