//! Settings: built-in defaults < YAML file < environment < command line.
//!
//! Every setting is one row of [`sections`]; [`table`] says what a row is. Loading finds all problems at once and shows
//! no secret. [`docs`] writes `.env.example` and the documentation page from the same rows. The agent has settings of
//! its own: [`agent`].

mod address;
pub mod agent;
mod check;
pub mod docs;
mod env;
mod layers;
mod sections;
mod servers;
pub mod table;
#[cfg(test)]
mod tests;
mod transport;
pub mod value;

use std::fmt;
use std::path::{Path, PathBuf};

pub use check::KEYRING;
pub use env::{Env, MapEnv, ProcessEnv};
pub use sections::{
    Access, Agents, Audit, Auth, Authorization, Bootstrap, Compat, General, Jwt, Logging, Mesh, Metrics, Oidc,
    Operations, Outgoing, PasswordRules, RateLimit, Recording, Seal, Server, Telemetry, Tls, User,
};
pub use servers::{Database, Rabbitmq, Redis};
pub use value::{Bytes, DefaultRole, JwtAlgorithm, Leaked, LogFormat, LogLevel, Registration, Strategy};

use layers::{Catalogue, Values};
use table::Row;

use crate::Secret;

/// Variables that name the file of settings: ours, then seed 000's two.
pub const FILE_VARIABLES: [&str; 3] = ["ROADSTEAD_CONFIG_FILE", "MCKMT_CONFIG_FILE", "MCKMT_CONFIG_PATH"];

/// What a process is, for the names and defaults that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceRole {
    /// `serve user`.
    User,
    /// `serve cluster`.
    Cluster,
    /// `serve onboarding`.
    Onboarding,
    /// `serve operations`.
    Operations,
    /// `up`: all four in one process.
    Up,
    /// A tool on the database: `migrate`, `doctor`, `admin recover`.
    Tool,
}

impl ServiceRole {
    /// Whether the process is one of several that meet at a broker.
    pub fn is_mesh(self) -> bool {
        !matches!(self, Self::Up | Self::Tool)
    }

    /// The name as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cluster => "cluster",
            Self::Onboarding => "onboarding",
            Self::Operations => "operations",
            Self::Up => "up",
            Self::Tool => "tool",
        }
    }
}

/// Every setting of a hub process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder for what the process keeps.
    pub data_dir: PathBuf,
    /// For development only.
    pub dev: bool,
    /// The doors of the hub.
    pub server: Server,
    /// TLS of the doors.
    pub tls: Tls,
    /// The user service.
    pub user: User,
    /// The operations service.
    pub operations: Operations,
    /// Rights for a while.
    pub access: Access,
    /// The database. Its `url` is complete after loading.
    pub database: Database,
    /// The message broker. Its `url` is complete after loading, and `None` in one process.
    pub rabbitmq: Rabbitmq,
    /// The shared key-value store. Its `url` is complete after loading, and `None` in one process.
    pub redis: Redis,
    /// Accounts' credentials.
    pub auth: Auth,
    /// Who may do what.
    pub authorization: Authorization,
    /// Secrets in the databases.
    pub seal: Seal,
    /// The audit trail.
    pub audit: Audit,
    /// Quotas.
    pub rate_limit: RateLimit,
    /// The agents' sessions.
    pub agents: Agents,
    /// What the services share.
    pub mesh: Mesh,
    /// Clients of the seeds.
    pub compat: Compat,
    /// Log lines.
    pub logging: Logging,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// Traces.
    pub telemetry: Telemetry,
    /// Addresses that callers name.
    pub outgoing: Outgoing,
    /// Recorded sessions.
    pub recording: Recording,
    /// What is worth a warning once logging works.
    pub notes: Vec<String>,
}

impl Settings {
    /// Loads the settings of a process. `file` is the one named on the command line; without it the environment may
    /// name one ([`FILE_VARIABLES`]).
    pub fn load(role: ServiceRole, file: Option<PathBuf>, env: &dyn Env) -> Result<Self, ConfigErrors> {
        Self::load_with(role, file, env, &[])
    }

    /// As [`Settings::load`], with values from the command line on top: `(key, text, option's name)`.
    pub fn load_with(
        role: ServiceRole,
        file: Option<PathBuf>,
        env: &dyn Env,
        command_line: &[(&str, String, &str)],
    ) -> Result<Self, ConfigErrors> {
        let mut values = Values::new(role, CATALOGUE);
        if let Some(path) = file.or_else(|| file_from(env, &mut values.problems)) {
            values.file(&path);
        }
        values.environment(env);
        for (key, text, option) in command_line {
            values.set(key, text.clone(), option);
        }
        let values = &mut values;
        if values.text("auth.jwt.secret").is_some_and(|text| !text.is_empty())
            && values.text("auth.jwt.algorithm").is_none()
        {
            values.set("auth.jwt.algorithm", "hs256".to_owned(), "auth.jwt.algorithm");
        }
        let general = General::read(values);
        let bootstrap = Bootstrap::read(values);
        let mut settings = Self {
            data_dir: general.data_dir,
            dev: general.dev,
            server: Server::read(values),
            tls: Tls::read(values),
            user: User::read(values),
            operations: Operations::read(values),
            access: Access::read(values),
            database: Database::read(values),
            rabbitmq: Rabbitmq::read(values),
            redis: Redis::read(values),
            auth: Auth {
                jwt: Jwt::read(values),
                password: PasswordRules::read(values),
                oidc: Oidc::read(values),
                bootstrap_token: bootstrap.bootstrap_token,
                identity_key_file: bootstrap.identity_key_file,
            },
            authorization: Authorization::read(values),
            seal: Seal::read(values),
            audit: Audit::read(values),
            rate_limit: RateLimit::read(values),
            agents: Agents::read(values),
            mesh: Mesh::read(values),
            compat: Compat::read(values),
            logging: Logging::read(values),
            metrics: Metrics::read(values),
            telemetry: Telemetry::read(values),
            outgoing: Outgoing::read(values),
            recording: Recording::read(values),
            notes: Vec::new(),
        };
        check::resolve(role, &mut settings, values);
        settings.notes = std::mem::take(&mut values.notes);
        values.done(settings)
    }
}

impl Database {
    /// The address of a service's own database: with SQLite a file of its own in the folder, with PostgreSQL the same
    /// address for each (they have a schema each).
    pub fn url_for(&self, service: &str) -> Secret {
        match self.url.expose().strip_prefix("sqlite:") {
            Some(folder) if !folder.starts_with(":memory:") => {
                let folder = folder.strip_prefix("//").unwrap_or(folder);
                Secret::new(format!("sqlite:{}", Path::new(folder).join(format!("{service}.db")).display()))
            }
            _ => self.url.clone(),
        }
    }

    /// Whether the database is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.url.expose().starts_with("postgres")
    }
}

/// A section's title and its rows.
pub type Section = (&'static str, &'static [Row]);

/// How many sections there are.
const SECTION_COUNT: usize = 25;

/// The hub's sections, in the order of the documentation.
pub const SECTIONS: [Section; SECTION_COUNT] = [
    ("General", General::ROWS),
    ("Doors", Server::ROWS),
    ("TLS", Tls::ROWS),
    ("User service", User::ROWS),
    ("Operations service", Operations::ROWS),
    ("Rights for a while", Access::ROWS),
    ("Database", Database::ROWS),
    ("RabbitMQ", Rabbitmq::ROWS),
    ("Redis", Redis::ROWS),
    ("Tokens", Jwt::ROWS),
    ("Authorization", Authorization::ROWS),
    ("Passwords", PasswordRules::ROWS),
    ("Single sign-on", Oidc::ROWS),
    ("First admin and keys", Bootstrap::ROWS),
    ("Secrets in the databases", Seal::ROWS),
    ("Audit trail", Audit::ROWS),
    ("Quotas", RateLimit::ROWS),
    ("Agents", Agents::ROWS),
    ("Mesh", Mesh::ROWS),
    ("Clients of the seeds", Compat::ROWS),
    ("Log", Logging::ROWS),
    ("Metrics", Metrics::ROWS),
    ("Traces", Telemetry::ROWS),
    ("Outgoing addresses", Outgoing::ROWS),
    ("Recorded sessions", Recording::ROWS),
];

const ROWS: [&[Row]; SECTION_COUNT] = {
    let mut rows: [&[Row]; SECTION_COUNT] = [&[]; SECTION_COUNT];
    let mut index = 0;
    while index < SECTION_COUNT {
        rows[index] = SECTIONS[index].1;
        index += 1;
    }
    rows
};

const CATALOGUE: Catalogue = Catalogue {
    rows: &ROWS,
    paths_without_effect: sections::WITHOUT_EFFECT,
    variables_without_effect: sections::VARIABLES_WITHOUT_EFFECT,
    others: &agent::ROWS,
};

/// The file that the environment names.
fn file_from(env: &dyn Env, problems: &mut Vec<Problem>) -> Option<PathBuf> {
    let mut set =
        FILE_VARIABLES.iter().filter_map(|name| env.var(name).filter(|path| !path.is_empty()).map(|path| (name, path)));
    let (first, path) = set.next()?;
    for (other, other_path) in set {
        if other_path != path {
            problems.push(Problem::new(format!("{first} and {other}"), "name different files"));
        }
    }
    Some(PathBuf::from(path))
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name it was set by.
    pub name: String,
    /// What is wrong; never the value of a secret.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }
}

/// Everything that is wrong with the settings. Whoever gets it prints it and exits with [`ConfigErrors::EXIT_CODE`].
#[derive(Debug, Clone, thiserror::Error)]
pub struct ConfigErrors {
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// Exit code of a process whose settings are wrong.
    pub const EXIT_CODE: u8 = 2;
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{count} problem{} with the settings", if count == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            write!(f, "\n  {}: {}", problem.name, problem.message)?;
        }
        Ok(())
    }
}
