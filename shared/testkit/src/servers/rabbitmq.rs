//! RabbitMQ: a node under a name of its own, with a port mapper, a cookie and folders of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::state::{SERVICES, State, Tls};
use super::{Process, Programs, START_LIMIT};
use crate::wait::until;

/// Room on the disk below which a node takes no more messages.
const ROOM: &str = "50MB";
/// More than any disk has.
const NO_ROOM: &str = "1000000GB";

pub(super) fn start_epmd(state: &State, programs: &Programs) -> Result<Process> {
    let port = state.ports.epmd;
    let process = Process::start(
        Command::new(&programs.epmd).args(["-port", &port.to_string(), "-address", "127.0.0.1"]),
        &state.log("epmd"),
    )?;
    until("epmd listens", START_LIMIT, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)))?;
    Ok(process)
}

pub(super) fn start(state: &State, programs: &Programs) -> Result<Process> {
    let folder = folder(state);
    for part in ["home", "mnesia", "log"] {
        super::private_folder(&folder.join(part))?;
    }
    super::private_file(&folder.join("definitions.json"), &definitions(state)?.to_string())?;
    super::private_file(&folder.join("enabled_plugins"), "[].\n")?;
    super::private_file(
        &folder.join("rabbitmq.conf"),
        &format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nload_definitions = {}\ndisk_free_limit.absolute = {ROOM}\n{}",
            state.ports.amqp,
            folder.join("definitions.json").display(),
            state.tls.as_ref().map_or_else(String::new, tls)
        ),
    )?;
    let mut command = command(&programs.rabbitmq, state);
    command
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
        .env("RABBITMQ_NODE_PORT", state.ports.amqp.to_string())
        .env("RABBITMQ_DIST_PORT", state.ports.distribution.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        // Distribution on loopback only; schedulers that sleep instead of spin, for two cores are all there may be.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
        );
    let process = Process::start(&mut command, &state.log("rabbitmq"))?;
    let answers = until("rabbitmq answers", START_LIMIT, || {
        if process.is_alive() {
            greet(state).map(Ok)
        } else {
            Ok(Err(anyhow::anyhow!("rabbitmq ended; see {}", state.log("rabbitmq").display())))
        }
    });
    if let Err(error) = answers.and_then(|answered| answered) {
        // Nobody would remember it.
        process.kill()?;
        return Err(error);
    }
    Ok(process)
}

/// A program of RabbitMQ's for this node.
fn command(program: &Path, state: &State) -> Command {
    let (mut command, folder) = (Command::new(program), folder(state));
    for (name, _) in std::env::vars_os() {
        // A caller's own RabbitMQ settings must not leak into this node.
        if name.to_string_lossy().starts_with("RABBITMQ_") {
            command.env_remove(name);
        }
    }
    command
        // Where its crash dumps go.
        .current_dir(folder.join("log"))
        .env("HOME", folder.join("home"))
        .env("RABBITMQ_NODENAME", &state.node)
        .env("ERL_EPMD_PORT", state.ports.epmd.to_string());
    command
}

/// Has the node find its disk full, so that it takes no more messages, or as it is.
pub(super) fn alarm(state: &State, programs: &Programs, full: bool) -> Result<()> {
    let room = if full { NO_ROOM } else { ROOM };
    let program = programs.rabbitmq.with_file_name("rabbitmqctl");
    let output = command(&program, state)
        .args(["--quiet", "set_disk_free_limit", room])
        .output()
        .with_context(|| format!("failed to run {}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "rabbitmqctl failed: {}", String::from_utf8_lossy(&said));
    Ok(())
}

fn tls(tls: &Tls) -> String {
    format!(
        "listeners.ssl.1 = 127.0.0.1:{}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
        tls.amqp,
        tls.ca.display(),
        tls.certificate.display(),
        tls.key.display()
    )
}

/// The AMQP greeting: a node that is still booting accepts nothing.
fn greet(state: &State) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, state.ports.amqp)).context("no listener")?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut frame = [0; 1];
    stream.read_exact(&mut frame)?;
    ensure!(frame == [1], "not an AMQP frame");
    Ok(())
}

fn folder(state: &State) -> PathBuf {
    state.folder.join("rabbitmq")
}

/// The very rights that a mesh is deployed with, so that every test runs under them.
const DEPLOYED: &str = include_str!("../../../../deploy/rabbitmq/definitions.json");
/// What a queue peer of the seeds needs.
const PEER: &str = "^cluster_(auth|namespace|manifest|cancellation)_(requests|results)$";

/// Users and their rights; imported at each start, so that a node that lost its folder still knows them.
fn definitions(state: &State) -> Result<Value> {
    let mut definitions: Value =
        serde_json::from_str(DEPLOYED).context("deploy/rabbitmq/definitions.json is not JSON")?;
    let mut users =
        vec![user("roadstead", &state.secrets.rabbitmq, &["administrator"]), user("peer", &state.secrets.peer, &[])];
    for service in SERVICES {
        users.push(user(&format!("roadstead_{service}"), state.secrets.service(service), &[]));
    }
    definitions["users"] = users.into();
    let permissions = definitions["permissions"].as_array_mut().context("definitions.json has no permissions")?;
    permissions.push(json!({ "user": "roadstead", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" }));
    permissions
        .push(json!({ "user": "peer", "vhost": "/", "configure": PEER, "write": "^amq\\.default$", "read": PEER }));
    Ok(definitions)
}

/// RabbitMQ's own salted hash: base64(salt ‖ SHA-256(salt ‖ password)).
fn user(name: &str, password: &str, tags: &[&str]) -> Value {
    let salt: [u8; 4] = Sha256::digest(name.as_bytes())[..4].try_into().unwrap_or_default();
    let mut hash = salt.to_vec();
    hash.extend(Sha256::new().chain_update(salt).chain_update(password).finalize());
    json!({
        "name": name,
        "password_hash": base64::engine::general_purpose::STANDARD.encode(hash),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tags,
    })
}
