//! Which `Host` a request may name (security.md H12: DNS rebinding). It never looks a name up.
//!
//! A hostile page can point its own name at 127.0.0.1; the browser then counts it as same-origin with us.
//! What gives it away is the name in `Host`. So a server on loopback answers to loopback names only, and to
//! those given with `--host`. On other addresses we cannot know our names; there the check starts with the
//! first `--host`.

use std::net::{IpAddr, Ipv6Addr};

/// The hosts we answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hosts {
    listed: Vec<String>,
    any: bool,
}

impl Hosts {
    /// Loopback names and `listed` ones; anything at all when we listen for others and nothing is listed.
    pub(crate) fn new(listen: IpAddr, listed: &[String]) -> Hosts {
        Hosts {
            listed: listed
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            any: !listen.is_loopback() && listed.is_empty(),
        }
    }

    /// Whether a request for `authority` (`host` or `host:port`) is for us. The port does not count: we may
    /// stand behind a forwarded one.
    pub(crate) fn allow(&self, authority: &str) -> bool {
        if self.any {
            return true;
        }
        let Some(host) = host_of(authority) else {
            return false;
        };
        let host = host.to_ascii_lowercase();
        is_loopback(&host) || self.listed.contains(&host)
    }
}

/// The host without its port; `None` when that is no host at all.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(_) => {
            let end = authority.find(']')? + 1;
            authority.split_at(end)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_is_fine = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    (!host.is_empty() && port_is_fine).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback());
    }
    host == "localhost"
        || host
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_loopback_server_answers_to_loopback_names_and_listed_ones() {
        let hosts = Hosts::new(Ipv4Addr::LOCALHOST.into(), &["App.Example".into()]);
        for good in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
            "app.example",
            "APP.example:443",
        ] {
            assert!(hosts.allow(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example:8000",
            "128.0.0.1",
            "[::2]",
            "[::1",
            "::1",
            "localhost:80:80",
            "localhost:x",
            "127.1",
            "0x7f000001",
            "app.example.evil",
            "xapp.example",
        ] {
            assert!(!hosts.allow(bad), "{bad}");
        }
    }

    #[test]
    fn an_open_server_checks_once_a_host_is_listed() {
        let any = Ipv4Addr::UNSPECIFIED.into();
        assert!(Hosts::new(any, &[]).allow("whatever.example"));
        let listed = Hosts::new(any, &["app.example".into()]);
        assert!(listed.allow("app.example"));
        assert!(!listed.allow("whatever.example"));
    }
}
