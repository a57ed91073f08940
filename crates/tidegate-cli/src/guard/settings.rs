//! What `guard` was asked for, by flags and policy, checked: settings that exist can be served. It opens no
//! socket and looks no name up.

use super::args::GuardArgs;
use super::listener::Listener;
use crate::cli::{AdminAddr, LogFormat};
use crate::config::Secret;
use crate::error::Failure;
use crate::logs;
use crate::settings::AdminListen;
use rustls::ClientConfig;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegate::Tls;
use tidegate_guard::{Policy, Upstream};

/// Checked settings of `tidegate guard`.
pub(super) struct Settings {
    pub(super) listen: SocketAddr,
    pub(super) admin: Option<AdminListen>,
    pub(super) workers: usize,
    pub(super) policy: Arc<Policy>,
    /// Where events are written.
    pub(super) audit: Option<PathBuf>,
    pub(super) admin_token: Option<Secret>,
    pub(super) target: Target,
    pub(super) tls: Option<Listener>,
    /// For an upstream behind TLS.
    pub(super) upstream_tls: Option<Arc<ClientConfig>>,
    pub(super) drain: Duration,
    pub(super) log_format: LogFormat,
    pub(super) log: String,
}

/// The server to protect, as it was named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) secure: bool,
}

impl Settings {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn load(args: &GuardArgs) -> Result<Settings, Failure> {
        let listen = args
            .listen
            .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        let upstream = args.upstream.as_deref();
        let target = Target::parse(upstream.expect("clap asks for it"))?;
        let file = args.policy.as_deref();
        let policy = asked_for(args)?;
        super::keys::read(&policy, file)?;
        let folder = file.and_then(Path::parent);
        let log = args.log.clone().unwrap_or_else(|| "info".to_owned());
        logs::check(&log)?;
        let settings = Settings {
            listen,
            admin: admin(args, listen),
            workers: args.workers.map_or_else(
                || std::thread::available_parallelism().map_or(1, usize::from),
                usize::from,
            ),
            audit: policy
                .audit
                .as_ref()
                .map(|audit| folder.unwrap_or(Path::new("")).join(audit)),
            admin_token: args
                .admin_token
                .as_deref()
                .filter(|token| !token.trim().is_empty())
                .map(Secret::new),
            policy,
            tls: Listener::read(args)?,
            upstream_tls: upstream_tls(args, target.secure)?,
            target,
            drain: Duration::from_secs(args.drain.map_or(30, u64::from)),
            log_format: logs::format(args.log_format),
            log,
        };
        if !listen.ip().is_loopback() && settings.tls.is_none() && !args.allow_plain {
            return Err(Failure::usage(format!(
                "{listen} can be reached by others, and without TLS they can read and change everything; \
                 give --tls-cert and --tls-key, or say --allow-plain"
            )));
        }
        Ok(settings)
    }
}

impl Target {
    /// Reads `ws://host[:port]` or `wss://host[:port]`.
    fn parse(text: &str) -> Result<Target, Failure> {
        let wrong = || {
            Failure::usage(format!(
                "--upstream {text}: expected ws://host:port or wss://host:port, without a path"
            ))
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(wrong()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // An origin's host and port are what we need: one spelling, no user, no path.
        let scheme = if secure { "https" } else { "http" };
        let origin = tidegate_proto::handshake::Origin::parse(&format!("{scheme}://{authority}"))
            .map_err(|_| wrong())?;
        let host = origin.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        Ok(Target {
            host: bare.unwrap_or(host).to_owned(),
            port: origin.port().ok_or_else(wrong)?,
            secure,
        })
    }

    /// Where it is now. It may take as long as the system's resolver does.
    pub(super) fn look_up(&self) -> std::io::Result<Upstream> {
        let mut addresses: Vec<SocketAddr> =
            (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(self.at(addresses))
    }

    /// The same server at these addresses.
    pub(super) fn at(&self, addresses: Vec<SocketAddr>) -> Upstream {
        Upstream {
            addresses,
            server_name: self.secure.then(|| self.host.as_str().into()),
        }
    }

    /// Whether it was named by its address, which does not change.
    pub(super) fn is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}

/// The policy that these flags name, if what it asks of clients is asked of them.
///
/// # Errors
/// As [`policy`], and a policy about certificates that no client is asked for.
pub(super) fn asked_for(args: &GuardArgs) -> Result<Arc<Policy>, Failure> {
    let file = args.policy.as_deref();
    let policy = policy(file)?;
    if args.tls_client_ca.is_none() {
        if let Some(what) = policy.about_certificates() {
            let shown = file.unwrap_or(Path::new("policy")).display();
            return Err(Failure::usage(format!(
                "{shown}: {what} is about clients' certificates, and clients are asked for none: give --tls-client-ca"
            )));
        }
    }
    Ok(policy)
}

/// The policy, from its file or as it is without one; ready to judge.
///
/// # Errors
/// The file and what is wrong with it, with line and column.
pub(super) fn policy(file: Option<&Path>) -> Result<Arc<Policy>, Failure> {
    let policy = match file {
        None => Policy::default(),
        Some(file) => read(file)?,
    };
    policy.compile();
    Ok(Arc::new(policy))
}

fn read(file: &Path) -> Result<Policy, Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{shown}: it cannot be read: {error}")))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let named =
        |name: &Path| std::fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
    Policy::parse_with(&text, &named).map_err(|fault| Failure::usage(format!("{shown}:{fault}")))
}

fn admin(args: &GuardArgs, listen: SocketAddr) -> Option<AdminListen> {
    match args.admin {
        Some(AdminAddr::Off) => None,
        Some(AdminAddr::On(address)) => Some(AdminListen {
            address,
            asked_for: true,
        }),
        None => {
            let port = if listen.port() == 0 { 0 } else { ADMIN_PORT };
            Some(AdminListen {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                asked_for: false,
            })
        }
    }
}

fn upstream_tls(args: &GuardArgs, secure: bool) -> Result<Option<Arc<ClientConfig>>, Failure> {
    let failed = |error: tidegate::TlsError| Failure::failed(format!("--upstream-ca: {error}"));
    let Some(file) = &args.upstream_ca else {
        let platform = secure.then(Tls::platform).transpose();
        return platform
            .map(|tls| tls.map(|tls| tls.client_config()))
            .map_err(|error| Failure::failed(format!("--upstream: {error}")));
    };
    let pem = std::fs::read(file)
        .map_err(|error| Failure::failed(format!("--upstream-ca {}: {error}", file.display())))?;
    let tls = Tls::builder()
        .root_pem(&pem)
        .and_then(tidegate::dial::TlsBuilder::build)
        .map_err(failed)?;
    Ok(Some(tls.client_config()))
}

const PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_named_by_scheme_host_and_port() {
        let rows = [
            ("ws://127.0.0.1:9000", Some(("127.0.0.1", 9000, false))),
            ("ws://127.0.0.1:9000/", Some(("127.0.0.1", 9000, false))),
            (
                "WSS://Backend.internal",
                Some(("backend.internal", 443, true)),
            ),
            ("http://backend", Some(("backend", 80, false))),
            ("wss://[::1]:1", Some(("::1", 1, true))),
            ("ws://127.0.0.1:9000/path", None),
            ("ws://user@host", None),
            ("ws://host:0x", None),
            ("127.0.0.1:9000", None),
            ("tcp://host:1", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|(host, port, secure)| Target {
                host: host.to_owned(),
                port,
                secure,
            });
            assert_eq!(Target::parse(text).ok(), expected, "{text:?}");
        }
    }
}
