//! A release's whole life with Helm.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Surroundings, folder};

const NAMESPACE: &str = "client-helm";
const RELEASE: &str = "buoy";

pub(super) async fn releases(surroundings: &Surroundings, program: &Path) -> Result<()> {
    let chart = folder().join("chart").display().to_string();
    let helm = Helm { surroundings, program };
    helm.run(&["install", RELEASE, &chart, "--create-namespace", "--wait", "--timeout", "60s"]).await?;
    let listed = helm.json(&["list"]).await?;
    let first = listed.get(0).context("no release")?;
    ensure!(first["name"] == RELEASE && first["status"] == "deployed" && first["revision"] == "1", "{listed}");
    let manifest = helm.run(&["get", "manifest", RELEASE]).await?;
    ensure!(manifest.contains("message: \"ahoy\"") && manifest.contains("apps: \"true\""), "{manifest}");
    // What the template asked the API server while it was rendered.
    ensure!(manifest.contains("namespace: \"kube-system\""), "{manifest}");

    let upgrade = ["upgrade", RELEASE, &chart, "--set", "replicas=3,message=two", "--wait", "--timeout", "60s"];
    helm.run(&upgrade).await?;
    let values = helm.json(&["get", "values", RELEASE]).await?;
    ensure!(values["replicas"] == 3, "{values}");
    let status = helm.json(&["status", RELEASE]).await?;
    ensure!(status["info"]["status"] == "deployed" && status["version"] == 2, "{}", status["info"]);

    helm.run(&["rollback", RELEASE, "1", "--wait", "--timeout", "60s"]).await?;
    let history = helm.json(&["history", RELEASE]).await?;
    let states: Vec<&str> = history.as_array().into_iter().flatten().filter_map(|row| row["status"].as_str()).collect();
    ensure!(states == ["superseded", "superseded", "deployed"], "{history}");
    let manifest = helm.run(&["get", "manifest", RELEASE]).await?;
    ensure!(manifest.contains("message: \"ahoy\"") && manifest.contains("replicas: 2"), "{manifest}");

    helm.run(&["uninstall", RELEASE, "--wait", "--timeout", "60s"]).await?;
    let listed = helm.json(&["list", "--all-namespaces"]).await?;
    ensure!(listed.as_array().is_some_and(Vec::is_empty), "{listed}");
    Ok(())
}

struct Helm<'a> {
    surroundings: &'a Surroundings,
    program: &'a Path,
}

impl Helm<'_> {
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", NAMESPACE];
        all.extend(arguments);
        self.surroundings.run(self.program, &all).await
    }

    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        Ok(serde_json::from_str(&self.run(&all).await?)?)
    }
}
