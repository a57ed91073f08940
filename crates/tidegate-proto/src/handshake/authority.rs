//! `host[:port]` of RFC 3986 §3.2 as `Host`, request targets and origins carry it; it never resolves a name.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A host, not empty, and the port if one was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Authority<'a> {
    /// As sent; an IPv6 address with its brackets.
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `None` when it is no `uri-host [":" port]`: empty, with user information, with spaces, with a port
    /// beyond 65535 and so on. An empty port (`host:`) counts as none.
    pub(crate) fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(inner) => text.split_at(inner.find(']')? + 2),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some("") => None,
            Some(digits) => Some(port(digits)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        is_host(host).then_some(Authority { host, port })
    }

    /// The host in the form that is compared: lower case, IPv6 addresses in their canonical spelling.
    pub(crate) fn canonical_host(&self) -> Cow<'a, str> {
        if let Some(address) = ipv6(self.host) {
            return Cow::Owned(format!("[{address}]"));
        }
        match self.host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(self.host.to_ascii_lowercase()),
            false => Cow::Borrowed(self.host),
        }
    }
}

fn port(digits: &str) -> Option<u16> {
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| digits.parse().ok()).flatten()
}

fn is_host(host: &str) -> bool {
    ipv6(host).is_some() || is_registered_name(host.as_bytes())
}

fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// `reg-name`, which IPv4 addresses are too: unreserved characters, sub-delims and percent-escapes.
fn is_registered_name(host: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(byte);
    let escapes = host.split(|&byte| byte == b'%').skip(1);
    let escaped = |rest: &[u8]| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit);
    !host.is_empty() && host.iter().all(allowed) && escapes.into_iter().all(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split() {
        let rows = [
            ("example.com", "example.com", None),
            ("EXAMPLE.com:8181", "EXAMPLE.com", Some(8181)),
            ("localhost:", "localhost", None),
            ("127.0.0.1:0", "127.0.0.1", Some(0)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:65535", "[2001:DB8::1]", Some(65535)),
            ("xn--nxasmq6b", "xn--nxasmq6b", None),
            ("a%20b", "a%20b", None),
            ("example.com.", "example.com.", None),
        ];
        for (text, host, port) in rows {
            assert_eq!(
                Authority::parse(text),
                Some(Authority { host, port }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for bad in [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+80",
            "a: 80",
            "a b",
            "u@a",
            "u:p@a",
            "a/",
            "a?",
            "a#",
            "a\\b",
            "[",
            "[]",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[::1%25eth0]",
            "[127.0.0.1]",
            "[v1.x]",
            "a%",
            "a%2",
            "a%zz",
            "é",
            "a,b",
            "a\"b",
            "<a>",
            "a\tb",
            "a:99999999999999999999",
        ] {
            assert_eq!(Authority::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn spellings_of_one_host_compare_equal() {
        for (one, other) in [
            ("A.Example", "a.eXample"),
            ("[::1]", "[0:0:0:0:0:0:0:1]"),
            ("[2001:DB8::A]", "[2001:db8:0::a]"),
        ] {
            let host = |text| Authority::parse(text).unwrap().canonical_host();
            assert_eq!(host(one), host(other));
        }
    }
}
