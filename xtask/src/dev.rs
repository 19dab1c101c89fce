//! `dev`: servers from the system's packages, in `.dev/<name>`.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use roadstead_testkit::servers::{Server, Servers};

use crate::repository::dev_folder;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Which set of servers; several may run side by side
    #[arg(long, global = true, default_value = "default", value_parser = name)]
    name: String,
}

#[derive(Subcommand)]
enum Command {
    /// Start the servers (installing their packages where allowed) and print how to use them
    Up,
    /// Stop what `up` started and remove its data
    Down,
    /// Show what runs
    Status,
    /// End one server as `kill -9` does
    Kill { server: ServerName },
    /// Start one server again, on its port and with its data
    Start { server: ServerName },
}

#[derive(Clone, Copy, ValueEnum)]
enum ServerName {
    Rabbitmq,
    Postgres,
    Redis,
}

impl From<ServerName> for Server {
    fn from(name: ServerName) -> Self {
        match name {
            ServerName::Rabbitmq => Self::Rabbitmq,
            ServerName::Postgres => Self::Postgres,
            ServerName::Redis => Self::Redis,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = &arguments.name;
    let home = dev_folder(name);
    let open =
        || Servers::open(&home)?.with_context(|| format!("there is no set {name}; start it: cargo xtask dev up"));
    match arguments.command {
        Command::Up => {
            let servers = Servers::up(&home)?;
            print_status(&servers);
            println!("\n. {}/env              # what tests read", home.display());
            println!(". {}/<service>.env    # what one service reads", home.display());
        }
        Command::Down => match Servers::open(&home)? {
            Some(servers) => servers.down()?,
            None => println!("nothing to stop"),
        },
        Command::Status => match Servers::open(&home)? {
            Some(servers) => print_status(&servers),
            None => println!("no set {name}"),
        },
        Command::Kill { server } => open()?.kill(server.into())?,
        Command::Start { server } => open()?.start(server.into())?,
    }
    Ok(())
}

fn print_status(servers: &Servers) {
    let state = servers.state();
    for server in Server::ALL {
        let port = match server {
            Server::Rabbitmq => state.ports.amqp,
            Server::Postgres => state.ports.postgres,
            Server::Redis => state.ports.redis,
        };
        let condition = if state.is_alive(server) { "runs" } else { "stopped" };
        println!("{:<9} {condition:<8} 127.0.0.1:{port}", server.name());
    }
}

/// The name becomes a folder: keep it to what is safe there.
fn name(text: &str) -> Result<String> {
    if text.is_empty() || text.len() > 40 || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        bail!("a name has 1 to 40 letters, digits or dashes");
    }
    Ok(text.to_owned())
}
