//! PostgreSQL: a cluster of its own, run by the user `postgres` where we are root, for it refuses root.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::packages::is_root;
use super::state::{SERVICES, State, Tls};
use super::{Process, Programs, START_LIMIT};
use crate::wait::until;

const ACCOUNT: &str = "postgres";

/// Whether the account that runs PostgreSQL can enter a folder.
pub(super) fn can_reach(folder: &Path) -> bool {
    !is_root()
        || as_account(Path::new("test"))
            .arg("-x")
            .arg(folder)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

/// A command as the account that may run PostgreSQL.
fn as_account(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--"]).arg(program);
    command
}

/// Makes the data folder; does nothing where there is one.
pub(super) fn create(state: &State, programs: &Programs) -> Result<()> {
    let folder = folder(state);
    if folder.join("data/PG_VERSION").exists() {
        return Ok(());
    }
    super::private_folder(&folder)?;
    let password = folder.join("password");
    super::private_file(&password, &state.secrets.postgres)?;
    if is_root() {
        let (uid, gid) = ids()?;
        chown(&folder, Some(uid), Some(gid))?;
        chown(&password, Some(uid), Some(gid))?;
    }
    let output = as_account(&programs.postgres.join("initdb"))
        .current_dir(&folder)
        .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--username=postgres"])
        .arg("--pwfile")
        .arg(&password)
        .arg("--pgdata")
        .arg(folder.join("data"))
        .output()
        .context("failed to run initdb")?;
    std::fs::remove_file(&password)?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Nothing here must survive a power cut, only a killed process. That needs no fsync; but a commit that is told before it is
/// written, `synchronous_commit=off`, is lost with the process.
const UNSYNCED: [&str; 4] = ["-c", "fsync=off", "-c", "full_page_writes=off"];

pub(super) fn start(state: &State, programs: &Programs) -> Result<Process> {
    let data = folder(state).join("data");
    let tls = state.tls.as_ref().map(|tls| tls_arguments(state, tls)).transpose()?.unwrap_or_default();
    // After a kill -9 the old server's children need a moment to see that it is gone; a start before that is refused.
    until("postgresql answers", START_LIMIT, || {
        let process = Process::start(
            as_account(&programs.postgres.join("postgres"))
                .current_dir(folder(state))
                .arg("-D")
                .arg(&data)
                .args([
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                    "-c",
                    "max_connections=400",
                ])
                .args(UNSYNCED)
                .args(&tls)
                .args(["-p", &state.ports.postgres.to_string()]),
            &state.log("postgres"),
        )?;
        let ready = until("it accepts connections", Duration::from_secs(15), || {
            if process.is_alive() { sql(state, programs, "postgres", &["SELECT 1"]).map(|()| true) } else { Ok(false) }
        });
        match ready {
            Ok(true) => Ok(process),
            Ok(false) => bail!("postgresql ended; see {}", state.log("postgres").display()),
            Err(error) => {
                process.kill()?;
                Err(error)
            }
        }
    })
}

/// Over TLS a client's certificate is asked for. The key is copied: the account that runs the server must own it.
fn tls_arguments(state: &State, tls: &Tls) -> Result<Vec<String>> {
    let folder = folder(state);
    let mut arguments = vec!["-c".to_owned(), "ssl=on".to_owned()];
    for (name, from) in [("ssl_ca_file", &tls.ca), ("ssl_cert_file", &tls.certificate), ("ssl_key_file", &tls.key)] {
        let file = folder.join(name);
        super::private_file(&file, &std::fs::read_to_string(from).with_context(|| format!("no {}", from.display()))?)?;
        arguments.extend(["-c".to_owned(), format!("{name}={}", file.display())]);
        if is_root() {
            let (uid, gid) = ids()?;
            chown(&file, Some(uid), Some(gid))?;
        }
    }
    let rules =
        "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\nhost all all 127.0.0.1/32 scram-sha-256\n";
    // Written into the file that initdb made, so that it stays the account's.
    std::fs::write(folder.join("data/pg_hba.conf"), rules).context("failed to write pg_hba.conf")?;
    Ok(arguments)
}

/// A database and a login per service, each able to reach its own only.
pub(super) fn create_databases(state: &State, programs: &Programs) -> Result<()> {
    for service in SERVICES {
        let name = format!("roadstead_{service}");
        let password = state.secrets.service(service);
        sql(
            state,
            programs,
            "postgres",
            &[
                &format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"),
                &format!("CREATE DATABASE {name} OWNER {name}"),
                &format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"),
            ],
        )?;
    }
    Ok(())
}

/// Runs statements one by one, each in a transaction of its own.
pub(super) fn sql(state: &State, programs: &Programs, database: &str, statements: &[&str]) -> Result<()> {
    let mut command = Command::new(programs.postgres.join("psql"));
    command
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"])
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", state.ports.postgres.to_string())
        .env("PGUSER", "postgres")
        .env("PGPASSWORD", &state.secrets.postgres)
        .env("PGDATABASE", database)
        .env("PGCONNECT_TIMEOUT", "5")
        .env("PGSSLMODE", "disable")
        .current_dir("/");
    for statement in statements {
        command.args(["--command", statement]);
    }
    let output = command.stdin(Stdio::null()).output().context("failed to run psql")?;
    ensure!(output.status.success(), "psql failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn folder(state: &State) -> PathBuf {
    state.folder.join("postgres")
}

fn ids() -> Result<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    for line in accounts.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [ACCOUNT, _, uid, gid, ..] = fields[..] {
            return Ok((uid.parse()?, gid.parse()?));
        }
    }
    bail!("there is no account {ACCOUNT}, and PostgreSQL refuses to run as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checker counted objects that no operation told of: the hub had told the agent that they were stored.
    #[test]
    fn regression_what_is_committed_survives_a_kill() {
        assert!(!UNSYNCED.iter().any(|setting| setting.contains("synchronous_commit")));
    }
}
