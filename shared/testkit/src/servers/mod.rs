//! RabbitMQ, PostgreSQL and Redis as real processes, in a folder of their own, on free ports, stopped exactly.
//!
//! `cargo xtask dev` is a thin command over this, and fault tests use it directly: [`Servers::kill`] is a `kill -9`,
//! [`Servers::start`] brings the server back on its old port with its old data.

pub(crate) mod packages;
mod postgres;
mod process;
mod rabbitmq;
mod redis;
mod state;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use packages::Programs;
pub use process::Process;
pub use state::{MASTER_KEY, Ports, SERVICES, Secrets, State, Tls};

/// A server that is not there after this long will not come: RabbitMQ takes 10 s on a loaded machine with two cores.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a server may take to stop before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// The broker.
    Rabbitmq,
    /// The database.
    Postgres,
    /// The cache.
    Redis,
}

impl Server {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Redis, Self::Rabbitmq];

    /// Its name on the command line and in `state.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rabbitmq => "rabbitmq",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// The server with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|server| server.name() == name)
    }
}

/// A running set of servers. Dropping it stops nothing: [`Servers::down`] does.
#[derive(Debug)]
pub struct Servers {
    state: State,
    programs: Programs,
    // Held as long as this value lives, so that two processes do not change one set at the same time.
    _lock: fs::File,
}

impl Servers {
    /// Starts what does not run yet in `home`, a folder for this set alone.
    pub fn up(home: &Path) -> Result<Self> {
        Self::up_as(home, |_| Ok(()))
    }

    /// The same, with TLS besides: each server has the certificate and wants one of its clients.
    #[cfg(feature = "tls")]
    pub fn up_with_tls(home: &Path, pki: &crate::pki::Pki) -> Result<Self> {
        Self::up_as(home, |state| {
            if state.tls.is_none() {
                let [amqp, redis] = crate::ports::free()?;
                let (certificate, key) = pki.server.clone();
                state.tls = Some(Tls { amqp, redis, ca: pki.ca.clone(), certificate, key });
            }
            Ok(())
        })
    }

    fn up_as(home: &Path, prepare: impl FnOnce(&mut State) -> Result<()>) -> Result<Self> {
        let programs = Programs::find_or_install()?;
        let home = absolute_folder(home)?;
        let lock = lock(&home)?;
        let mut state = match State::load(&home)? {
            Some(state) => state,
            None => State::new(home.clone(), data_folder(&home)?)?,
        };
        prepare(&mut state)?;
        let mut servers = Self { state, programs, _lock: lock };
        servers.state.save()?;
        for server in Server::ALL {
            if let Err(error) = servers.start(server) {
                // Half a set helps nobody, and its processes would be forgotten.
                servers.stop_all()?;
                return Err(error);
            }
        }
        servers.state.write_environment()?;
        Ok(servers)
    }

    /// A set that `up` made before; `None` where there is none.
    pub fn open(home: &Path) -> Result<Option<Self>> {
        if !home.join("state.json").exists() {
            return Ok(None);
        }
        let home = absolute_folder(home)?;
        let lock = lock(&home)?;
        let Some(state) = State::load(&home)? else { return Ok(None) };
        Ok(Some(Self { state, programs: Programs::find_or_install()?, _lock: lock }))
    }

    /// What is known about the set.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Starts one server on its port, with the data it had. Nothing happens where it runs.
    pub fn start(&mut self, server: Server) -> Result<()> {
        if self.state.is_alive(server) {
            return Ok(());
        }
        let process = match server {
            Server::Redis => redis::start(&self.state, &self.programs)?,
            Server::Rabbitmq => {
                if !self.state.processes.get("epmd").is_some_and(|process| process.is_alive()) {
                    let epmd = rabbitmq::start_epmd(&self.state, &self.programs)?;
                    self.remember("epmd", epmd)?;
                }
                rabbitmq::start(&self.state, &self.programs)?
            }
            Server::Postgres => {
                postgres::create(&self.state, &self.programs)?;
                postgres::start(&self.state, &self.programs)?
            }
        };
        self.remember(server.name(), process)?;
        if server == Server::Postgres && !self.state.databases_made {
            postgres::create_databases(&self.state, &self.programs)?;
            self.state.databases_made = true;
            self.state.save()?;
        }
        Ok(())
    }

    /// `kill -9`. [`Servers::start`] brings it back.
    pub fn kill(&self, server: Server) -> Result<()> {
        match self.state.processes.get(server.name()) {
            Some(process) => process.kill().with_context(|| format!("failed to kill {}", server.name())),
            None => bail!("{} was never started here", server.name()),
        }
    }

    /// Has the broker find its disk full: it takes no messages until it finds it as it is.
    pub fn fill_broker(&self, full: bool) -> Result<()> {
        rabbitmq::alarm(&self.state, &self.programs, full)
    }

    /// Stops everything that was started and removes the folder with its data.
    pub fn down(mut self) -> Result<()> {
        self.stop_all()?;
        if self.state.folder != self.state.home {
            fs::remove_dir_all(&self.state.folder).context("failed to remove the data folder")?;
        }
        fs::remove_dir_all(&self.state.home).context("failed to remove the folder")
    }

    fn stop_all(&mut self) -> Result<()> {
        for (name, process) in &self.state.processes {
            // PostgreSQL's polite stop waits for its clients; INT is its fast one.
            let signal = if name == "postgres" { "INT" } else { "TERM" };
            process.stop(signal, STOP_GRACE).with_context(|| format!("failed to stop {name}"))?;
        }
        self.state.processes.retain(|_, process| process.is_alive());
        self.state.save()
    }

    fn remember(&mut self, name: &str, process: Process) -> Result<()> {
        self.state.processes.insert(name.to_owned(), process);
        self.state.save()
    }
}

/// The set's folder, made where it is not there.
fn absolute_folder(home: &Path) -> Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(home)
        .with_context(|| format!("failed to make {}", home.display()))?;
    home.canonicalize().with_context(|| format!("failed to find {}", home.display()))
}

/// Where the data goes: beside the rest, unless the database's account cannot get there.
fn data_folder(home: &Path) -> Result<PathBuf> {
    if postgres::can_reach(home) {
        return Ok(home.to_owned());
    }
    let name = home.file_name().unwrap_or_default().to_string_lossy();
    let folder = std::env::temp_dir().join(format!("roadstead-{name}-{}", std::process::id()));
    absolute_folder(&folder)
}

fn lock(home: &Path) -> Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).append(true).open(home.join("lock"))?;
    file.lock().context("failed to lock the folder")?;
    Ok(file)
}

fn private_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("failed to make {}", folder.display()))
}

/// Writes a file that nobody else can read, whole or not at all.
pub(crate) fn private_file(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| format!("failed to write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&partial, path).with_context(|| format!("failed to write {}", path.display()))
}
