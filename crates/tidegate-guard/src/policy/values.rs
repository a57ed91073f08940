//! Single values of a policy that are checked as they are read, so that a fault has its place: origins, host
//! names, networks, tokens, rates, close codes. What values mean together is decided in `resolve`.

use crate::inspect::rate::Rate;
use crate::written::Size;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;
use tidegate_proto::handshake::Origin;

/// An allowed origin.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct OriginText(pub(super) Origin);

impl<'de> Deserialize<'de> for OriginText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<OriginText, D::Error> {
        let text = String::deserialize(from)?;
        let origin =
            Origin::parse(&text).map_err(|bad| D::Error::custom(format!("{text:?}: {bad}")))?;
        match origin.scheme() {
            "http" | "https" => Ok(OriginText(origin)),
            _ => Err(D::Error::custom(format!(
                "{text:?}: a web page's origin begins with https:// or http://"
            ))),
        }
    }
}

/// A host name or address we answer to, without a port, as it is compared; or `*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HostText(pub(super) Box<str>);

impl<'de> Deserialize<'de> for HostText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<HostText, D::Error> {
        let text = String::deserialize(from)?;
        if text == "*" {
            return Ok(HostText("*".into()));
        }
        // An origin's host is what we compare: lower case, IPv6 in one spelling, no user, no path.
        match Origin::parse(&format!("https://{text}")) {
            Ok(origin) if origin.port() == Some(443) && !text.ends_with(":443") => {
                Ok(HostText(origin.host().into()))
            }
            _ => Err(D::Error::custom(format!(
                "{text:?} is no host name; write \"api.example\", \"192.0.2.1\" or \"[::1]\", without a port"
            ))),
        }
    }
}

/// Addresses with a common beginning (CIDR).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    first: u128,
    bits: u32,
}

impl Network {
    /// Whether an address is one of them; an IPv4 address in IPv6 form counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = self.first ^ wide(address);
        self.bits == 0 || differing >> (128 - self.bits) == 0
    }

    /// Reads `192.0.2.0/24`, `2001:db8::/32` or a single address.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (most, offset) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let bits = bits.unwrap_or(most);
        (bits <= most).then(|| Network {
            first: wide(address),
            bits: bits + offset,
        })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (
            std::net::Ipv6Addr::from(self.first).to_canonical(),
            self.bits,
        ) {
            (IpAddr::V4(v4), bits @ 96..) => write!(f, "{v4}/{}", bits - 96),
            (_, bits) => write!(f, "{}/{bits}", std::net::Ipv6Addr::from(self.first)),
        }
    }
}

/// IPv4 addresses in their IPv6 form, so that one comparison does for both.
fn wide(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        let text = String::deserialize(from)?;
        Network::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no network; write \"192.0.2.0/24\", \"2001:db8::/32\" or one address"
            ))
        })
    }
}

/// A token of RFC 9110 §5.6.2: subprotocols, cookie names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token(pub(super) Box<str>);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Token, D::Error> {
        let text = String::deserialize(from)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match !text.is_empty() && text.bytes().all(fits) {
            true => Ok(Token(text.into())),
            false => Err(D::Error::custom(format!(
                "{text:?} is no token: letters, digits and !#$%&'*+-.^_`|~ only"
            ))),
        }
    }
}

/// A JSON pointer (RFC 6901) to a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pointer(pub(super) String);

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pointer, D::Error> {
        let text = String::deserialize(from)?;
        match text.starts_with('/') {
            true => Ok(Pointer(text)),
            false => Err(D::Error::custom(format!(
                "{text:?} is no JSON pointer; write \"/member\" or \"/member/inner\""
            ))),
        }
    }
}

/// `{ per_second = 10, burst = 20 }`; for octets `{ per_second = "1MiB", burst = "2MiB" }`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct RateText(pub(super) Rate);

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RateText, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            per_second: Size,
            burst: Size,
        }
        let table = Table::deserialize(from)?;
        let units = |size: Size| u32::try_from(size.0).ok();
        units(table.per_second)
            .zip(units(table.burst))
            .and_then(|(per_second, burst)| Rate::new(per_second, burst).ok())
            .map(RateText)
            .ok_or_else(|| {
                D::Error::custom("a rate and its burst are at least 1 and less than 4GiB")
            })
    }
}

/// A close code that says: your credential has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EndCode(pub(super) u16);

impl<'de> Deserialize<'de> for EndCode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<EndCode, D::Error> {
        match u16::deserialize(from)? {
            code @ (1008 | 3000 | 4000..=4999) => Ok(EndCode(code)),
            code => Err(D::Error::custom(format!(
                "{code} cannot stand here; write 1008, 3000 (unauthorized) or one of 4000 to 4999"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read() {
        for (text, shown) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("192.0.2.1", Some("192.0.2.1/32")),
            ("::1", Some("::1/128")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/x", None),
            ("proxy.example", None),
        ] {
            let network = Network::parse(text).map(|network| network.to_string());
            assert_eq!(network.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let rows = [
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "::ffff:192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ];
        for (network, address, inside) in rows {
            let network = Network::parse(network).expect(network);
            assert_eq!(
                network.contains(address.parse().expect(address)),
                inside,
                "{address}"
            );
        }
        for bad in [
            "",
            "x",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "::/129",
            "192.0.2",
            "a.example",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
