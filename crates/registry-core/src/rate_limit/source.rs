//! Sources of requests, and the networks around them.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The source of a request: an IPv4 address, or the /64 of an IPv6 address (the usual size of one
/// customer's network).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Returns the source that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => Self(Network::of(address.into(), 64).address),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// A network: its first address, and the number of bits that its addresses share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn of(address: IpAddr, bits: u8) -> Self {
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        };
        Self { address, bits }
    }

    /// Returns the multiple of a source's limit that the network has. One machine of many can have
    /// the whole limit of a source. Its neighbours together have only a few times as much, since one
    /// stranger often has the whole network.
    pub(super) fn factor(self) -> u32 {
        match self.bits {
            24 => 8,
            56 => 4,
            48 => 16,
            _ => 1,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// A thing that events are counted by.
pub trait Counted: Copy + Send + Sync {
    /// A key of a counter.
    type Key: Copy + Eq + Hash + Send + fmt::Debug;

    /// Returns the keys under which an event is counted, the narrowest first, each with the multiple
    /// of the limit that it has.
    fn keys(self) -> [Option<(Self::Key, u32)>; 3];
}

impl Counted for Source {
    type Key = Network;

    fn keys(self) -> [Option<(Network, u32)>; 3] {
        let network = |bits| {
            let network = Network::of(self.0, bits);
            Some((network, network.factor()))
        };
        match self.0 {
            IpAddr::V4(_) => [network(32), network(24), None],
            IpAddr::V6(_) => [network(64), network(56), network(48)],
        }
    }
}

impl Counted for [u8; 32] {
    type Key = Self;

    fn keys(self) -> [Option<(Self, u32)>; 3] {
        [Some((self, 1)), None, None]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    /// R-guessing-3.
    #[test]
    fn source_is_ipv4_address_or_ipv6_64() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:203.0.113.7"), source("203.0.113.7"));
        assert_eq!(source("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn networks_around_a_source_have_multiples_of_its_limit() {
        for (address, expected) in [
            ("203.0.113.7", vec![("203.0.113.7/32", 1), ("203.0.113.0/24", 8)]),
            (
                "2001:db8:1:2ff::9",
                vec![
                    ("2001:db8:1:2ff::/64", 1),
                    ("2001:db8:1:200::/56", 4),
                    ("2001:db8:1::/48", 16),
                ],
            ),
        ] {
            let keys = source(address).keys().into_iter().flatten();
            let keys: Vec<_> =
                keys.map(|(network, factor)| (network.to_string(), factor)).collect();
            let keys: Vec<_> = keys.iter().map(|(network, factor)| (&**network, *factor)).collect();
            assert_eq!(keys, expected);
        }
    }
}
