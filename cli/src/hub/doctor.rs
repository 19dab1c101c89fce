//! `roadstead doctor`: names the broken step between here and a hub, or under a service, with its fix.

use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::Cell;
use reqwest::header::DATE;
use roadstead_http_kit::mutual::Member;
use roadstead_runtime::config::{ProcessEnv, Settings};
use roadstead_runtime::{Clock as _, SystemClock, Tasks};
use roadstead_store::Migrator;
use serde::Serialize;

use crate::args::hub::{DoctorArgs, ServiceName};
use crate::client::{Hub, Output};
use crate::wiring::{Process, open_for_tools};

/// Longest single step: a firewall that swallows packets is told from a slow server.
const STEP: Duration = Duration::from_secs(5);
/// Clocks further apart than this break tokens (their leeway is 30 s).
const SKEW_MAX: i64 = 30;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    detail: String,
    /// It works, and could be safer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    warning: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

impl Finding {
    fn state(&self) -> &'static str {
        match (self.ok, self.warning) {
            (true, true) => "warning",
            (true, false) => "ok",
            (false, _) => "broken",
        }
    }
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, check: &'static str, detail: impl Into<String>) {
        self.0.push(Finding { check, ok: true, detail: detail.into(), warning: false, fix: None });
    }

    fn warn(&mut self, check: &'static str, detail: impl Into<String>, fix: &'static str) {
        self.0.push(Finding { check, ok: true, detail: detail.into(), warning: true, fix: Some(fix) });
    }

    fn bad(&mut self, check: &'static str, detail: impl Into<String>, fix: &'static str) {
        self.0.push(Finding { check, ok: false, detail: detail.into(), warning: false, fix: Some(fix) });
    }
}

/// Runs `doctor`. Fails when something is broken.
pub async fn doctor(args: &DoctorArgs, output: Output) -> Result<()> {
    let mut findings = Findings::default();
    match args.service {
        Some(service) => look_at_service(service, args, &mut findings).await,
        None => look_at_hub(&mut findings).await,
    }
    output.print(&findings.0, |findings| table(findings))?;
    match findings.0.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        broken => bail!("{broken} checks failed"),
    }
}

fn table(findings: &[Finding]) -> String {
    let rows = findings
        .iter()
        .map(|finding| {
            let detail = match finding.fix {
                Some(fix) => format!("{}; {fix}", finding.detail),
                None => finding.detail.clone(),
            };
            vec![Cell::new(finding.check), crate::client::state(finding.state()), Cell::new(detail)]
        })
        .collect();
    crate::client::table(&["CHECK", "STATE", "DETAIL"], rows)
}

async fn within<T>(step: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(STEP, step).await.map_err(|_| format!("no answer within {STEP:?}"))
}

/// From the profile to a good credential, one step after the other: the first broken one ends it.
async fn look_at_hub(findings: &mut Findings) {
    let mut hub = match Hub::remembered() {
        Ok(hub) => hub,
        Err(fault) => return findings.bad("profile", format!("{fault:#}"), "run: roadstead login --url URL"),
    };
    let url = hub.profile().url.clone();
    findings.good("profile", url.clone());
    if !look_at_address(&url, findings).await {
        return;
    }
    let answer = match within(hub.probe("/healthz")).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(fault)) => {
            let fix = "is it the front door's address, and does the certificate belong to it? (login --ca-file FILE trusts a private CA)";
            return findings.bad("http", format!("{fault:#}"), fix);
        }
        Err(late) => return findings.bad("http", late, "something else listens there"),
    };
    if answer.status().is_success() {
        findings.good("http", format!("GET /healthz answers {}", answer.status().as_u16()));
    } else {
        findings.bad("http", format!("GET /healthz answers {}", answer.status()), "is it the front door's address?");
    }
    let there = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    if let Some(there) = there.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok()) {
        let skew = (SystemClock.now() - there.to_utc()).num_seconds();
        if skew.abs() > SKEW_MAX {
            findings.bad("clock", format!("this machine and the hub are {skew} s apart"), "set both clocks by NTP");
        } else {
            findings.good("clock", format!("{skew} s apart"));
        }
    }
    match within(hub.get::<serde_json::Value>("/api/v1/auth/profile")).await {
        Ok(Ok(who)) => {
            let name = who.get("username").and_then(|name| name.as_str()).unwrap_or("?").to_owned();
            findings.good("credential", name);
        }
        Ok(Err(fault)) => findings.bad("credential", format!("{fault:#}"), "log in again: roadstead login --url URL"),
        Err(late) => findings.bad("credential", late, "look at the hub's /readyz: it names the part that is away"),
    }
}

/// Name and port. Whether both are reached.
async fn look_at_address(url: &str, findings: &mut Findings) -> bool {
    let Ok(parsed) = url.parse::<reqwest::Url>() else {
        findings.bad("address", "is not a URL", "run: roadstead login --url URL");
        return false;
    };
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else {
        findings.bad("address", "names no host", "run: roadstead login --url URL");
        return false;
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    let addresses: Vec<_> = match within(tokio::net::lookup_host((host.as_str(), port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(fault)) => {
            findings.bad("dns", format!("{host}: {fault}"), "check the name, /etc/resolv.conf and the network");
            return false;
        }
        Err(late) => {
            findings.bad("dns", late, "the name server does not answer");
            return false;
        }
    };
    findings.good("dns", format!("{host}: {} addresses", addresses.len()));
    match within(tokio::net::TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_)) => {
            findings.good("tcp", format!("port {port} is open"));
            true
        }
        Ok(Err(fault)) => {
            findings.bad(
                "tcp",
                format!("port {port}: {fault}"),
                "is the hub running, and does a firewall stand between?",
            );
            false
        }
        Err(late) => {
            findings.bad("tcp", format!("port {port}: {late}"), "a firewall swallows the packets");
            false
        }
    }
}

/// Everything a service needs, each by itself: all broken ones are named.
async fn look_at_service(service: ServiceName, args: &DoctorArgs, findings: &mut Findings) {
    let settings = match Settings::load(service.role(), args.config.clone(), &ProcessEnv) {
        Ok(settings) => settings,
        Err(faults) => return findings.bad("settings", faults.to_string(), "see docs/configuration.md"),
    };
    findings.good("settings", format!("for {}", service.as_str()));
    if let Some(database) = service.database() {
        look_at_database(&settings, database, findings).await;
    }
    look_at_servers(&settings, service, findings).await;
    if settings.tls.enabled {
        let files = roadstead_http_kit::tls::Files {
            key: settings.tls.key_file.clone(),
            certificate: settings.tls.cert_file.clone(),
        };
        match roadstead_http_kit::tls::Certificate::watch(files, SystemClock::shared(), &Tasks::new()) {
            Ok(_) => findings.good("tls", settings.tls.cert_file.display().to_string()),
            Err(fault) => findings.bad("tls", fault.to_string(), "set SSL_KEYFILE and SSL_CERTFILE"),
        }
    }
    look_at_certificates(&settings, findings);
}

/// The services' own certificates, and those of the listener for figures: a mesh works without, readable on its way.
fn look_at_certificates(settings: &Settings, findings: &mut Findings) {
    let (clock, tasks) = (SystemClock::shared(), Tasks::new());
    let mesh = "the user service's HTTP is neither encrypted nor closed to other programs of this network";
    let figures = "figures are shown to every program of this network";
    let looked = [
        (
            "mesh-tls",
            Member::of_mesh(&settings.mesh, &clock, &tasks),
            mesh,
            "set mesh.ca_file, mesh.cert_file and mesh.key_file (docs/security/transport.md)",
        ),
        (
            "metrics-tls",
            Member::of_figures(&settings.metrics, &clock, &tasks),
            figures,
            "set metrics.cert_file, metrics.key_file and metrics.client_ca_file (docs/security/transport.md)",
        ),
    ];
    for (check, member, without, fix) in looked {
        let bare = check == "metrics-tls" && settings.metrics.client_ca_file.is_none();
        match member {
            Ok(Some(_)) if !bare => findings.good(check, "certificates on both sides"),
            Ok(_) if check == "metrics-tls" && !settings.metrics.enabled => {}
            Ok(_) => findings.warn(check, without, fix),
            Err(fault) => findings.bad(check, fault.to_string(), fix),
        }
    }
    tasks.stop();
}

async fn look_at_database(settings: &Settings, name: &'static str, findings: &mut Findings) {
    let opened = match within(open_for_tools(settings, name)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(fault)) => {
            return findings.bad("database", format!("{fault:#}"), "check the address, the user and the password");
        }
        Err(late) => return findings.bad("database", late, "a firewall swallows the packets"),
    };
    match within(Migrator::of(name).status(&opened)).await {
        Ok(Ok(states)) => {
            let pending = states.iter().filter(|state| state.applied_at.is_none()).count();
            findings.good("database", format!("{} schema steps, {pending} to come with the next start", states.len()));
        }
        Ok(Err(fault)) => findings.bad("database", fault.to_string(), "may the user make tables?"),
        Err(late) => findings.bad("database", late, "is another program changing the schema?"),
    }
    opened.close().await;
}

async fn look_at_servers(settings: &Settings, service: ServiceName, findings: &mut Findings) {
    let process = match Process::mesh(settings.clone(), service.as_str()) {
        Ok(process) => process,
        Err(fault) => return findings.bad("servers", format!("{fault:#}"), "check the addresses"),
    };
    let mut connected = process.transport.connected();
    // Only whether: what `wait_for` gives holds the channel's lock, and the broker's tasks need it to end.
    let reached = within(connected.wait_for(|connected| *connected)).await.is_ok_and(|waited| waited.is_ok());
    if reached {
        findings.good("rabbitmq", "connected");
    } else {
        let fix = "check the address, the user, the password, and the user's rights on the virtual host";
        findings.bad("rabbitmq", process.transport.detail(), fix);
    }
    match within(process.kv.ping()).await {
        Ok(Ok(())) => findings.good("redis", "answers"),
        Ok(Err(fault)) => findings.bad("redis", fault.to_string(), "check the address and the password"),
        Err(late) => findings.bad("redis", late, "a firewall swallows the packets"),
    }
    process.tasks.finish(Duration::ZERO).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_broken_step_is_named() {
        let mut findings = Findings::default();
        assert!(!look_at_address("http://nowhere.invalid:1", &mut findings).await);
        assert_eq!(findings.0.last().unwrap().check, "dns");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(!look_at_address(&format!("http://{closed}"), &mut findings).await);
        let last = findings.0.last().unwrap();
        assert!(last.check == "tcp" && last.fix.is_some(), "{last:?}");
        assert!(table(&findings.0).contains("tcp"));
    }

    #[tokio::test]
    async fn a_mesh_without_certificates_is_warned_and_not_broken() {
        let load = |name: &str, value: &str| {
            let env = roadstead_runtime::config::MapEnv::new([("ROADSTEAD_DATA_DIR", "/d"), (name, value)]);
            Settings::load(roadstead_runtime::config::ServiceRole::Tool, None, &env).unwrap()
        };
        let mut findings = Findings::default();
        look_at_certificates(&load("ROADSTEAD_METRICS_ENABLED", "true"), &mut findings);
        assert!(findings.0.iter().all(|finding| finding.ok && finding.warning && finding.fix.is_some()));
        assert_eq!(findings.0.len(), 2);
        assert!(table(&findings.0).contains("warning"));
        let mut findings = Findings::default();
        look_at_certificates(&load("ROADSTEAD_METRICS_ENABLED", "false"), &mut findings);
        assert_eq!(findings.0.len(), 1, "no figures, nobody sees them");
    }
}
