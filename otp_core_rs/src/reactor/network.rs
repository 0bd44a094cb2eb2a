//! What counts as one address, and networks of many (`domain/address.py`).

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A network whose connections come from many peers: a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(host)) => {
                let rest = 32 - u32::from(self.prefix);
                (network.to_bits() ^ host.to_bits())
                    .checked_shr(rest)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(host)) => {
                let rest = 128 - u32::from(self.prefix);
                (network.to_bits() ^ host.to_bits())
                    .checked_shr(rest)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// No address and prefix, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadNetwork;

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = text.split_once('/').ok_or(BadNetwork)?;
        let address: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let prefix: u8 = prefix.parse().map_err(|_| BadNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix > most {
            return Err(BadNetwork);
        }
        Ok(Self { address, prefix })
    }
}

/// Who counts as one: an address, of IPv6 its /64; nothing for those whose address is not known.
pub(super) type Person = Option<IpAddr>;

/// The one behind an address.
pub(super) fn person(peer: Option<IpAddr>) -> Person {
    peer.map(|address| match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    })
}

/// Whether an address is in one of the networks; an unknown one is not.
pub(super) fn is_one_of(peer: Option<IpAddr>, networks: &[Network]) -> bool {
    peer.map(|address| address.to_canonical())
        .is_some_and(|peer| networks.iter().any(|network| network.contains(peer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let everywhere: Network = "0.0.0.0/0".parse().unwrap();
        assert!(everywhere.contains([9, 9, 9, 9].into()));
        assert!(!everywhere.contains(Ipv6Addr::LOCALHOST.into()));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains(Ipv6Addr::LOCALHOST.into()));
        let one: Network = "1.2.3.4/32".parse().unwrap();
        assert!(one.contains([1, 2, 3, 4].into()) && !one.contains([1, 2, 3, 5].into()));
        for bad in ["", "1.2.3.4", "1.2.3.4/33", "::/129", "x/8", "1.2.3.4/-1"] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork), "{bad}");
        }
    }
}
