//! `deps`: dependencies point one way, and each library has one owner (`ARCHITECTURE.md`, "The parts").

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::repository::root;
use crate::{lines, run};

/// Our packages by layer. A package may depend on those in the rows above its own.
const LAYERS: &[&[&str]] = &[
    &["roadstead-contracts"],
    &["roadstead-runtime", "roadstead-manifest"],
    &["roadstead-telemetry", "roadstead-auth", "roadstead-seal", "roadstead-policy"],
    &["roadstead-bus", "roadstead-store", "roadstead-kv", "roadstead-tunnel", "roadstead-http-kit"],
    // Above the bus and the tunnel, below the services.
    &["roadstead-relay"],
    &["roadstead-agent"],
    &["roadstead-user", "roadstead-cluster", "roadstead-onboarding", "roadstead-operations"],
    &["roadstead-cli"],
    &["roadstead-generate", "roadstead-mesh-tests"],
    // Measures the whole mesh as its tests start it.
    &["roadstead-benches"],
];

/// Rows at the end whose packages ship nowhere: tests, benchmarks, generators.
const ROWS_OF_TOOLS: usize = 2;

/// The agent in a cluster links neither database nor broker nor the hub's web server; of the services only onboarding,
/// which hosts agents, links the agent.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("roadstead-agent", &["roadstead-bus", "roadstead-store", "roadstead-kv", "roadstead-http-kit"]),
    ("roadstead-user", &["roadstead-agent"]),
    ("roadstead-cluster", &["roadstead-agent", "roadstead-store"]),
    ("roadstead-operations", &["roadstead-agent"]),
];

/// For development only: anybody's tests may use it, nothing that ships may.
const TESTKIT: &str = "roadstead-testkit";
/// Everything may be tried here.
const FREE: &[&str] = &["roadstead-mesh-tests", "roadstead-benches"];

/// Libraries with an owner. `folder` is where in a service the library may be named.
struct Owned {
    library: &'static str,
    owners: &'static [&'static str],
    folder: Option<&'static str>,
}

const SERVICES: [&str; 4] = ["roadstead-user", "roadstead-cluster", "roadstead-onboarding", "roadstead-operations"];

const OWNED: &[Owned] = &[
    owned("lapin", &["roadstead-bus"], None),
    owned("deadpool-redis", &["roadstead-kv"], None),
    owned("sqlx", &["roadstead-store"], Some("store")),
    owned("kube", &["roadstead-agent"], None),
    owned("k8s-openapi", &["roadstead-agent"], None),
    // The Kubernetes door is a hyper listener: actix-web cannot carry SPDY upgrades.
    owned("hyper", &["roadstead-http-kit", "roadstead-tunnel", "roadstead-agent"], Some("kubernetes")),
    owned("hyper-util", &["roadstead-http-kit", "roadstead-tunnel", "roadstead-agent"], Some("kubernetes")),
    owned("actix-web", &["roadstead-http-kit"], Some("http")),
    owned("actix-http", &["roadstead-http-kit"], None),
    owned("actix-service", &["roadstead-http-kit"], None),
    owned("actix-tls", &["roadstead-http-kit"], None),
    owned("jsonwebtoken", &["roadstead-auth"], None),
    owned("argon2", &["roadstead-auth"], None),
    owned("casbin", &["roadstead-user"], Some("policy")),
    owned("tokio-tungstenite", &["roadstead-tunnel"], None),
    owned("governor", &["roadstead-http-kit"], None),
    owned("reqwest", &["roadstead-cli", "roadstead-http-kit", "roadstead-cluster", "roadstead-agent"], None),
];

const fn owned(library: &'static str, owners: &'static [&'static str], folder: Option<&'static str>) -> Owned {
    Owned { library, owners, folder }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub(crate) fn run() -> Result<()> {
    let text = run::captured(&mut run::cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("failed to read cargo metadata")?;
    let mut faults = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            if let Some(fault) = fault(package, dependency) {
                faults.insert(format!("{}: {fault}", package.name));
            }
        }
    }
    check_folders(&metadata, &mut faults)?;
    if !faults.is_empty() {
        bail!(
            "dependencies that the design does not allow:\n  {}",
            faults.into_iter().collect::<Vec<_>>().join("\n  ")
        );
    }
    Ok(())
}

fn fault(package: &Package, dependency: &Dependency) -> Option<String> {
    if package.name == "xtask" || package.name == TESTKIT {
        // These start other programs; linking the product would make the first `cargo xtask` slow.
        let light = dependency.path.is_none() || dependency.name == TESTKIT;
        return (!light).then(|| format!("{} is the product; xtask and testkit link none of it", dependency.name));
    }
    let dev = dependency.kind.as_deref() == Some("dev");
    if dependency.path.is_some() {
        return own_fault(package, dependency, dev);
    }
    let rule = OWNED.iter().find(|rule| rule.library == dependency.name)?;
    let may = dev
        || FREE.contains(&package.name.as_str())
        || rule.owners.contains(&package.name.as_str())
        || (rule.folder.is_some() && SERVICES.contains(&package.name.as_str()));
    (!may).then(|| format!("{} belongs to {}", dependency.name, rule.owners.join(", ")))
}

fn own_fault(package: &Package, dependency: &Dependency, dev: bool) -> Option<String> {
    if dependency.name == TESTKIT {
        let may = dev || layer(&package.name) >= Some(LAYERS.len() - ROWS_OF_TOOLS);
        return (!may).then(|| format!("{TESTKIT} is for tests only"));
    }
    let forbidden = FORBIDDEN.iter().any(|(from, to)| package.name == *from && to.contains(&dependency.name.as_str()));
    if forbidden && !dev {
        return Some(format!("must not link {}", dependency.name));
    }
    match (layer(&package.name), layer(&dependency.name)) {
        (Some(own), Some(other)) if other < own => None,
        (Some(_), Some(_)) => Some(format!("{} is not below it", dependency.name)),
        _ => Some(format!("{} or {} has no layer; add it to xtask/src/deps.rs", package.name, dependency.name)),
    }
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// In a service, SQL is written under `store/`, actix is named under `http/` and hyper under `kubernetes/` only.
fn check_folders(metadata: &Metadata, faults: &mut BTreeSet<String>) -> Result<()> {
    let files = lines::sources()?;
    for package in metadata.packages.iter().filter(|package| SERVICES.contains(&package.name.as_str())) {
        let manifest = std::path::Path::new(&package.manifest_path);
        let source = manifest.parent().unwrap_or(root()).join("src");
        for rule in OWNED {
            let Some(folder) = rule.folder else { continue };
            let path = format!("{}::", rule.library.replace('-', "_"));
            for file in files.iter().filter(|file| root().join(file).starts_with(&source)) {
                let inside = root().join(file);
                let inside = inside.strip_prefix(&source)?;
                if inside.starts_with(folder) || inside.starts_with(format!("{folder}.rs")) {
                    continue;
                }
                let text = fs::read_to_string(root().join(file))?;
                let named = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(&path));
                if named {
                    faults.insert(format!("{file}: names {}, which belongs into src/{folder}", rule.library));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(package: &str, dependency: &str, kind: Option<&str>, own: bool) -> Option<String> {
        let package = Package { name: package.into(), manifest_path: String::new(), dependencies: Vec::new() };
        let dependency =
            Dependency { name: dependency.into(), kind: kind.map(Into::into), path: own.then(String::new) };
        fault(&package, &dependency)
    }

    #[test]
    fn only_downwards() {
        assert_eq!(between("roadstead-bus", "roadstead-auth", None, true), None);
        assert_eq!(between("roadstead-onboarding", "roadstead-agent", None, true), None);
        assert!(between("roadstead-auth", "roadstead-bus", None, true).is_some());
        assert!(between("roadstead-user", "roadstead-cluster", None, true).is_some());
        assert!(between("roadstead-cluster", "roadstead-agent", None, true).is_some());
        assert!(between("roadstead-agent", "roadstead-store", None, true).is_some());
        assert!(between("roadstead-new", "roadstead-store", None, true).is_some());
    }

    #[test]
    fn only_owners() {
        assert_eq!(between("roadstead-bus", "lapin", None, false), None);
        assert_eq!(between("roadstead-benches", "lapin", None, false), None);
        assert_eq!(between("roadstead-user", "sqlx", None, false), None);
        assert!(between("roadstead-user", "lapin", None, false).is_some());
        assert!(between("roadstead-agent", "actix-web", None, false).is_some());
    }

    #[test]
    fn the_testkit_ships_nowhere() {
        assert_eq!(between("roadstead-bus", TESTKIT, Some("dev"), true), None);
        assert_eq!(between("roadstead-mesh-tests", TESTKIT, None, true), None);
        assert!(between("roadstead-bus", TESTKIT, None, true).is_some());
        assert!(between("xtask", "roadstead-bus", None, true).is_some());
    }
}
