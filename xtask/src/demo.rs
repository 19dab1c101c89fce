//! `demo`: from nothing to the namespaces of two real clusters, asked of the hub.

mod http;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use roadstead_testkit::wait::until;
use serde::Deserialize;
use serde_json::Value;

use crate::drift::binary;
use crate::repository::root;
use crate::rig::Rig;
use crate::run;

/// A hub or an agent that is not there after this long has failed.
const READY_LIMIT: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Arguments {
    /// A cluster to show instead of simulated ones: kind, k3d, a real one; may be repeated
    #[arg(long = "kubeconfig", value_name = "FILE")]
    kubeconfigs: Vec<PathBuf>,
    /// Leave everything running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// What `roadstead up` writes into its ready file.
#[derive(Deserialize)]
struct Ready {
    url: String,
    agent_url: String,
    api_key: String,
    join_token: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    step("building the hub and the agent");
    run::visible(&mut run::cargo(&["build", "--workspace", "--bins"]))?;

    let mut rig = Rig::new("demo")?;
    let clusters = clusters(&mut rig, &arguments.kubeconfigs)?;

    let (first, hosted) = clusters.first().context("no cluster")?;
    step(&format!("starting the hub: roadstead up --kubeconfig {first} (which it serves without an agent in it)"));
    let ready = start_hub(&rig, hosted)?;
    println!("{} (agents: {})", ready.url, ready.agent_url);

    let mut token = ready.join_token.clone();
    // The hosted cluster has its context's name; what the agents join must be called otherwise.
    let joined: Vec<(String, &PathBuf)> =
        clusters.iter().map(|(name, file)| (format!("{name}-by-agent"), file)).collect();
    for (number, (name, kubeconfig)) in joined.iter().enumerate() {
        if number > 0 {
            token = join_token(&ready)?;
        }
        step(&format!("starting an agent: roadstead-agent run --hub … --join … --name {name} --kubeconfig …"));
        start_agent(&rig, &ready, name, kubeconfig, &token)?;
    }
    let agents = wait_for_agents(&rig, &ready, &joined)?;

    step("four calls");
    call(&ready, "/api/v3.0/cluster/health")?;
    call(&ready, "/api/v1/clusters")?;
    call(&ready, "/api/v3.0/cluster/agents/connected")?;
    let agent = agents.first().context("no agent")?;
    call(&ready, &format!("/api/v3.0/cluster/namespaces?agent_id={agent}"))?;

    step("the same from the command line");
    for (name, _) in &joined {
        println!("\n$ roadstead namespaces {name}");
        run::visible(&mut client(&ready, &["namespaces", name])?)?;
    }
    if arguments.keep {
        println!("\nexport ROADSTEAD_URL={} ROADSTEAD_API_KEY={}", ready.url, ready.api_key);
        println!("everything keeps running until Ctrl-C");
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

fn step(text: &str) {
    println!("\n=== {text}");
}

/// The caller's clusters, or two of ours.
fn clusters(rig: &mut Rig, given: &[PathBuf]) -> Result<Vec<(String, PathBuf)>> {
    if !given.is_empty() {
        return given
            .iter()
            .enumerate()
            .map(|(number, file)| {
                let file = file.canonicalize().with_context(|| format!("no kubeconfig {}", file.display()))?;
                Ok((format!("cluster-{}", number + 1), file))
            })
            .collect();
    }
    step("building the test clusters' control plane (some minutes the first time, then cached)");
    if !rig.can_start_clusters()? {
        bail!("without a Go toolchain the demo needs a cluster of yours: cargo xtask demo --kubeconfig FILE");
    }
    let mut clusters = Vec::new();
    for name in ["east", "west"] {
        step(&format!("starting the cluster {name}"));
        let kubeconfig = rig.cluster(name)?;
        // So that one can tell whose answer it is.
        rig.kubectl(&kubeconfig, &["create", "namespace", &format!("{name}-shop")])?;
        println!("{}", kubeconfig.display());
        clusters.push((name.to_owned(), kubeconfig));
    }
    Ok(clusters)
}

fn start_hub(rig: &Rig, hosted: &Path) -> Result<Ready> {
    let file = rig.folder().join("ready.json");
    let mut command = product("roadstead")?;
    command
        .args(["up", "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"])
        .arg("--data")
        .arg(rig.folder().join("data"))
        .arg("--kubeconfig")
        .arg(hosted)
        .arg("--ready-file")
        .arg(&file);
    let process = rig.programs()?.start("roadstead", &mut command)?;
    until("the hub is ready", READY_LIMIT, || {
        ensure!(process.is_alive(), "it ended:\n{}", rig.programs()?.tail("roadstead"));
        let text = fs::read(&file).context("no ready file")?;
        serde_json::from_slice(&text).context("the ready file is not complete")
    })
}

fn start_agent(rig: &Rig, ready: &Ready, name: &str, kubeconfig: &Path, token: &str) -> Result<()> {
    let mut command = product("roadstead-agent")?;
    command
        .args(["run", "--hub", &ready.agent_url, "--name", name])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--state")
        .arg(rig.folder().join(format!("agent-{name}")))
        // By environment: arguments are for everybody on this machine to read.
        .env("ROADSTEAD_JOIN_TOKEN", token)
        // Two agents on one machine cannot both have 8081.
        .env("ROADSTEAD_AGENT_SERVER_PORT", "0");
    rig.programs()?.start(&format!("agent-{name}"), &mut command)?;
    Ok(())
}

/// One more join token, as a newcomer would make it.
fn join_token(ready: &Ready) -> Result<String> {
    let text = run::captured(&mut client(ready, &["join-token", "create", "-o", "json"])?)?;
    let answer: Value = serde_json::from_str(&text).context("join-token create printed no JSON")?;
    Ok(answer["token"].as_str().context("join-token create printed no token")?.to_owned())
}

/// Waits until every agent is connected. Answers their ids.
fn wait_for_agents(rig: &Rig, ready: &Ready, clusters: &[(String, &PathBuf)]) -> Result<Vec<String>> {
    let programs = rig.programs()?;
    until("the agents are connected", READY_LIMIT, || {
        let (_, body) = http::get(&ready.url, "/api/v3.0/cluster/agents/connected", &ready.api_key)?;
        let answer: Value = serde_json::from_str(&body).context("not JSON")?;
        let agents: Vec<String> = answer["connected_agents"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|agent| agent.as_str().or_else(|| agent["agent_id"].as_str()))
            .map(str::to_owned)
            .collect();
        // One more than was dialled: the hosted one.
        ensure!(
            agents.len() > clusters.len(),
            "{} of {} connected; {body}\n{}",
            agents.len(),
            clusters.len() + 1,
            clusters.iter().map(|(name, _)| programs.tail(&format!("agent-{name}"))).collect::<String>()
        );
        Ok(agents)
    })
}

fn call(ready: &Ready, path: &str) -> Result<()> {
    println!("\n$ curl -H \"X-API-Key: $ROADSTEAD_API_KEY\" '{}{path}'", ready.url);
    let (status, body) = http::get(&ready.url, path, &ready.api_key)?;
    let pretty = serde_json::from_str::<Value>(&body).and_then(|body| serde_json::to_string_pretty(&body));
    println!("{}", pretty.unwrap_or(body));
    ensure!(status == 200, "{path} answered {status}");
    Ok(())
}

/// The `roadstead` client against the demo's hub.
fn client(ready: &Ready, arguments: &[&str]) -> Result<Command> {
    let mut command = product("roadstead")?;
    command.args(arguments).env("ROADSTEAD_URL", &ready.url).env("ROADSTEAD_API_KEY", &ready.api_key);
    Ok(command)
}

/// One of the product's programs, without the caller's settings for it.
pub(crate) fn product(name: &str) -> Result<Command> {
    let mut command = Command::new(binary(name)?);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ROADSTEAD_") || text.starts_with("MCKMT_") || text == "KUBECONFIG" {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    Ok(command)
}
