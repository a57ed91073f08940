//! Where a client comes from when a proxy stands between: the address that a proxy of ours has put into the request.
//! A field is believed only as far as it was written by a proxy that the configuration names.

use crate::policy::Network;
use serde::Deserialize;
use std::net::IpAddr;
use tidegate_proto::Request;

/// The proxies before us, and the field in which they say whom they speak for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies {
    networks: Vec<Network>,
    field: ProxyField,
}

/// In which field a proxy says whom it speaks for. Only one is read: a client could write the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyField {
    /// The custom: addresses, the client's first.
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl ProxyField {
    /// Its name in a request.
    pub fn name(self) -> &'static str {
        match self {
            ProxyField::XForwardedFor => "x-forwarded-for",
            ProxyField::Forwarded => "forwarded",
        }
    }
}

impl Proxies {
    /// These, which use that field.
    pub fn new(networks: Vec<Network>, field: ProxyField) -> Proxies {
        Proxies { networks, field }
    }

    /// For people to read.
    pub fn networks(&self) -> impl Iterator<Item = String> {
        self.networks.iter().map(ToString::to_string)
    }

    /// The field that is read.
    pub fn field(&self) -> ProxyField {
        self.field
    }

    /// The address that counts as the client's, of a request that came from `remote`.
    ///
    /// From the last entry to the first: each was written by the proxy behind it, and is believed as long as
    /// that one is ours. What is no address (`unknown`, `_hidden`) leaves the proxy that wrote it to answer.
    pub fn client(&self, remote: IpAddr, request: &Request) -> IpAddr {
        let named = |name: &str| name.eq_ignore_ascii_case(self.field.name());
        let lines = request.headers().filter(|(name, _)| named(name));
        self.client_by(remote, lines.map(|(_, value)| value))
    }

    /// The same of the field's lines in a request that is read already.
    pub fn client_by<'a>(&self, remote: IpAddr, lines: impl Iterator<Item = &'a [u8]>) -> IpAddr {
        let mut client = remote.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        for entry in entries(lines).into_iter().rev() {
            let Some(before) = self.address(entry) else {
                break;
            };
            client = before;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    fn address(&self, entry: &str) -> Option<IpAddr> {
        let node = match self.field {
            ProxyField::XForwardedFor => entry.trim(),
            // A quoted comma or semicolon would be in a node that is no address anyway.
            ProxyField::Forwarded => entry.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let is_for = name.trim().eq_ignore_ascii_case("for");
                is_for.then(|| value.trim().trim_matches('"'))
            })?,
        };
        node_address(node)
    }
}

/// The entries of all lines, in order; what is no UTF-8 is an entry that says nothing.
fn entries<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
    let texts = lines.map(|line| std::str::from_utf8(line).unwrap_or_default());
    texts.flat_map(|text| text.split(',')).collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node_address(node: &str) -> Option<IpAddr> {
    let bare = match node.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if node.matches(':').count() == 1 => node.split(':').next()?,
        None => node,
    };
    bare.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_proto::HeadLimits;
    use tidegate_proto::handshake::server::{Head, parse};

    fn request(fields: &str) -> Request {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        );
        match parse(head.as_bytes(), false, &HeadLimits::default()) {
            (Head::Upgrade(request), _) => request,
            _ => panic!("a request for a WebSocket: {head}"),
        }
    }

    fn proxies(field: ProxyField) -> Proxies {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"];
        let networks = networks.map(|text| Network::parse(text).expect("a network"));
        Proxies::new(networks.to_vec(), field)
    }

    #[test]
    fn a_field_is_believed_as_far_as_our_proxies_wrote_it() {
        let proxies = proxies(ProxyField::XForwardedFor);
        let rows = [
            ("10.1.2.3", "", "10.1.2.3"),
            ("10.1.2.3", "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            (
                "::ffff:10.1.2.3",
                "X-Forwarded-For: 192.0.2.1\r\n",
                "192.0.2.1",
            ),
            // The client wrote the first one itself.
            (
                "10.1.2.3",
                "X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\n",
                "192.0.2.1",
            ),
            (
                "10.1.2.3",
                "x-forwarded-for: 198.51.100.9\r\nX-Forwarded-For: 192.0.2.1, 10.9.9.9\r\n",
                "192.0.2.1",
            ),
            (
                "127.0.0.1",
                "X-Forwarded-For: 2001:db8::7\r\n",
                "2001:db8::7",
            ),
            (
                "127.0.0.1",
                "X-Forwarded-For: 192.0.2.1:5555\r\n",
                "192.0.2.1",
            ),
            (
                "127.0.0.1",
                "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n",
                "10.0.0.1",
            ),
            (
                "127.0.0.1",
                "X-Forwarded-For: unknown, 10.0.0.2\r\n",
                "10.0.0.2",
            ),
            ("127.0.0.1", "X-Forwarded-For: \r\n", "127.0.0.1"),
            // Not of ours: whatever it says.
            (
                "203.0.113.5",
                "X-Forwarded-For: 192.0.2.1\r\n",
                "203.0.113.5",
            ),
            // The other field is the client's own.
            ("10.1.2.3", "Forwarded: for=192.0.2.1\r\n", "10.1.2.3"),
        ];
        for (remote, fields, expected) in rows {
            let remote = remote.parse().expect("an address");
            let got = proxies.client(remote, &request(fields));
            assert_eq!(got.to_string(), expected, "{remote} {fields}");
        }
    }

    #[test]
    fn rfc_7239_is_read_where_it_is_said_to_be_there() {
        let proxies = proxies(ProxyField::Forwarded);
        let rows = [
            ("Forwarded: for=192.0.2.43\r\n", "192.0.2.43"),
            (
                "Forwarded: proto=https; For=\"[2001:db8:cafe::17]:4711\";by=203.0.113.43\r\n",
                "2001:db8:cafe::17",
            ),
            (
                "Forwarded: for=192.0.2.43, for=\"[2001:db8:1::2]\"\r\n",
                "192.0.2.43",
            ),
            ("Forwarded: for=_gazonk\r\n", "127.0.0.1"),
            ("Forwarded: by=203.0.113.43\r\n", "127.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1"),
        ];
        for (fields, expected) in rows {
            let remote = "127.0.0.1".parse().expect("an address");
            let got = proxies.client(remote, &request(fields));
            assert_eq!(got.to_string(), expected, "{fields}");
        }
    }

    #[test]
    fn without_proxies_the_socket_counts() {
        let request = request("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n");
        let remote = "127.0.0.1".parse().expect("an address");
        assert_eq!(Proxies::default().client(remote, &request), remote);
    }
}
