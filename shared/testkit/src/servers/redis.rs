//! Redis: one process, nothing kept.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::state::State;
use super::{Process, Programs, START_LIMIT};
use crate::wait::until;

pub(super) fn start(state: &State, programs: &Programs) -> Result<Process> {
    let folder = state.folder.join("redis");
    super::private_folder(&folder)?;
    let tls = state.tls.as_ref().map_or_else(String::new, |tls| {
        format!(
            "tls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients yes\n",
            tls.redis,
            tls.certificate.display(),
            tls.key.display(),
            tls.ca.display()
        )
    });
    // The password in a file: arguments are for everybody to read.
    super::private_file(
        &folder.join("redis.conf"),
        &format!(
            "bind 127.0.0.1\nport {}\ndir {}\nrequirepass {}\nsave \"\"\nappendonly no\n{tls}",
            state.ports.redis,
            folder.display(),
            state.secrets.redis
        ),
    )?;
    let process = Process::start(Command::new(&programs.redis).arg(folder.join("redis.conf")), &state.log("redis"))?;
    until("redis answers", START_LIMIT, || {
        if process.is_alive() {
            ping(state).map(Ok)
        } else {
            Ok(Err(anyhow::anyhow!("redis ended; see {}", state.log("redis").display())))
        }
    })??;
    Ok(process)
}

fn ping(state: &State) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, state.ports.redis)).context("no listener")?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "AUTH {}\r\nPING\r\n", state.secrets.redis)?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"+OK\r\n+PONG\r\n", "it answered {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}
