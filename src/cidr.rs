//! Address ranges by the rules of Go's net package, which kubeadm and kube-proxy use.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether it is an IPv6 range.
    pub fn is_ipv6(self) -> bool {
        self.address.is_ipv6()
    }

    /// The prefix length.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The number of host bits.
    pub fn host_bits(self) -> u8 {
        (if self.is_ipv6() { 128 } else { 32 }) - self.prefix
    }

    /// Whether both have addresses in common.
    pub fn overlaps(self, other: Self) -> bool {
        let wider = self.prefix.min(other.prefix);
        self.is_ipv6() == other.is_ipv6() && masked(self.address, wider) == masked(other.address, wider)
    }

    /// Parses an address with a prefix: the range it is in, and the address. As `ParseCIDRSloppy`, see [`address`].
    ///
    /// # Errors
    /// If it is not an address with a prefix.
    pub fn around(text: &str) -> Result<(Self, IpAddr), String> {
        let not_a_cidr = || format!("{text:?} is not a CIDR; use for example 10.244.0.0/16 or fd00:10:244::/56");
        let (address, prefix) = text.split_once('/').ok_or_else(not_a_cidr)?;
        let address = self::address(address).ok_or_else(not_a_cidr)?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_a_cidr());
        }
        let (family, most) = if address.is_ipv6() { ("IPv6", 128) } else { ("IPv4", 32) };
        let prefix = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= most)
            .ok_or_else(|| format!("{text:?}: the prefix length of an {family} range must be 0 to {most}"))?;
        Ok((Self { address: masked(address, prefix), prefix }, address))
    }
}

/// An IP address as kubeadm and kube-proxy read it: leading zeros in an IPv4 address do not count, and it has no zone. Up to
/// 1.21 that is Go's `net.ParseIP` of the time, since then `ParseIPSloppy` (k8s.io/utils/net).
pub fn address(text: &str) -> Option<IpAddr> {
    let (head, v4) = match text.rsplit_once(':') {
        // An IPv6 address may end with an IPv4 address.
        Some((_, last)) if last.contains('.') => text.split_at(text.len() - last.len()),
        Some(_) => return text.parse().ok(),
        None => ("", text),
    };
    let without_zeros = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        digits => digits.to_owned(),
    };
    let parts: Vec<String> = v4.split('.').map(without_zeros).collect();
    format!("{head}{}", parts.join(".")).parse().ok()
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (range, address) = Self::around(text)?;
        // Elsewhere they mean octal numbers.
        if text.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_err()) {
            return Err(format!("{text:?} is not a CIDR; write its numbers without leading zeros"));
        }
        if range.address != address {
            return Err(format!("{text:?} has host bits set; did you mean {range}?"));
        }
        Ok(range)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from(u32::from(v4) & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) & mask).into()
        }
    }
}

/// One range, or one of each family separated by a comma, as in kubeadm.
///
/// # Errors
/// If it is not a range, or there are more than two, or two of one family.
pub fn parse_ranges(text: &str) -> Result<Vec<Cidr>, String> {
    let ranges = text.split(',').map(str::parse).collect::<Result<Vec<Cidr>, _>>()?;
    match ranges.as_slice() {
        [_] => Ok(ranges),
        [a, b] if a.is_ipv6() != b.is_ipv6() => Ok(ranges),
        _ => Err(format!("{text:?} must be one range, or one IPv4 and one IPv6 range for dual-stack")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for text in ["10.244.0.0/16", "0.0.0.0/0", "fd00:10:244::/56", "::/0", "10.0.0.1/32"] {
            assert_eq!(text.parse::<Cidr>().map(|cidr| cidr.to_string()).as_deref(), Ok(text));
        }
        for (text, part) in [
            ("10.0.0.0/40", "0 to 32"),
            ("fd00::/129", "0 to 128"),
            ("10.0.0.0", "not a CIDR"),
            ("10.0.0.0/", "not a CIDR"),
            ("10.0.0.0/+8", "not a CIDR"),
            ("010.0.0.0/8", "not a CIDR"),
            ("10.244.1.0/16", "did you mean 10.244.0.0/16?"),
            ("10.0.0.0/8/8", "not a CIDR"),
            ("fd00::1/64", "did you mean fd00::/64?"),
            ("10.0.0.0/999", "0 to 32"),
        ] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Cidr::around("010.0.0.0/8").is_ok(), "kube-proxy reads it");
        assert_eq!(parse_ranges("10.0.0.0/16,fd00::/56").map(|ranges| ranges.len()), Ok(2));
        for text in ["", "10.0.0.0/16,10.1.0.0/16", "10.0.0.0/16, fd00::/56", "10.0.0.0/16,fd00::/56,fd01::/56"] {
            assert!(parse_ranges(text).is_err(), "{text}");
        }
    }

    #[test]
    fn overlaps() {
        for (a, b, overlap) in [
            ("10.96.0.0/12", "10.100.0.0/16", true),
            ("10.244.0.0/16", "10.96.0.0/12", false),
            ("10.96.0.0/12", "10.112.0.0/16", false),
            ("0.0.0.0/0", "10.0.0.0/8", true),
            ("::/0", "10.0.0.0/8", false),
            ("fd00::/108", "fd00::/56", true),
        ] {
            let (a, b): (Cidr, Cidr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((a.overlaps(b), b.overlaps(a)), (overlap, overlap), "{a} {b}");
        }
    }
}
