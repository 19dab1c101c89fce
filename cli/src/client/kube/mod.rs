//! The commands around kubectl: `kubeconfig`, `env`, `kube-credential`, and kubectl's verbs for one cluster.

mod config;
mod get;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use get::get;

use super::hub::{Hub, segment};
use super::output::{Output, write_line};
use super::profile::Profile;
use crate::args::kube::{CredentialArgs, EnvArgs, KubeconfigArgs, KubectlArgs};
use config::{Credential, Source};

/// Clusters of `--all`: a kubeconfig of more is of no use to anybody.
const CLUSTERS_MAX: usize = 1_000;
/// An access token that ends sooner is exchanged: kubectl may use it for a minute.
const TOKEN_LEFT_SECONDS: i64 = 120;

/// Where the doors are.
#[derive(Deserialize)]
pub(super) struct Doors {
    #[serde(default)]
    kubernetes_url: Option<String>,
    #[serde(default)]
    kubernetes_ca: Option<String>,
}

impl Doors {
    /// The Kubernetes door, and who issued its certificate.
    pub(super) async fn of(hub: &mut Hub) -> Result<(String, Option<String>)> {
        let url = hub.profile().url.clone();
        ensure!(
            url.starts_with("https://") || is_loopback(&url),
            "kubeconfigs come from a hub with TLS only: what comes over plain HTTP could be anybody's"
        );
        let doors: Doors = hub.get("/.well-known/roadstead").await?;
        let url = doors.kubernetes_url.context("the hub has no Kubernetes door: it has no certificate for one")?;
        ensure!(url.starts_with("https://"), "the hub's Kubernetes door has no TLS");
        let authority = match (&hub.profile().ca_file, doors.kubernetes_ca) {
            (_, Some(pem)) => Some(pem),
            (Some(file), None) => {
                Some(std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?)
            }
            (None, None) => None,
        };
        Ok((url, authority))
    }
}

fn is_loopback(url: &str) -> bool {
    let authority = config::authority_of(url);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn source(hub: &mut Hub, credential: Credential) -> Result<Source> {
    let (kubernetes_url, authority) = Doors::of(hub).await?;
    let who: Value = hub.get("/api/v1/auth/profile").await?;
    let username = who["username"].as_str().context("the hub did not say who you are")?.to_owned();
    Ok(Source { kubernetes_url, authority, hub_url: hub.profile().url.clone(), username, credential })
}

fn plugin() -> Result<Credential> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let profile = std::env::var_os("ROADSTEAD_CONFIG").map(PathBuf::from).map(std::path::absolute).transpose()?;
    Ok(Credential::Plugin { program, profile })
}

async fn name_of(hub: &mut Hub, cluster: &str) -> Result<String> {
    let found: Value = hub.get(&format!("/api/v1/clusters/{}", segment(cluster))).await?;
    Ok(found["name"].as_str().context("the hub gave a cluster without a name")?.to_owned())
}

/// Names of the clusters that can be seen, those with labels when a selector is given.
pub(super) async fn names(hub: &mut Hub, selector: Option<&str>) -> Result<Vec<String>> {
    let mut path = format!("/api/v1/clusters?limit={CLUSTERS_MAX}");
    if let Some(selector) = selector {
        path.push_str("&labels=");
        path.push_str(&segment(selector));
    }
    let found: Vec<Value> = hub.get(&path).await?;
    let mut names: Vec<String> = found.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

/// Runs `kubeconfig`.
pub(super) async fn kubeconfig(hub: &mut Hub, args: &KubeconfigArgs, output: Output) -> Result<()> {
    let clusters = match &args.cluster {
        Some(cluster) => vec![name_of(hub, cluster).await?],
        None => names(hub, None).await?,
    };
    ensure!(!clusters.is_empty(), "there is no cluster that you can see");
    let credential = if args.fixed { Credential::Token(fixed(hub, args.lifetime).await?) } else { plugin()? };
    let current = args.use_context.then(|| clusters.first().map(String::as_str)).flatten();
    // A file with one context and nothing else may as well have it as the current one.
    let alone = !args.merge && clusters.len() == 1;
    let current = current.or_else(|| alone.then(|| clusters.first().map(String::as_str)).flatten());
    let made = source(hub, credential).await?.config(&clusters, current);
    if args.merge {
        let file = config::default_file()?;
        config::update(&file, &made, args.use_context)?;
        let names: Vec<String> = clusters.iter().map(|name| config::context_name(name)).collect();
        return output.say(&format!("added to {}: {}", file.display(), names.join(", ")));
    }
    match &args.out {
        Some(file) => {
            config::write(file, &made)?;
            output.say(&format!("written to {}", file.display()))
        }
        None => write_line(&config::text(&made)?),
    }
}

/// A token for a file: a key of its own, which ends by itself.
async fn fixed(hub: &mut Hub, lifetime: u32) -> Result<String> {
    let ends = SystemClock.now() + chrono::Duration::seconds(i64::from(lifetime));
    let ends = ends.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let body = json!({ "key_name": format!("kubeconfig until {ends}"), "expires_at": ends });
    let made: Value = hub.exchange(Method::POST, "/api-keys/", &body).await?;
    Ok(made["api_key"].as_str().context("the hub gave no key")?.to_owned())
}

/// Writes the kubeconfig of one cluster where this user's programs keep such files; answers where.
async fn own_file(hub: &mut Hub, cluster: &str) -> Result<PathBuf> {
    let cluster = name_of(hub, cluster).await?;
    let made = source(hub, plugin()?).await?.config(std::slice::from_ref(&cluster), Some(&cluster));
    let base = match std::env::var_os("XDG_RUNTIME_DIR").or_else(|| std::env::var_os("XDG_CACHE_HOME")) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let hub_name: String = config::authority_of(&hub.profile().url)
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' })
        .collect();
    let folder = base.join("roadstead").join(hub_name);
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let file = folder.join(format!("{cluster}.kubeconfig"));
    config::write(&file, &made)?;
    Ok(file)
}

/// Runs `env`: what a shell evaluates, for one terminal.
pub(super) async fn env(hub: &mut Hub, args: &EnvArgs) -> Result<()> {
    let file = own_file(hub, &args.cluster).await?;
    let quoted = file.to_string_lossy().replace('\'', r"'\''");
    write_line(&format!("export KUBECONFIG='{quoted}'\n# eval \"$(roadstead env {})\"", segment(&args.cluster)))
}

/// Runs `kube-credential`: a token for kubectl.
pub(super) async fn credential(args: &CredentialArgs) -> Result<()> {
    let mut hub = Hub::remembered()?;
    let url = args.url.trim_end_matches('/');
    if hub.profile().url != url {
        bail!("this kubeconfig is for {url}, and roadstead is logged in at {}", hub.profile().url);
    }
    let status = match hub.profile().api_key.clone() {
        Some(key) => json!({ "token": key }),
        None => session_token(&mut hub).await?,
    };
    let answer = json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status });
    write_line(&answer.to_string())
}

/// The session's access token, a new one when it is about to end.
async fn session_token(hub: &mut Hub) -> Result<Value> {
    let now = SystemClock.now().timestamp();
    let ending =
        hub.profile().access_token.as_deref().and_then(ends_at).is_none_or(|end| end - now < TOKEN_LEFT_SECONDS);
    if ending && !hub.refresh().await? {
        bail!("the session has ended: run `roadstead login --url {}`", hub.profile().url);
    }
    let token = hub.profile().access_token.clone().context("no session is remembered; log in first")?;
    let end = ends_at(&token).and_then(|end| chrono::DateTime::from_timestamp(end - TOKEN_LEFT_SECONDS / 2, 0));
    let mut status = json!({ "token": token });
    if let Some(end) = end {
        status["expirationTimestamp"] = json!(end.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    }
    Ok(status)
}

/// When a token ends, seconds since 1970. Only read, never believed: the hub decides.
fn ends_at(token: &str) -> Option<i64> {
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Value>(&claims).ok()?["exp"].as_i64()
}

/// Runs kubectl for one cluster, with this terminal.
pub(super) async fn kubectl(hub: &mut Hub, verb: &str, args: &KubectlArgs) -> Result<()> {
    let file = own_file(hub, &args.cluster).await?;
    let mut command = tokio::process::Command::new("kubectl");
    command.arg("--kubeconfig").arg(&file).arg(verb).args(&args.rest);
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let status = command.status().await.context("failed to run kubectl; is it installed?")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => std::process::exit(code),
        None => bail!("kubectl was ended by a signal"),
    }
}

/// Keeps two commands from using one refresh token at the same time, which the hub would take for theft.
pub(super) struct SessionLock(#[expect(dead_code, reason = "unlocks when it is closed")] std::fs::File);

impl SessionLock {
    pub(super) fn take(profile: &std::path::Path) -> Result<Self> {
        let path = profile.with_extension("lock");
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("failed to open {}", path.display()))?;
        file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
        Ok(Self(file))
    }
}

/// What another command has written meanwhile.
pub(super) fn newer(profile: &Profile, file: &std::path::Path) -> Option<Profile> {
    let stored = Profile::read(file).ok()??;
    (stored.url == profile.url && stored.refresh_token != profile.refresh_token).then_some(stored)
}
