//! The compose file and the Dockerfiles say what the settings table says: each variable exists, and each service would
//! start with what it is given.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use roadstead_runtime::config::{MapEnv, ServiceRole, Settings};
use serde::Deserialize;

const COMPOSE: &str = "docker-compose.yml";
const HUB: &str = "deploy/docker/hub.Dockerfile";
const AGENT: &str = "deploy/docker/agent.Dockerfile";
/// Stands in for the content of a secret file.
const SAMPLE_SECRET: &str = "3c0a61d2b7f94e58a1c6f0e92d4b8735";
const ROLES: [ServiceRole; 4] =
    [ServiceRole::User, ServiceRole::Cluster, ServiceRole::Onboarding, ServiceRole::Operations];

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    secrets: BTreeMap<String, Source>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    cap_drop: Vec<String>,
    #[serde(default)]
    security_opt: Vec<String>,
    #[serde(default)]
    privileged: bool,
    healthcheck: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Source {
    file: String,
}

pub(crate) fn check(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(root.join(COMPOSE)).with_context(|| format!("failed to read {COMPOSE}"))?;
    let compose: Compose = serde_saphyr::from_str(&text).with_context(|| format!("failed to understand {COMPOSE}"))?;
    for role in ROLES {
        match compose.services.get(role.as_str()) {
            Some(service) => check_role(role, service, faults),
            None => faults.push(format!("{COMPOSE} has no service {}", role.as_str())),
        }
    }
    for (name, service) in &compose.services {
        check_rights(name, service, &compose, faults);
    }
    check_image(root, HUB, "roadstead", faults)?;
    check_image(root, AGENT, "roadstead-agent", faults)?;
    Ok(())
}

/// The service's own settings take what the file gives it, with a good secret in place of each file of one.
fn check_role(role: ServiceRole, service: &Service, faults: &mut Vec<String>) {
    let wanted = ["serve", role.as_str()];
    if service.command != wanted {
        faults.push(format!("{COMPOSE}: {} runs {:?}, not {wanted:?}", role.as_str(), service.command));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in &service.environment {
        match name.strip_suffix("_FILE") {
            Some(name) if value.starts_with("/run/secrets/") => {
                pairs.push((name.to_owned(), SAMPLE_SECRET.to_owned()));
                let secret = value.trim_start_matches("/run/secrets/");
                if !service.secrets.iter().any(|given| given == secret) {
                    faults
                        .push(format!("{COMPOSE}: {} reads the secret {secret}, which it is not given", role.as_str()));
                }
            }
            _ => pairs.push((name.clone(), filled(value))),
        }
    }
    if let Err(error) = Settings::load(role, None, &MapEnv::new(pairs)) {
        faults.push(format!("{COMPOSE}: {} would not start: {error}", role.as_str()));
    }
}

/// `${NAME:-default}` and `${NAME}` as compose fills them in where the caller sets nothing.
fn filled(value: &str) -> String {
    match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(inside) => inside.split_once(":-").map_or(String::new(), |(_, default)| default.to_owned()),
        None => value.to_owned(),
    }
}

fn check_rights(name: &str, service: &Service, compose: &Compose, faults: &mut Vec<String>) {
    let mut fault = |text: &str| faults.push(format!("{COMPOSE}: {name} {text}"));
    if !service.read_only {
        fault("has a file system that it can write");
    }
    if service.cap_drop != ["ALL"] {
        fault("keeps capabilities that it does not need");
    }
    if !service.security_opt.iter().any(|option| option == "no-new-privileges:true") {
        fault("may gain privileges");
    }
    if service.privileged {
        fault("is privileged");
    }
    if service.healthcheck.is_none() {
        fault("has no health check");
    }
    for (variable, value) in &service.environment {
        let secret = ["PASSWORD", "SECRET", "TOKEN", "COOKIE"].iter().any(|word| variable.contains(word));
        if secret && !variable.ends_with("_FILE") {
            fault(&format!("has a secret in its environment: {variable}"));
        }
        if value.contains("://") && value.contains('@') {
            fault(&format!("has a password in {variable}"));
        }
    }
    for secret in &service.secrets {
        match compose.secrets.get(secret) {
            Some(source) if source.file.starts_with("./deploy/secrets/") => {}
            Some(_) => fault(&format!("takes {secret} from outside of deploy/secrets")),
            None => fault(&format!("takes {secret}, which is not declared")),
        }
    }
}

/// The image is small, runs as nobody, and starts the program that it is for.
fn check_image(root: &Path, file: &str, program: &str, faults: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(root.join(file)).with_context(|| format!("failed to read {file}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let Some(last) = lines.iter().rposition(|line| line.starts_with("FROM ")) else {
        faults.push(format!("{file} has no FROM"));
        return Ok(());
    };
    let stage = &lines[last..];
    let mut need = |there: bool, what: &str| {
        if !there {
            faults.push(format!("{file}: {what}"));
        }
    };
    need(stage[0].contains("distroless"), "the last stage is not distroless");
    need(lines.iter().filter(|line| line.starts_with("FROM ")).count() > 1, "builds and runs in one stage");
    need(stage.contains(&"USER 65532:65532"), "does not run as 65532");
    let entry = format!("ENTRYPOINT [\"/usr/local/bin/{program}\"]");
    need(stage.contains(&entry.as_str()), &format!("does not say {entry}"));
    need(text.contains(&format!("--bin {program} ")), &format!("does not build {program}"));
    need(text.contains("--locked"), "builds without the lock file");
    for line in stage.iter().filter(|line| line.starts_with("ENV ")) {
        need(false, &format!("sets a variable that the settings page does not know of: {line}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script makes every secret that compose names, none twice, and hashes that RabbitMQ takes.
    #[test]
    fn the_secrets_script_makes_what_compose_names() {
        use base64::Engine;
        use sha2::{Digest, Sha256};

        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("rabbitmq")).unwrap();
        for file in ["secrets.sh", "rabbitmq/definitions.json"] {
            fs::copy(root.join("deploy").join(file), folder.path().join(file)).unwrap();
        }
        let script = || std::process::Command::new(folder.path().join("secrets.sh")).output().unwrap();
        assert!(script().status.success());
        let compose: Compose = serde_saphyr::from_str(&fs::read_to_string(root.join(COMPOSE)).unwrap()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for source in compose.secrets.values() {
            let name = source.file.trim_start_matches("./deploy/");
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(text.len() >= 32 && seen.insert(text), "{name}");
        }

        let definitions = fs::read_to_string(folder.path().join("secrets/rabbitmq_definitions.json")).unwrap();
        let definitions: serde_json::Value = serde_json::from_str(&definitions).unwrap();
        for user in definitions["users"].as_array().unwrap() {
            let name = user["name"].as_str().unwrap().replace("roadstead_", "rabbitmq_");
            let password = fs::read(folder.path().join("secrets").join(name)).unwrap();
            let hash = user["password_hash"].as_str().unwrap();
            let hash = base64::engine::general_purpose::STANDARD.decode(hash).unwrap();
            let digest = Sha256::new().chain_update(&hash[..4]).chain_update(password).finalize();
            assert_eq!(hash[4..], digest[..]);
        }

        // A second run keeps what there is.
        let mesh = fs::read_to_string(folder.path().join("secrets/mesh")).unwrap();
        assert!(script().status.success());
        assert_eq!(fs::read_to_string(folder.path().join("secrets/mesh")).unwrap(), mesh);
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(filled("${A:-b}"), "b");
        assert_eq!(filled("${A}"), "");
        assert_eq!(filled("plain"), "plain");
    }
}
