//! Where the load goes: a URL taken apart, its address, and whether it is on this machine. It loads nothing.

use crate::error::{Exit, Failure};
use rustls_pki_types::ServerName;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tidegate::rustls::ClientConfig;

/// A server that can be reached.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For `Host`.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) secure: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A URL's parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Url {
    /// Reads `ws://host:port/path?query`; http and https mean the same.
    ///
    /// # Errors
    /// A usage error that says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Url, Failure> {
        let bad = |why: &str| Failure::usage(format!("{text:?} cannot be loaded: {why}"));
        let uri: hyper::Uri = text.parse().map_err(|_| bad("it is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(bad("the URL must begin with ws:// or wss://")),
        };
        let place = uri.authority().ok_or_else(|| bad("there is no host"))?;
        if place.as_str().contains('@') {
            return Err(bad(
                "user information belongs in a header: -H 'Authorization: …'",
            ));
        }
        // What follows the host is a colon and a port, or nothing.
        let behind = &place.as_str()[place.host().len()..];
        let port = match behind.strip_prefix(':') {
            None | Some("") => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| bad("the port must be a number from 1 to 65535"))?,
        };
        Ok(Url {
            secure,
            host: place.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: place.as_str().to_owned(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }

    /// Its address, which answers: one connection is made and closed again.
    ///
    /// # Errors
    /// A usage error for a machine that is not this one and was not allowed; exit code 3 when nobody answers.
    pub(crate) fn reach(&self, anywhere: bool, patience: Duration) -> Result<SocketAddr, Failure> {
        let place = (self.host.as_str(), self.port);
        let addresses: Vec<SocketAddr> = place
            .to_socket_addrs()
            .map_err(|error| not_connected(format!("{}: {error}", self.host)))?
            .collect();
        if let Some(other) = addresses
            .iter()
            .find(|at| !at.ip().to_canonical().is_loopback())
        {
            if !anywhere {
                return Err(Failure::usage(format!(
                    "{} is {}, not this machine; --i-am-authorized loads it all the same, if you may",
                    self.host,
                    other.ip()
                )));
            }
        }
        let mut why = format!("{} has no address", self.host);
        for address in addresses {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(_) => return Ok(address),
                Err(error) => why = format!("could not connect to {address}: {error}"),
            }
        }
        Err(not_connected(why))
    }
}

/// Exit code 3.
pub(crate) fn not_connected(line: String) -> Failure {
    Failure {
        exit: Exit::NotConnected,
        line,
    }
}

impl Target {
    /// Which address the connection with this number comes from, if not from just any: a machine has some 28,000
    /// ports for each pair of addresses, and the loopback has many addresses.
    pub(crate) fn source(&self, number: usize) -> Option<SocketAddr> {
        match self.address.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                let last = (number / PER_SOURCE % SOURCES) as u8 + 1;
                Some(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))
            }
            _ => None,
        }
    }
}

/// Connections in a row from one address.
const PER_SOURCE: usize = 512;
/// Addresses of the loopback that connections come from.
const SOURCES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("wss://localhost/a?b=c").unwrap();
        assert_eq!((url.secure, url.port, &*url.path), (true, 443, "/a?b=c"));
        let url = Url::parse("ws://[::1]:9001").unwrap();
        assert_eq!((&*url.host, url.port, &*url.path), ("::1", 9001, "/"));
        assert_eq!(url.authority, "[::1]:9001");
        for bad in [
            "",
            "a",
            "ftp://a/",
            "ws://",
            "ws://u:p@a/",
            "ws://a:x/",
            "ws://a:0/",
            "ws://a:65536/",
        ] {
            assert_eq!(Url::parse(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn other_machines_need_a_word_and_none_is_contacted_before() {
        let url = Url::parse("ws://192.0.2.1/").unwrap();
        let refused = url.reach(false, Duration::ZERO).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(
            refused.line.contains("--i-am-authorized"),
            "{}",
            refused.line
        );
    }
}
