//! What is measured side by side: the backend alone, our tunnel, and the tunnels of others, whose programs are given by path.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::process::{Memory, Running, memory, processor_time};
use crate::wire::{self, Asking, Way};

/// Threads of every process that is measured.
pub const WORKERS: usize = 2;
/// A tunnel that carries nothing after this long does not work.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What runs: how its clients reach the backend, for small answers and for large ones, and its processes: hub first, then agent.
type Launched = ([Asking; 2], Vec<Running>);
/// Starts a tunnel.
type Launch = Box<dyn Fn() -> Result<Launched> + Send>;

/// One of those that are compared.
pub struct Contender {
    /// Name in tables.
    pub name: &'static str,
    /// How its clients reach the backend.
    pub asking: Asking,
    /// The same for large answers: a tunnel with classes is told which they are.
    pub large: Asking,
    processes: Vec<Running>,
    launch: Launch,
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.name, self.asking)
    }
}

impl Contender {
    fn new(name: &'static str, launch: Launch) -> Result<Self> {
        let ([asking, large], processes) = launch()?;
        Ok(Self { name, asking, large, processes, launch })
    }

    /// Starts it anew: what an earlier load left behind in it is not what is measured next.
    pub async fn again(&mut self) -> Result<()> {
        self.processes.clear();
        ([self.asking, self.large], self.processes) = (self.launch)()?;
        self.ready().await
    }

    /// The backend, with nothing between.
    pub fn direct(backend: SocketAddr) -> Result<Self> {
        Self::new("directly", Box::new(move || Ok((either(Way::Tcp(backend)), Vec::new()))))
    }

    /// Our tunnel: the program `proxy` as hub and as agent (`--serve hub`, `--serve agent`).
    pub fn ours(proxy: &Path, backend: SocketAddr) -> Result<Self> {
        let proxy = proxy.to_owned();
        let launch = move || {
            let [agents, clients, bulk] = addresses()?;
            let start = |role: &str, pairs: &[(&str, SocketAddr)]| {
                let mut command = Command::new(&proxy);
                command.args(["--serve", role]);
                for (name, address) in pairs {
                    command.args([*name, &address.to_string()]);
                }
                Running::start(&mut command)
            };
            let hub = start("hub", &[("--agents", agents), ("--clients", clients), ("--bulk-clients", bulk)])?;
            let agent = start("agent", &[("--agents", agents), ("--backend", backend)])?;
            Ok(([clients, bulk].map(|address| Asking::new(Way::Tcp(address), "")), vec![hub, agent]))
        };
        Self::new("ours", Box::new(launch))
    }

    /// remotedialer, by a program of a few lines around its library (see README.md).
    pub fn remotedialer(program: &Path, backend: SocketAddr) -> Result<Self> {
        let program = program.to_owned();
        let launch = move || {
            let [agents, clients] = addresses()?;
            let start = |arguments: &[String]| {
                let mut command = Command::new(&program);
                Running::start(command.args(arguments).env("GOMAXPROCS", WORKERS.to_string()).stderr(Stdio::null()))
            };
            let hub = start(&["hub".into(), agents.to_string(), clients.to_string(), backend.to_string()])?;
            let agent = start(&["agent".into(), agents.to_string()])?;
            Ok((either(Way::Tcp(clients)), vec![hub, agent]))
        };
        Self::new("remotedialer", Box::new(launch))
    }

    /// konnectivity: proxy-server by HTTP CONNECT at a Unix socket, TLS to its agent, everything else by default.
    pub fn konnectivity(server: &Path, agent: &Path, backend: SocketAddr, folder: &Path) -> Result<Self> {
        let certificates = Certificates::make(folder)?;
        let (server, agent, folder) = (server.to_owned(), agent.to_owned(), folder.to_owned());
        let launch = move || {
            let ports = addresses::<5>()?.map(|address| address.port());
            let socket = folder.join("konnectivity.sock");
            let start = |program: &Path, flags: &[String]| {
                let mut command = Command::new(program);
                // It logs each connection.
                Running::start(command.args(flags).env("GOMAXPROCS", WORKERS.to_string()).stderr(Stdio::null()))
            };
            let hub = start(&server, &certificates.server_flags(&socket, ports))?;
            let agent = start(&agent, &certificates.agent_flags(ports))?;
            Ok((either(Way::Connect(socket, backend)), vec![hub, agent]))
        };
        Self::new("konnectivity", Box::new(launch))
    }

    /// Waits until it carries an answer.
    pub async fn ready(&self) -> Result<()> {
        let until = Instant::now() + READY_LIMIT;
        loop {
            match wire::small(&self.asking.at("/small"), 1, Duration::from_millis(1)).await {
                Ok(slice) if slice.answers > 0 => return Ok(()),
                Ok(_) if Instant::now() > until => bail!("{} answers wrongly", self.name),
                Err(fault) if Instant::now() > until => {
                    return Err(fault.context(format!("{} is not ready", self.name)));
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Processor time of hub and agent.
    pub fn used(&self) -> Result<Duration> {
        self.processes.iter().map(|process| processor_time(process.pid())).sum()
    }

    /// Memory of the hub.
    pub fn hub_memory(&self) -> Result<Memory> {
        self.processes.first().map_or(Ok(Memory::default()), |hub| memory(hub.pid()))
    }
}

fn either(way: Way) -> [Asking; 2] {
    let asking = Asking::new(way, "");
    [asking.clone(), asking]
}

fn addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    Ok(roadstead_testkit::ports::free::<N>()?.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

fn flag(name: &str, value: impl fmt::Display) -> String {
    format!("--{name}={value}")
}

/// An authority and one certificate for both ends.
struct Certificates {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    fn make(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &issuer)?;
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            fs::write(&file, text).with_context(|| format!("failed to write {}", file.display())).map(|()| file)
        };
        Ok(Self {
            authority: write("authority.pem", authority.pem())?,
            certificate: write("certificate.pem", leaf.pem())?,
            key: write("key.pem", key.serialize_pem())?,
        })
    }

    fn server_flags(&self, socket: &Path, [agents, admin, health, ..]: [u16; 5]) -> Vec<String> {
        vec![
            flag("mode", "http-connect"),
            flag("uds-name", socket.display()),
            flag("server-port", 0),
            flag("agent-port", agents),
            flag("admin-port", admin),
            flag("health-port", health),
            flag("cluster-ca-cert", self.authority.display()),
            flag("cluster-cert", self.certificate.display()),
            flag("cluster-key", self.key.display()),
        ]
    }

    fn agent_flags(&self, [agents, .., admin, health]: [u16; 5]) -> Vec<String> {
        vec![
            flag("proxy-server-host", "127.0.0.1"),
            flag("proxy-server-port", agents),
            flag("admin-server-port", admin),
            flag("health-server-port", health),
            flag("ca-cert", self.authority.display()),
            flag("agent-cert", self.certificate.display()),
            flag("agent-key", self.key.display()),
        ]
    }
}
