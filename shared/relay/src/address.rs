//! The address under which the other members of the mesh reach this replica.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use roadstead_runtime::config::Settings;
use tokio::net::{UdpSocket, lookup_host};

/// What the settings say (`named`, from the setting `setting`); else this machine's address on the way to the broker, which
/// every member shares.
pub async fn advertised(settings: &Settings, named: Option<&str>, setting: &str, bound: SocketAddr) -> Result<String> {
    let port = bound.port();
    if let Some(address) = named {
        let has_port =
            address.rsplit_once(':').is_some_and(|(host, port)| !host.ends_with(':') && port.parse::<u16>().is_ok());
        return Ok(if has_port { address.to_owned() } else { format!("{address}:{port}") });
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound.to_string());
    }
    let broker = broker(settings);
    let ours = way_to(&broker).await.with_context(|| {
        format!("this machine's address on the way to the broker at {broker} cannot be found; set {setting}")
    })?;
    Ok(SocketAddr::new(ours, port).to_string())
}

fn broker(settings: &Settings) -> String {
    let rabbitmq = &settings.rabbitmq;
    let named = rabbitmq.url.as_ref().and_then(|url| {
        let rest = url.expose().split_once("://")?.1;
        let authority = rest.split(['/', '?']).next()?;
        let host = authority.rsplit('@').next()?;
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(if has_port { host.to_owned() } else { format!("{host}:5672") })
    });
    named.unwrap_or_else(|| format!("{}:{}", rabbitmq.host, rabbitmq.port))
}

/// Connecting a datagram socket sends nothing; it asks the kernel for the route.
async fn way_to(host: &str) -> Result<std::net::IpAddr> {
    let target = lookup_host(host).await?.next().context("the name has no address")?;
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_route_tells_the_address() {
        assert_eq!(way_to("127.0.0.1:5672").await.unwrap().to_string(), "127.0.0.1");
    }
}
