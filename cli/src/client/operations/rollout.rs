//! `roadstead rollout …`

use std::time::Duration;

use anyhow::{Context as _, Result};
use comfy_table::Cell;
use reqwest::Method;
use roadstead_runtime::{Clock as _, SystemClock};
use serde_json::{Map, Value, json};

use super::super::ended::Ended;
use super::super::hub::{Hub, segment};
use super::super::output::{Output, age, state, table};
use super::confirm::{ask, question};
use super::files::{read, texts};
use super::model::plain;
use super::progress::Progress;
use crate::args::OutputFormat;
use crate::args::operations::{RolloutArgs, RolloutCommand};

/// Between two looks at a rollout: its parts take seconds at least.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that may fail in a row before a watch gives up: three minutes of an absent hub.
const FAILED_LOOKS_MAX: u32 = 180;
/// Longest name of a rollout in the hub, in bytes.
const NAME_MAX: usize = 200;
/// Exit code of a command that was interrupted.
const INTERRUPTED: u8 = 130;

/// Runs `rollout …`.
pub(in crate::client) async fn run(hub: &mut Hub, command: &RolloutCommand, format: OutputFormat) -> Result<()> {
    let output = Output::new(format);
    let (id, verb) = match command {
        RolloutCommand::Create(args) => return create(hub, args, format).await,
        RolloutCommand::Ls => {
            let rollouts: Vec<Value> = hub.get("/api/v1/rollouts?limit=100").await?;
            return output.print(&rollouts, |rollouts| list(rollouts));
        }
        RolloutCommand::Get { id } => {
            let rollout: Value = hub.get(&path(id, "")).await?;
            return output.print(&rollout, card);
        }
        RolloutCommand::Watch { id } => return watch(hub, id, format).await,
        RolloutCommand::Approve { id } => (id, "approve"),
        RolloutCommand::Halt { id } => (id, "halt"),
        RolloutCommand::Resume { id } => (id, "resume"),
        RolloutCommand::Retry { id } => (id, "retry"),
        RolloutCommand::Cancel { id } => (id, "cancel"),
    };
    let rollout: Value = hub.exchange(Method::POST, &path(id, &format!("/{verb}")), &json!({})).await?;
    output.print(&rollout, summary)
}

fn path(id: &str, tail: &str) -> String {
    format!("/api/v1/rollouts/{}{tail}", segment(id))
}

async fn create(hub: &mut Hub, args: &RolloutArgs, format: OutputFormat) -> Result<()> {
    let files = read(&args.manifests.files)?;
    let mut body = json!({
        "name": name(args),
        "kind": "apply",
        "manifests": texts(&files)?,
        "namespace": args.manifests.namespace,
        "inventory": args.inventory,
        "prune": args.prune,
        "force_conflicts": args.force_conflicts,
        "wait": args.until_ready,
        "plan": plan(args)?,
    });
    match &args.target.clusters {
        Some(selector) => body["selector"] = json!(selector),
        None => body["clusters"] = json!(args.target.cluster),
    }
    if !args.yes {
        let would: Value = hub.exchange(Method::POST, "/api/v1/rollouts", &body).await?;
        ask(&asked(&would))?;
    }
    body["confirmed"] = json!(true);
    let key = super::fresh_key();
    let headers = [("idempotency-key", key.as_str()), ("content-type", "application/json")];
    let made = hub.post_bytes("/api/v1/rollouts", &headers, body.to_string().as_bytes()).await?;
    let made: Value = serde_json::from_slice(&made).context("the hub's answer was not understood")?;
    let id = made["id"].as_str().context("the hub gave a rollout without an id")?.to_owned();
    if args.wait.wait {
        return watch(hub, &id, format).await;
    }
    Output::new(format).print(&made, summary)
}

/// Its name: the first file's when there is none, for the hub takes no rollout without.
fn name(args: &RolloutArgs) -> String {
    if !args.name.is_empty() {
        return args.name.clone();
    }
    let first = args.manifests.files.first().map(|file| file.display().to_string());
    let mut name = first.filter(|first| first != "-").unwrap_or_else(|| "stdin".to_owned());
    name.truncate(name.floor_char_boundary(NAME_MAX));
    name
}

/// What a rollout would touch, as the hub counted it.
fn asked(would: &Value) -> String {
    let names: Vec<String> =
        array(&would["cluster_names"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let objects = would["objects"].as_u64().unwrap_or(0);
    let objects = if objects == 1 { "1 object".to_owned() } else { format!("{objects} objects") };
    let removes = if would["destructive"] == true { " and remove what else the inventory lists," } else { "" };
    question(&format!("Apply {objects}{removes}"), &names)
}

/// The plan of the file, and what was said beside it.
fn plan(args: &RolloutArgs) -> Result<Value> {
    let mut plan = match &args.plan {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
            serde_saphyr::from_str::<Value>(&text).with_context(|| format!("{} is no YAML", file.display()))?
        }
        None => Value::Object(Map::new()),
    };
    let fields = plan.as_object_mut().context("a plan is an object with waves, failure_budget, bake_seconds, …")?;
    let mut set = |name: &str, value: Value, said: bool| {
        if said {
            fields.insert(name.to_owned(), value);
        }
    };
    set("waves", json!(args.waves), !args.waves.is_empty());
    set("failure_budget", json!(args.failure_budget), args.failure_budget > 0);
    set("bake_seconds", json!(args.bake), args.bake.is_some());
    set("at_once", json!(args.at_once), args.at_once > 0);
    set("needs_approval", json!(true), args.needs_approval);
    set("cluster_deadline_seconds", json!(args.wait.timeout), args.wait.timeout.is_some());
    Ok(plan)
}

/// Follows a rollout until it has ended, halted, or waits for somebody.
async fn watch(hub: &mut Hub, id: &str, format: OutputFormat) -> Result<()> {
    let progress = Progress::new(format);
    let interrupted = tokio::signal::ctrl_c();
    let mut interrupted = std::pin::pin!(interrupted);
    let (mut known, mut failed) = (Vec::new(), 0);
    let rollout = loop {
        let place = path(id, "");
        let looked = tokio::select! {
            looked = hub.get::<Value>(&place) => looked,
            _ = &mut interrupted => return Err(left_alone(id).into()),
        };
        match looked {
            Ok(rollout) => {
                failed = 0;
                for line in lines(&rollout) {
                    if !known.contains(&line) {
                        progress.say(&line);
                        known.push(line);
                    }
                }
                if !matches!(rollout["state"].as_str(), Some("running" | "waiting")) {
                    break rollout;
                }
            }
            Err(fault) if fault.is::<super::super::Refused>() || failed >= FAILED_LOOKS_MAX => return Err(fault),
            Err(_) => failed += 1,
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = &mut interrupted => return Err(left_alone(id).into()),
        }
    };
    if format == OutputFormat::Table {
        progress.say(&summary(&rollout));
    } else {
        Output::new(format).print(&rollout, summary)?;
    }
    match rollout["state"].as_str() {
        Some("succeeded" | "awaiting_approval") => Ok(()),
        Some("cancelled") => Err(Ended::silently(3).into()),
        _ => Err(Ended::silently(1).into()),
    }
}

fn left_alone(id: &str) -> Ended {
    let said = format!(
        "not watched any more; the rollout goes on:\n  roadstead rollout watch {id}    # go on watching\n  roadstead rollout halt {id}     # stop before the next cluster"
    );
    Ended { code: INTERRUPTED, said }
}

/// What is new each time something changed: one line for each cluster and state.
fn lines(rollout: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for wave in array(&rollout["waves"]) {
        for cluster in array(&wave["clusters"]) {
            if let Some(state) = cluster["state"].as_str() {
                let name = cluster["cluster_name"].as_str().unwrap_or("-");
                lines.push(format!("wave {}  {name}: {}", wave["number"], state.replace('_', " ")));
            }
        }
        if let Some(until) = wave["bakes_until"].as_str() {
            lines.push(format!("wave {}  bakes until {until}", wave["number"]));
        }
    }
    lines
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("-")
}

fn clusters(rollout: &Value) -> String {
    let counts = &rollout["clusters"];
    format!(
        "{} of {} done, {} failed, {} running, {} untouched",
        counts["succeeded"], counts["total"], counts["failed"], counts["running"], counts["untouched"]
    )
}

fn summary(rollout: &Value) -> String {
    let why =
        rollout["reason"].as_str().filter(|why| !why.is_empty()).map_or_else(String::new, |why| format!(": {why}"));
    plain(&format!(
        "rollout {} {}{why} ({})",
        text(rollout, "id"),
        text(rollout, "state").replace('_', " "),
        clusters(rollout)
    ))
}

fn card(rollout: &Value) -> String {
    let mut out = vec![summary(rollout)];
    out.push(format!("name {}, by {}", text(rollout, "name"), text(rollout, "created_by")));
    for wave in array(&rollout["waves"]) {
        out.push(format!("wave {}", wave["number"]));
        for cluster in array(&wave["clusters"]) {
            let operation = cluster["operation_id"].as_str().unwrap_or("-");
            let state = cluster["state"].as_str().unwrap_or("untouched");
            out.push(format!("  {:<24} {:<12} {operation}", text(cluster, "cluster_name"), state));
        }
    }
    plain(&out.join("\n"))
}

fn list(rollouts: &[Value]) -> String {
    let now = SystemClock.now();
    let row = |rollout: &Value| {
        vec![
            Cell::new(text(rollout, "id")),
            Cell::new(plain(text(rollout, "name"))),
            state(text(rollout, "state")),
            Cell::new(clusters(rollout)),
            Cell::new(plain(text(rollout, "created_by"))),
            Cell::new(age(rollout["created_at"].as_str().and_then(|at| at.parse().ok()), now)),
        ]
    };
    table(&["ROLLOUT", "NAME", "STATE", "CLUSTERS", "BY", "AGE"], rollouts.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_what_a_rollout_removes_is_asked_with_the_clusters_names() {
        let mut would = json!({ "objects": 3, "clusters": 2, "cluster_names": ["east", "west"], "destructive": true });
        let asks = "Apply 3 objects and remove what else the inventory lists, in each of 2 clusters (east and west)?";
        assert_eq!(asked(&would), asks);
        would["destructive"] = json!(false);
        would["objects"] = json!(1);
        assert_eq!(asked(&would), "Apply 1 object in each of 2 clusters (east and west)?");
    }
}
