//! Three nodes of RabbitMQ that are one broker, each in a network of its own, and the links between them. Everything is within the
//! network of the process that starts them, so that it is gone with them, and no address of the machine's is taken.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use roadstead_testkit::programs::Programs;
use roadstead_testkit::servers::{self, Process};
use roadstead_testkit::{environment, wait::until};

/// A majority is two of them.
pub const NODES: usize = 3;
/// A node that does not listen after this long will not: three begin at once, on what may be a busy machine.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Seconds of silence after which a node counts another as gone: a test should not wait for the usual 60.
const TICK_SECONDS: u32 = 8;

pub struct Nodes {
    folder: PathBuf,
    processes: Vec<Process>,
    /// In whose network each node is.
    networks: Vec<u32>,
}

fn address(node: usize) -> String {
    format!("10.213.0.{}", node + 1)
}

fn name(node: usize) -> String {
    format!("rabbit@{}", address(node))
}

/// Where a client finds a node.
pub fn url(node: usize) -> String {
    format!("amqp://guest:guest@{}:5672/%2f", address(node))
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn network_of(pid: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_default()
}

impl Nodes {
    /// Starts them. Blocks.
    pub fn start() -> Self {
        let found = servers::Programs::find_or_install().unwrap();
        let folder = environment::folder().join(format!("nodes-{}", std::process::id()));
        let programs = Programs::new(&folder).unwrap();
        let mut nodes = Self { folder: folder.clone(), processes: Vec::new(), networks: Vec::new() };
        ip("link add switch type bridge");
        ip("addr add 10.213.0.254/24 dev switch");
        ip("link set switch up");
        ip("link set lo up");
        let home = folder.join("home");
        fs::create_dir_all(&home).unwrap();
        let cookie = home.join(".erlang.cookie");
        fs::write(&cookie, "of-these-nodes-alone").unwrap();
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).unwrap();
        for node in 0..NODES {
            let mut epmd = Command::new("unshare");
            epmd.arg("--net").arg(&found.epmd).env("HOME", &home);
            let epmd = programs.start(&format!("epmd-{node}"), &mut epmd).unwrap();
            nodes.processes.push(epmd);
            nodes.networks.push(epmd.pid);
            let moved = || match network_of(&epmd.pid.to_string()) {
                network if network.as_os_str().is_empty() || network == network_of("self") => Err("it is in ours"),
                _ => Ok(()),
            };
            until("a network of its own", START_LIMIT, moved).unwrap();
            ip(&format!("link add port{node} type veth peer name eth0 netns {}", epmd.pid));
            ip(&format!("link set port{node} master switch up"));
            nodes.inside(node, &format!("addr add {}/24 dev eth0", address(node)));
            nodes.inside(node, "link set eth0 up");
            nodes.inside(node, "link set lo up");
        }
        for node in 0..NODES {
            let mut server = nodes.server(node, &found.rabbitmq, &home);
            nodes.processes.push(programs.start(&format!("rabbitmq-{node}"), &mut server).unwrap());
        }
        for node in 0..NODES {
            let said = || programs.tail(&format!("rabbitmq-{node}"));
            until(&format!("node {node} listens"), START_LIMIT, || {
                greet(node).map_err(|why| format!("{why}: {}", said()))
            })
            .unwrap();
        }
        nodes
    }

    fn server(&self, node: usize, program: &Path, home: &Path) -> Command {
        let own = self.folder.join(format!("node-{node}"));
        for part in ["mnesia", "log"] {
            fs::create_dir_all(own.join(part)).unwrap();
        }
        let mut settings = format!(
            "listeners.tcp.default = 5672\nloopback_users.guest = false\ndisk_free_limit.absolute = 50MB\n\
             cluster_partition_handling = pause_minority\nnet_ticktime = {TICK_SECONDS}\n\
             cluster_formation.peer_discovery_backend = classic_config\n"
        );
        for node in 0..NODES {
            writeln!(settings, "cluster_formation.classic_config.nodes.{} = {}", node + 1, name(node)).unwrap();
        }
        fs::write(own.join("rabbitmq.conf"), settings).unwrap();
        fs::write(own.join("enabled_plugins"), "[].\n").unwrap();
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.networks[node].to_string(), "--"]).arg(program).current_dir(&own);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RABBITMQ_") {
                command.env_remove(name);
            }
        }
        command
            .env("HOME", home)
            .env("RABBITMQ_USE_LONGNAME", "true")
            .env("RABBITMQ_NODENAME", name(node))
            .env("RABBITMQ_MNESIA_BASE", own.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", own.join("log"))
            .env("RABBITMQ_CONFIG_FILE", own.join("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", own.join("enabled_plugins"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none");
        command
    }

    /// `ip` in a node's network.
    fn inside(&self, node: usize, arguments: &str) {
        let target = self.networks[node].to_string();
        run(Command::new("nsenter").args(["--net", "--target", &target, "--", "ip"]).args(arguments.split(' ')));
    }

    /// Nothing passes between two nodes any more, and nobody is told. Clients reach both.
    pub fn cut(&self, [one, other]: [usize; 2]) {
        self.inside(one, &format!("route add blackhole {}/32", address(other)));
        self.inside(other, &format!("route add blackhole {}/32", address(one)));
    }

    /// It passes again.
    pub fn mend(&self, [one, other]: [usize; 2]) {
        self.inside(one, &format!("route del blackhole {}/32", address(other)));
        self.inside(other, &format!("route del blackhole {}/32", address(one)));
    }
}

/// The AMQP greeting: a node that is still booting accepts nothing.
fn greet(node: usize) -> Result<(), String> {
    let place = format!("{}:5672", address(node)).parse().unwrap();
    let said = || -> std::io::Result<[u8; 1]> {
        let mut stream = TcpStream::connect_timeout(&place, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut frame = [0; 1];
        stream.read_exact(&mut frame).map(|()| frame)
    };
    match said() {
        Ok([1]) => Ok(()),
        Ok(_) => Err("no AMQP frame".to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in self.processes.iter().rev() {
            if let Err(fault) = process.kill() {
                eprintln!("{fault:#}");
            }
        }
        if std::thread::panicking() {
            eprintln!("the nodes' logs are in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
