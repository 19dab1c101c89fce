//! Which addresses the hub may dial when a caller named them (cluster URLs, webhooks). Checked at dial time, on the
//! resolved address, so that a name cannot hide one (reliability rows S01 to S05).
//!
//! Addresses from the process's own configuration are trusted and do not come here.

mod target;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use roadstead_contracts::{Code, Error, Result};

pub use target::{Host, Target};

/// What may be dialled.
#[derive(Debug, Clone)]
pub struct Policy {
    loopback: bool,
    private: bool,
    allow: Vec<IpNet>,
}

impl Policy {
    /// The policy of `roadstead up`: loopback and private ranges are where kind and k3d live.
    pub fn embedded() -> Self {
        Self { loopback: true, private: true, allow: Vec::new() }
    }

    /// The policy of the mesh: private ranges, not loopback.
    pub fn mesh() -> Self {
        Self { loopback: false, private: true, allow: Vec::new() }
    }

    /// The policy of a process with its own ranges: a hub in one process has its database to itself.
    pub fn of(one_process: bool, allow: &[IpNet]) -> Self {
        if one_process { Self::embedded() } else { Self::mesh() }.with_allow(allow.to_vec())
    }

    /// Adds ranges that are allowed whatever else the policy says, metadata addresses excepted.
    #[must_use]
    pub fn with_allow(mut self, allow: Vec<IpNet>) -> Self {
        self.allow = allow;
        self
    }

    /// Checks an address that is about to be dialled.
    pub fn check_address(&self, address: IpAddr) -> Result<()> {
        let address = unmap(address);
        let refused = Err(Error::of(Code::AddressNotAllowed));
        if is_metadata(address) {
            return refused;
        }
        if self.allow.iter().any(|range| range.contains(&address)) {
            return Ok(());
        }
        if address.is_unspecified() || address.is_multicast() || is_link_local(address) || is_reserved(address) {
            return refused;
        }
        if (address.is_loopback() && !self.loopback) || (is_private(address) && !self.private) {
            return refused;
        }
        Ok(())
    }
}

/// An IPv4 address inside IPv6 (mapped, compatible, 6to4, NAT64) is judged as the IPv4 address it reaches.
fn unmap(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    let segments = six.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => embedded(high, low),
        _ => address,
    }
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            four == Ipv4Addr::new(169, 254, 169, 254)
                || four == Ipv4Addr::new(169, 254, 170, 2)
                || four == Ipv4Addr::new(100, 100, 100, 200)
                || four == Ipv4Addr::new(192, 0, 0, 192)
        }
        IpAddr::V6(six) => six == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        // 100.64/10: carrier-grade NAT (RFC 6598), where many overlay networks live.
        IpAddr::V4(four) => four.is_private() || (four.octets()[0] == 100 && four.octets()[1] & 0xc0 == 64),
        IpAddr::V6(six) => six.is_unique_local(),
    }
}

fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.octets()[0] == 0 || four.octets()[0] >= 240 || four.is_broadcast(),
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &Policy, text: &str) -> bool {
        policy.check_address(text.parse().unwrap()).is_ok()
    }

    #[test]
    fn metadata_and_link_local_never() {
        let wide = Policy::embedded().with_allow(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        for text in
            ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]
        {
            assert!(!check(&wide, text), "{text}");
        }
        for text in ["169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255"] {
            assert!(!check(&Policy::embedded(), text), "{text}");
        }
    }

    #[test]
    fn loopback_is_for_the_embedded_hub() {
        for text in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(check(&Policy::embedded(), text), "{text}");
            assert!(!check(&Policy::mesh(), text), "{text}");
        }
        assert!(
            check(&Policy::mesh(), "10.1.2.3")
                && check(&Policy::mesh(), "100.64.0.1")
                && check(&Policy::mesh(), "fc00::1")
        );
        let opened = Policy::mesh().with_allow(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(check(&opened, "127.0.0.1"));
    }
}
