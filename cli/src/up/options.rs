//! What `up` runs with: the command line on top of the settings, free ports where the usual ones are taken.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Result, bail};
use roadstead_runtime::config::{Env, ServiceRole, Settings};

use crate::args::hub::UpArgs;

/// Settings of `up`, with what is worth a word to the user.
#[derive(Debug)]
pub struct Chosen {
    /// The settings.
    pub settings: Settings,
    /// Sentences for the user.
    pub remarks: Vec<String>,
}

/// Loads the settings for a folder.
pub fn choose(args: &UpArgs, folder: &std::path::Path, env: &dyn Env) -> Result<Chosen> {
    let mut top: Vec<(&str, String, &str)> = vec![("data_dir", folder.display().to_string(), "--data")];
    if args.dev {
        top.push(("dev", "true".to_owned(), "--dev"));
    }
    for (address, host, port, option) in [
        (args.listen, "server.host", "server.port", "--listen"),
        (args.agent_listen, "server.agent_host", "server.agent_port", "--agent-listen"),
        (args.kubernetes_listen, "server.kubernetes_host", "server.kubernetes_port", "--kubernetes-listen"),
    ] {
        if let Some(address) = address {
            top.push((host, address.ip().to_string(), option));
            top.push((port, address.port().to_string(), option));
        }
    }
    let mut settings = Settings::load_with(ServiceRole::Up, args.config.clone(), env, &top)?;
    let mut remarks = std::mem::take(&mut settings.notes);
    if let Some(address) = args.kubernetes_listen.filter(|address| is_taken(*address)) {
        bail!(
            "{address} is taken by another program: give the Kubernetes door another address with --kubernetes-listen ADDR"
        );
    }
    let door = SocketAddr::new(settings.server.host, settings.server.port);
    if is_taken(door) {
        bail!("{door} is taken by another program: give the front door another address with --listen ADDR");
    }
    let agents = SocketAddr::new(settings.server.agent_host, settings.server.agent_port);
    let same = agents == door && door.port() != 0;
    if same || is_taken(agents) {
        if args.agent_listen.is_some() {
            bail!(
                "{agents} is taken by another program: give the agents' door another address with --agent-listen ADDR"
            );
        }
        settings.server.agent_port = 0;
        remarks.push(format!("port {} is taken, the agents' door takes a free one", agents.port()));
    }
    Ok(Chosen { settings, remarks })
}

/// Whether another program listens there. Any other fault shows when the door is bound.
fn is_taken(address: SocketAddr) -> bool {
    address.port() != 0 && TcpListener::bind(address).is_err_and(|fault| fault.kind() == ErrorKind::AddrInUse)
}

/// The address under which a door is reached from this machine.
pub fn reachable(address: SocketAddr, tls: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("{}://{}", if tls { "https" } else { "http" }, SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::config::MapEnv;

    use super::*;

    fn args(listen: &str) -> UpArgs {
        UpArgs { listen: Some(listen.parse().unwrap()), ..UpArgs::default() }
    }

    #[test]
    fn the_usual_port_of_the_agents_gives_way() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let env = MapEnv::new([("ROADSTEAD_SERVER_AGENT_PORT", port.to_string())]);
        let chosen = choose(&args("127.0.0.1:0"), "/data".as_ref(), &env).unwrap();
        assert_eq!(chosen.settings.server.agent_port, 0);
        assert!(chosen.remarks.iter().any(|remark| remark.contains(&port.to_string())), "{:?}", chosen.remarks);
        assert_eq!(chosen.settings.database.url.expose(), "sqlite:/data");
        let named = UpArgs { agent_listen: Some(other.local_addr().unwrap()), ..args("127.0.0.1:0") };
        assert!(
            choose(&named, "/data".as_ref(), &MapEnv::default()).unwrap_err().to_string().contains("--agent-listen")
        );
        // Any free port twice is not the same port twice.
        let both = UpArgs { agent_listen: Some("127.0.0.1:0".parse().unwrap()), ..args("127.0.0.1:0") };
        assert!(choose(&both, "/data".as_ref(), &MapEnv::default()).unwrap().remarks.is_empty());
        let taken = args(&other.local_addr().unwrap().to_string());
        assert!(choose(&taken, "/data".as_ref(), &MapEnv::default()).unwrap_err().to_string().contains("--listen"));
    }

    #[test]
    fn addresses_can_be_dialled() {
        for (address, url) in [
            ("0.0.0.0:8008", "http://127.0.0.1:8008"),
            ("[::]:8008", "http://[::1]:8008"),
            ("10.0.0.1:1", "http://10.0.0.1:1"),
        ] {
            assert_eq!(reachable(address.parse().unwrap(), false), url);
        }
        assert!(reachable("127.0.0.1:1".parse().unwrap(), true).starts_with("https://"));
    }
}
