//! The commands around kubectl: `kubeconfig`, `env`, `kube-credential`, and kubectl's verbs for one cluster.

mod config;
mod door;
mod fixed;
mod get;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use roadstead_contracts::ids::ClusterId;
use roadstead_runtime::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use get::get;

use super::hub::{Hub, segment};
use super::output::{Output, write_line};
use super::profile::Profile;
use crate::args::kube::{CredentialArgs, EnvArgs, KubeconfigArgs, KubectlArgs};
use config::{Credential, Source};

/// Clusters that one command is about: what a hub is built for.
const CLUSTERS_MAX: usize = 10_000;
/// Contexts of `--all`: with more the file is larger than kubectl reads in a moment.
const CONTEXTS_MAX: usize = 5_000;
/// What must be installed: older ones do not take credentials from a program as this one gives them.
const KUBECTL: &str = "kubectl 1.22 or later, within one minor version of the cluster's Kubernetes";
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

/// A cluster as the hub knows it.
#[derive(Debug, Clone, Deserialize)]
struct Known {
    id: ClusterId,
    name: String,
}

async fn known(hub: &mut Hub, cluster: &str) -> Result<Known> {
    hub.get(&format!("/api/v1/clusters/{}", segment(cluster))).await
}

async fn name_of(hub: &mut Hub, cluster: &str) -> Result<String> {
    known(hub, cluster).await.map(|known| known.name)
}

/// All clusters that can be seen, by name; those with labels when a selector is given.
async fn all(hub: &mut Hub, selector: Option<&str>, most: usize) -> Result<Vec<Known>> {
    let filter = selector.map_or_else(String::new, |selector| format!("&labels={}", segment(selector)));
    let mut found: Vec<Known> = hub.all("/api/v1/clusters", &filter, most).await?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found.dedup_by(|one, other| one.id == other.id);
    Ok(found)
}

/// Names of the clusters that can be seen, those with labels when a selector is given.
pub(super) async fn names(hub: &mut Hub, selector: Option<&str>) -> Result<Vec<String>> {
    Ok(all(hub, selector, CLUSTERS_MAX).await?.into_iter().map(|known| known.name).collect())
}

/// Runs `kubeconfig`.
pub(super) async fn kubeconfig(hub: &mut Hub, args: &KubeconfigArgs, output: Output) -> Result<()> {
    let meant = match &args.cluster {
        Some(cluster) => vec![known(hub, cluster).await?],
        None => all(hub, None, CONTEXTS_MAX).await?,
    };
    ensure!(!meant.is_empty(), "there is no cluster that you can see");
    let clusters: Vec<String> = meant.iter().map(|one| one.name.clone()).collect();
    let mut source = source(hub, plugin()?).await?;
    if args.fixed {
        // Last of all that asks the hub: no key is left behind by a command that then fails.
        source.credential = Credential::Token(fixed::token(hub, &meant, args.lifetime, args.role).await?);
    }
    let current = args.use_context.then(|| clusters.first().map(String::as_str)).flatten();
    // A file with one context and nothing else may as well have it as the current one.
    let alone = !args.merge && clusters.len() == 1;
    let current = current.or_else(|| alone.then(|| clusters.first().map(String::as_str)).flatten());
    let made = source.config(&clusters, current);
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

/// Becomes kubectl for one cluster, with this terminal.
pub(super) async fn kubectl(hub: &mut Hub, verb: &str, args: &KubectlArgs) -> Result<()> {
    let file = own_file(hub, &args.cluster).await?;
    // In place of this program and not under it: who ends `port-forward` by its process has ended it, and nobody is left behind
    // with the port.
    let fault = Command::new("kubectl").arg("--kubeconfig").arg(&file).arg(verb).args(&args.rest).exec();
    if fault.kind() == std::io::ErrorKind::NotFound {
        bail!(
            "`roadstead {verb}` starts kubectl, and there is none on this machine's PATH: install {KUBECTL} \
             (https://kubernetes.io/docs/tasks/tools/)"
        );
    }
    Err(fault).context("failed to start kubectl")
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
