//! `conformance`: Kubernetes' own end-to-end tests of its API's machinery, against a control plane directly and through the hub.
//!
//! What passes directly must pass through the hub. Takes an hour, so CI does not run it; both lists are kept in `docs/results/`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use roadstead_testkit::wait::until;
use serde::Deserialize;

use crate::demo::product;
use crate::repository::root;
use crate::rig::Rig;
use crate::run;

/// Which tests.
const FOCUS: &str = r"\[sig-api-machinery\].*\[Conformance\]";
/// Not these: they talk to a program in a pod, and simulated pods run none.
const SKIP: &str = "(?i)webhook|aggregator|CustomResourceFieldSelectors";
/// A hub or an agent that is not there after this long has failed.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// The one cluster.
const CLUSTER: &str = "conformance";
const RESULTS: &str = "docs/results/conformance.md";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Run the tests whose names match this instead
    #[arg(long, default_value = FOCUS)]
    focus: String,
}

/// What `roadstead up` writes into its ready file.
#[derive(Deserialize)]
struct Ready {
    url: String,
    agent_url: String,
    api_key: String,
    join_token: String,
}

/// The suite's report, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    run_time: u64,
}

/// Name of a test to how it ended and the seconds it took.
type Outcomes = BTreeMap<String, (String, u64)>;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    run::visible(&mut run::cargo(&["build", "--workspace", "--bins"]))?;
    let mut rig = Rig::new("conformance")?;
    ensure!(rig.can_start_clusters()?, "without a Go toolchain there are no tests to build");
    let suite = build(rig.folder().join("e2e.test"))?;
    let kubeconfig = rig.cluster(CLUSTER)?;
    println!("=== directly");
    let directly = outcomes(&rig, &suite, arguments, &kubeconfig, "directly")?;
    println!("=== through the hub");
    let through = start_hub(&rig, &kubeconfig)?;
    let through = outcomes(&rig, &suite, arguments, &through, "through")?;
    let (table, lost) = compare(&directly, &through);
    if arguments.focus == FOCUS {
        fs::write(root().join(RESULTS), &table).with_context(|| format!("failed to write {RESULTS}"))?;
    }
    println!("{table}");
    if lost > 0 {
        bail!("{lost} tests pass directly and not through the hub");
    }
    Ok(())
}

/// Builds the suite with the flags that everything else in the folder is built with, so that nothing is compiled again.
const BUILD: &str = r#"here=. script=conformance
. ./go-build.sh
in_module go test -c -trimpath -buildvcs=false -ldflags "-s -w" -o "$0" ./e2e"#;

fn build(suite: PathBuf) -> Result<PathBuf> {
    run::visible(Command::new("sh").args(["-euc", BUILD]).arg(&suite).current_dir(root().join("tests/kube")))?;
    Ok(suite)
}

/// Starts a hub and an agent; answers a kubeconfig with a token in it, for programs that call no plugins.
fn start_hub(rig: &Rig, kubeconfig: &Path) -> Result<PathBuf> {
    let programs = rig.programs()?;
    let file = rig.folder().join("ready.json");
    let mut command = product("roadstead")?;
    command.args(["up", "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"]);
    command.args(["--kubernetes-listen", "127.0.0.1:0", "--data"]).arg(rig.folder().join("data"));
    let hub = programs.start("roadstead", command.arg("--ready-file").arg(&file))?;
    let ready: Ready = until("the hub is ready", READY_LIMIT, || {
        ensure!(hub.is_alive(), "it ended:\n{}", programs.tail("roadstead"));
        serde_json::from_slice(&fs::read(&file).context("no ready file")?).context("not complete")
    })?;
    let mut command = product("roadstead-agent")?;
    command.args(["run", "--hub", &ready.agent_url, "--name", CLUSTER, "--kubeconfig"]).arg(kubeconfig);
    command.arg("--state").arg(rig.folder().join("agent"));
    command.env("ROADSTEAD_JOIN_TOKEN", &ready.join_token).env("ROADSTEAD_AGENT_SERVER_PORT", "0");
    programs.start("agent", &mut command)?;
    let through = rig.folder().join("through.kubeconfig");
    until("the cluster can be asked", READY_LIMIT, || {
        let mut command = product("roadstead")?;
        command.env("ROADSTEAD_URL", &ready.url).env("ROADSTEAD_API_KEY", &ready.api_key);
        command.args(["kubeconfig", CLUSTER, "--static", "--lifetime", "8h", "--role", "admin", "--out"]).arg(&through);
        let made = command.output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        rig.kubectl(&through, &["get", "--raw", "/readyz"])
    })?;
    Ok(through)
}

fn outcomes(rig: &Rig, suite: &Path, arguments: &Arguments, kubeconfig: &Path, name: &str) -> Result<Outcomes> {
    let report = rig.folder().join(format!("{name}.json"));
    let status = Command::new(suite)
        .args(["--provider=skeleton", "--disable-log-dump", "--ginkgo.no-color", "--ginkgo.succinct"])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--kubectl-path={}", rig.kubectl_program()?.display()))
        .arg(format!("--ginkgo.focus={}", arguments.focus))
        .arg(format!("--ginkgo.skip={SKIP}"))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .args(["--ginkgo.timeout=3h", "--test.timeout=0"])
        .env_remove("KUBECONFIG")
        .status()
        .context("failed to run the suite")?;
    println!("{name}: {status}");
    let report = fs::read(&report).context("the suite wrote no report")?;
    let suites: Vec<Suite> = serde_json::from_slice(&report).context("the report is not what it was")?;
    let specs = suites.into_iter().flat_map(|suite| suite.spec_reports);
    Ok(specs.filter(|spec| spec.leaf_node_type == "It" && spec.state != "skipped").map(Spec::told).collect())
}

impl Spec {
    fn told(self) -> (String, (String, u64)) {
        let mut name = self.container_hierarchy_texts.unwrap_or_default();
        name.push(self.leaf_node_text);
        (name.join(" "), (self.state, self.run_time / 1_000_000_000))
    }
}

/// A page with both lists, and how many pass directly only.
fn compare(directly: &Outcomes, through: &Outcomes) -> (String, usize) {
    let passed = |outcomes: &Outcomes| outcomes.values().filter(|(state, _)| state == "passed").count();
    let lost = |name: &String| {
        let good = |outcomes: &Outcomes| outcomes.get(name).is_some_and(|(state, _)| state == "passed");
        good(directly) && !good(through)
    };
    let lost = directly.keys().filter(|name| lost(name)).count();
    let mut page = String::from(
        "# Kubernetes' own tests through the hub\n\nMade by `cargo xtask conformance`: `k8s.io/kubernetes/test/e2e` (version in \
         `tests/kube/go.mod`), `[sig-api-machinery]` and `[Conformance]`, without those that talk to a program in a pod (webhooks, the sample API \
         server), against one control plane: first directly, then through `roadstead up` and an agent, as the owner.\n\n",
    );
    let _ = writeln!(
        page,
        "Directly {} of {} passed, through the hub {} of {}; {lost} passed directly only.\n\n| test | directly | s | through the hub | s |\n|---|---|---|---|---|",
        passed(directly),
        directly.len(),
        passed(through),
        through.len()
    );
    let names: std::collections::BTreeSet<&String> = directly.keys().chain(through.keys()).collect();
    for name in names {
        let cell = |outcomes: &Outcomes| {
            outcomes.get(name).map_or("– | –".to_owned(), |(state, seconds)| format!("{state} | {seconds}"))
        };
        let short = name.trim_start_matches("[sig-api-machinery] ").replace('|', "\\|");
        let _ = writeln!(page, "| {short} | {} | {} |", cell(directly), cell(through));
    }
    (page, lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_directly_only_is_counted() {
        let list = |states: &[(&str, &str)]| -> Outcomes {
            states.iter().map(|(name, state)| ((*name).to_owned(), ((*state).to_owned(), 1))).collect()
        };
        let directly = list(&[("a", "passed"), ("b", "failed"), ("c", "passed")]);
        let through = list(&[("a", "passed"), ("b", "passed"), ("c", "failed")]);
        let (page, lost) = compare(&directly, &through);
        assert_eq!(lost, 1);
        assert!(page.contains("| c | passed | 1 | failed | 1 |"), "{page}");
    }
}
