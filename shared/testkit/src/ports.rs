//! Free ports on loopback.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// The lowest port that is given out: below are those that people choose by hand.
const FIRST: u16 = 15_000;
/// How often a taken port may be met.
const TRIES: usize = 1_000;
/// Ports that this process has given out lately: one that nobody has bound yet is as good as taken.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
/// After so many the first ones may come again.
const GIVEN_MAX: usize = 4_000;

/// `N` different free ports that stay free: from below the range out of which the kernel takes the ports of outgoing
/// connections, for a port of that range is often gone before a server that is still starting has bound it.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let end = outgoing_range_start();
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        // Held until all are chosen, so that none is given out twice.
        let listener = bind_one(end)?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn bind_one(end: u16) -> Result<TcpListener> {
    if end <= FIRST + 1_000 {
        return TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to bind a free port");
    }
    let mut randomness = fs::File::open("/dev/urandom").context("failed to open the source of randomness")?;
    for _ in 0..TRIES {
        let mut bytes = [0; 2];
        randomness.read_exact(&mut bytes)?;
        let port = FIRST + u16::from_le_bytes(bytes) % (end - FIRST);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            && give(port, usize::from(end - FIRST) / 2)
        {
            return Ok(listener);
        }
    }
    bail!("no free port between {FIRST} and {end}")
}

/// Notes a port; `false` when it was given out already. Half of the range is enough to remember.
fn give(port: u16, half: usize) -> bool {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    if given.len() >= GIVEN_MAX.min(half) {
        given.clear();
    }
    given.insert(port)
}

fn outgoing_range_start() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_no_port_is_given_out_twice_before_it_is_bound() {
        let ports: Vec<[u16; 5]> = (0..300).map(|_| free().unwrap()).collect();
        let different: HashSet<u16> = ports.iter().flatten().copied().collect();
        assert_eq!(different.len(), 1_500);
    }

    #[test]
    fn they_differ_and_can_be_bound() {
        // A program beside this one may take one of them in between: not three times in a row.
        let bound = (0..3).any(|_| {
            let ports: [u16; 20] = free().unwrap();
            let different: std::collections::BTreeSet<u16> = ports.into_iter().collect();
            assert_eq!(different.len(), ports.len());
            ports.into_iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        });
        assert!(bound);
    }
}
