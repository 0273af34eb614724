use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// A range of addresses from which a key can be used: `203.0.113.0/24`, `2001:db8::/32`. It has one written form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// The network around an address: 256 addresses for IPv4, a site for IPv6. Enough to tell an office from another country,
    /// too little to identify a person.
    pub fn around(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { 24 } else { 48 };
        Self(IpNet::new_assert(address, prefix).trunc())
    }

    /// Whether `address` is in the network. An IPv4 address in IPv6 form (`::ffff:203.0.113.7`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether every address of `other` is in the network.
    pub fn holds(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

/// The text isn't a network in its one written form. The message doesn't repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither IPv4 nor IPv6 in CIDR notation.
    #[error("expected a network such as 203.0.113.0/24 or 2001:db8::/32; one address is 203.0.113.7/32")]
    Malformed,
    /// Bits are set after the prefix: either the address or the prefix is mistyped, and we don't guess which.
    #[error("the address has bits set after its prefix: 203.0.113.0/24, not 203.0.113.7/24")]
    HostBits,
    /// An IPv4 network in IPv6 form.
    #[error("an IPv4 network is written as IPv4: 203.0.113.0/24, not ::ffff:203.0.113.0/120")]
    MappedIpv4,
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    /// The standard library parses the address, because `ipnet` accepts leading zeros: C libraries read `010.0.0.0` as octal.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or(InvalidNetwork::Malformed)?;
        let has_one_form =
            prefix.bytes().all(|byte| byte.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Malformed)?;
        let prefix = prefix.parse().ok().filter(|_| has_one_form).ok_or(InvalidNetwork::Malformed)?;
        let network = IpNet::new(address, prefix).map_err(|_| InvalidNetwork::Malformed)?;
        if network.trunc() != network {
            return Err(InvalidNetwork::HostBits);
        }
        match network {
            IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => Err(InvalidNetwork::MappedIpv4),
            _ => Ok(Self(network)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_as_numbers_not_as_text() {
        for (network, inside, outside) in [
            ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
            ("203.0.113.0/25", "203.0.113.127", "203.0.113.128"),
            ("203.0.113.7/32", "203.0.113.7", "203.0.113.70"),
            ("203.0.113.7/32", "::ffff:203.0.113.7", "::ffff:203.0.113.8"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("2001:db8::1/128", "2001:0DB8:0:0:0:0:0:1", "2001:db8::2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.7"),
            ("::/0", "::", "::ffff:203.0.113.7"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn a_network_has_one_written_form() {
        assert_eq!("2001:0DB8:0:0::/32".parse::<Network>().unwrap().to_string(), "2001:db8::/32");
        assert_eq!("2001:db8::/32".parse::<Network>().unwrap(), "2001:DB8::/32".parse().unwrap());
        for (text, problem) in [
            ("203.0.113.7/24", InvalidNetwork::HostBits),
            ("2001:db8::1/64", InvalidNetwork::HostBits),
            ("::ffff:203.0.113.0/120", InvalidNetwork::MappedIpv4),
            ("::ffff:0:0/96", InvalidNetwork::MappedIpv4),
            ("", InvalidNetwork::Malformed),
            ("203.0.113.7", InvalidNetwork::Malformed),
            ("203.0.113.0/33", InvalidNetwork::Malformed),
            ("203.0.113.0/", InvalidNetwork::Malformed),
            ("203.0.113.0/-1", InvalidNetwork::Malformed),
            ("203.0.113.0/24 ", InvalidNetwork::Malformed),
            ("203.0.113/24", InvalidNetwork::Malformed),
            ("203.0.0113.0/24", InvalidNetwork::Malformed),
            ("0xcb.0.113.0/24", InvalidNetwork::Malformed),
            ("010.0.0.0/8", InvalidNetwork::Malformed),
            ("127.000.000.001/32", InvalidNetwork::Malformed),
            ("00.0.0.0/0", InvalidNetwork::Malformed),
            ("0.0.0.0/00", InvalidNetwork::Malformed),
            ("10.0.0.0/08", InvalidNetwork::Malformed),
            ("10.0.0.0/+8", InvalidNetwork::Malformed),
            ("2001:db8::/032", InvalidNetwork::Malformed),
            ("2001:00db8::/32", InvalidNetwork::Malformed),
            ("3405803776/24", InvalidNetwork::Malformed),
            ("2001:db8::/129", InvalidNetwork::Malformed),
            ("fe80::%eth0/64", InvalidNetwork::Malformed),
            ("[2001:db8::]/32", InvalidNetwork::Malformed),
            ("203.0.113.0/24,0.0.0.0/0", InvalidNetwork::Malformed),
            ("*", InvalidNetwork::Malformed),
        ] {
            assert_eq!(text.parse::<Network>(), Err(problem), "{text}");
        }
    }
}
