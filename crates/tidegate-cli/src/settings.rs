//! What `serve` was asked for, by file, environment and flags, checked: settings that exist can be served. It
//! opens no socket.

use crate::admission::AdmissionLimits;
use crate::cli::{AdminAddr, LogFormat, ServeArgs, parse_admin, parse_listen};
use crate::config::{Config, Secret};
use crate::control::upstream::Feed;
use crate::error::Failure;
use crate::guard::serving;
use crate::hosts::Hosts;
use crate::leaving::Pace;
use crate::{logs, tls};
use rustls::ServerConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegate_guard::policy::Network;
use tidegate_guard::{Budget, Policy, Proxies, Rate};
use tidegate_hub::HubConfig;
use tidegate_proto::OriginPolicy;
use tidegate_proto::handshake::Origin;

/// Checked settings of `tidegate serve`: what holds until the process ends.
pub(crate) struct Settings {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// Worker threads.
    pub(crate) workers: usize,
    /// Anonymous clients, open channels, the demo and its market, the wire observer.
    pub(crate) dev: bool,
    /// How lines on stderr look.
    pub(crate) log_format: LogFormat,
    /// Where the admin listener listens, if there is one.
    pub(crate) admin: Option<AdminListen>,
    /// The file all this was read from.
    pub(crate) config_file: Option<PathBuf>,
    /// What is published from elsewhere.
    pub(crate) feeds: Vec<Feed>,
    /// What a reload may change.
    pub(crate) live: Live,
}

/// Where the admin listener listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AdminListen {
    /// The address.
    pub(crate) address: SocketAddr,
    /// Somebody named it: if it is taken, we do not look for another.
    pub(crate) asked_for: bool,
}

/// What a reload may change.
pub(crate) struct Live {
    /// https and wss, or http and ws. A reload may bring other certificates, but not switch TLS on or off.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Which log lines to write.
    pub(crate) log: String,
    /// How long a drain may take in all.
    pub(crate) drain: Duration,
    /// What workers look up when a client comes.
    pub(crate) door: Arc<DoorRules>,
    /// The hub's settings, without keys that are still to be fetched.
    pub(crate) hub: HubConfig,
    /// Who may use the HTTP API.
    pub(crate) api_keys: Vec<Secret>,
    /// Longest body of an API request, in bytes.
    pub(crate) api_body: usize,
    /// Who may use the admin listener.
    pub(crate) admin_token: Option<Secret>,
    /// Where connection tokens' keys come from, and those of subscription tokens.
    pub(crate) jwks: [Option<KeySource>; 2],
}

/// What workers look up when a client comes, and when it has to leave.
#[derive(Clone, Debug)]
pub(crate) struct DoorRules {
    /// Whose pages may connect.
    pub(crate) origins: OriginPolicy,
    /// What we are called.
    pub(crate) hosts: Hosts,
    /// Who may say whom it speaks for.
    pub(crate) proxies: Proxies,
    /// How many may come.
    pub(crate) admission: AdmissionLimits,
    /// How much each client may send.
    pub(crate) budget: Budget,
    /// What stands before the hub.
    pub(crate) guard: Option<Arc<Policy>>,
    /// How clients leave when the server drains; of all workers together.
    pub(crate) pace: Pace,
}

#[cfg(test)]
impl DoorRules {
    /// Rules that hold nobody up.
    pub(crate) fn of_hosts(hosts: Hosts) -> DoorRules {
        DoorRules {
            origins: OriginPolicy::SameOrigin,
            hosts,
            proxies: Proxies::default(),
            admission: AdmissionLimits::default(),
            budget: Budget::default(),
            guard: None,
            pace: Pace {
                window: Duration::ZERO,
                per_second: 1_000,
            },
        }
    }
}

/// A JSON Web Key Set on the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeySource {
    /// `https://…`, or `http://` of a loopback address.
    pub(crate) url: String,
    /// How long a set is good.
    pub(crate) refresh: Duration,
}

impl Settings {
    /// Reads the configuration and checks all that was asked for.
    ///
    /// # Errors
    /// What cannot be (usage), or a certificate that cannot be used (failed).
    pub(crate) fn load(args: &ServeArgs) -> Result<Settings, Failure> {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let config = Config::load(args.config.as_deref(), environment)?;
        Settings::check(args, &config)
    }

    /// Checks flags and configuration together.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub(crate) fn check(args: &ServeArgs, config: &Config) -> Result<Settings, Failure> {
        let listen = listen(args, config)?;
        let dev = development(args, config, listen);
        check_exposure(args, config, listen, dev)?;
        let file = &config.file;
        let workers = args.workers.or(file.server.workers);
        if workers.is_some_and(|n| !(1..=512).contains(&n)) {
            return Err(config.fault(&["server", "workers"], "from 1 to 512"));
        }
        Ok(Settings {
            listen,
            workers: workers.map_or_else(cores, usize::from),
            dev,
            log_format: logs::format(args.log_format.or(file.log.format)),
            admin: admin(args, config, listen)?,
            config_file: args.config.clone(),
            feeds: Feed::read(&args.feed, &args.feed_hello).map_err(Failure::usage)?,
            live: Live::check(args, config, listen, dev)?,
        })
    }
}

impl Live {
    fn check(
        args: &ServeArgs,
        config: &Config,
        listen: SocketAddr,
        dev: bool,
    ) -> Result<Live, Failure> {
        let file = &config.file;
        let drain = drain(args, config);
        let log = args.log.clone().or_else(|| file.log.filter.clone());
        let log = log.unwrap_or_else(|| "info".to_owned());
        logs::check(&log)?;
        let hosts: &[String] = if args.host.is_empty() {
            &file.server.hosts
        } else {
            &args.host
        };
        let live = Live {
            tls: tls::settings(args, config)?,
            log,
            drain,
            door: Arc::new(DoorRules {
                origins: origins(args, config)?,
                hosts: Hosts::new(listen.ip(), hosts),
                proxies: proxies(config)?,
                admission: AdmissionLimits {
                    connections: file.limits.connections,
                    per_ip: file.limits.connections_per_ip,
                    handshakes: file
                        .limits
                        .handshakes
                        .map(|rate| (rate.per_second, rate.burst)),
                },
                budget: budget(config)?,
                guard: args.guard.as_deref().map(serving::read).transpose()?,
                pace: Pace {
                    window: file.drain.window.0.min(drain / 2),
                    per_second: file.drain.per_second,
                },
            }),
            hub: config.hub(dev)?,
            api_keys: api_keys(config)?,
            api_body: file.api.max_body.0,
            admin_token: admin_token(config)?,
            jwks: [
                key_source(config, "tokens")?,
                key_source(config, "subscription_tokens")?,
            ],
        };
        Ok(live)
    }
}

fn listen(args: &ServeArgs, config: &Config) -> Result<SocketAddr, Failure> {
    match (args.listen, &config.file.server.listen) {
        (Some(address), _) => Ok(address),
        (None, Some(text)) => {
            parse_listen(text).map_err(|why| config.fault(&["server", "listen"], why))
        }
        (None, None) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 8000))),
    }
}

/// On loopback a server without a configuration shows what there is; anywhere else this is said aloud.
fn development(args: &ServeArgs, config: &Config, listen: SocketAddr) -> bool {
    let by_itself = listen.ip().is_loopback() && config.path().is_none();
    args.dev || config.file.server.development || by_itself
}

/// Loopback implies plain text; any other address has to ask for it aloud, and needs somebody who may connect.
fn check_exposure(
    args: &ServeArgs,
    config: &Config,
    address: SocketAddr,
    dev: bool,
) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let file = &config.file;
    let encrypted = args.dev_cert
        || args.tls_cert.is_some()
        || args.tls_key.is_some()
        || file.tls.certificate.is_some()
        || file.tls.key.is_some();
    if !encrypted && !args.allow_plain && !file.server.allow_plain {
        return Err(Failure::usage(format!(
            "{address} can be reached by others, and without TLS they can read and change everything; \
             give --tls-cert and --tls-key, or say --allow-plain"
        )));
    }
    if !dev && !file.clients.anonymous && !file.tokens.has_keys() {
        return Err(Failure::usage(format!(
            "{address} can be reached by others, and nobody could connect: name the tokens' keys in [tokens] of \
             a --config file, or let everyone in with anonymous = true in [clients], or say --dev for \
             development mode (anonymous clients, open channels), or listen on 127.0.0.1"
        )));
    }
    Ok(())
}

fn origins(args: &ServeArgs, config: &Config) -> Result<OriginPolicy, Failure> {
    let key = ["server", "allowed_origins"];
    let from_file = &config.file.server.allowed_origins;
    let any_in_file = args.origin.is_empty() && from_file.iter().any(|origin| origin == "*");
    if args.any_origin || any_in_file {
        return Ok(OriginPolicy::Any);
    }
    let expected = "expected an origin such as https://app.example:8443";
    let parse = |text: &String, fault: &dyn Fn(String) -> Failure| {
        Origin::parse(text).map_err(|_| fault(format!("{text}: {expected}")))
    };
    let listed: Result<Vec<Origin>, Failure> = match args.origin.as_slice() {
        [] => from_file
            .iter()
            .map(|text| parse(text, &|what| config.fault(&key, what)))
            .collect(),
        flags => flags
            .iter()
            .map(|text| parse(text, &|what| Failure::usage(format!("--origin {what}"))))
            .collect(),
    };
    match listed? {
        none if none.is_empty() => Ok(OriginPolicy::SameOrigin),
        listed => Ok(OriginPolicy::Listed(listed)),
    }
}

fn proxies(config: &Config) -> Result<Proxies, Failure> {
    let table = &config.file.server;
    let networks = table.trusted_proxies.iter().map(|text| {
        Network::parse(text).ok_or_else(|| {
            let what = format!("{text}: expected an address or a network such as 10.0.0.0/8");
            config.fault(&["server", "trusted_proxies"], what)
        })
    });
    let networks: Result<Vec<Network>, Failure> = networks.collect();
    Ok(Proxies::new(networks?, table.proxy_header))
}

fn admin(
    args: &ServeArgs,
    config: &Config,
    listen: SocketAddr,
) -> Result<Option<AdminListen>, Failure> {
    let key = ["admin", "listen"];
    let named = match (args.admin, &config.file.admin.listen) {
        (Some(address), _) => Some(address),
        (None, Some(text)) => Some(parse_admin(text).map_err(|why| config.fault(&key, why))?),
        (None, None) => None,
    };
    let address = match named {
        Some(AdminAddr::Off) => return Ok(None),
        Some(AdminAddr::On(address)) => address,
        None => {
            let port = if listen.port() == 0 { 0 } else { ADMIN_PORT };
            SocketAddr::from((Ipv4Addr::LOCALHOST, port))
        }
    };
    let admin = &config.file.admin;
    if !address.ip().is_loopback() && admin.token.is_none() && admin.token_file.is_none() {
        let what =
            format!("{address} can be reached by others; set token or token_file in [admin]");
        return Err(config.fault(&key, what));
    }
    Ok(Some(AdminListen {
        address,
        asked_for: named.is_some() || config.path().is_some(),
    }))
}

fn drain(args: &ServeArgs, config: &Config) -> Duration {
    let asked = args
        .drain
        .map(|seconds| Duration::from_secs(seconds.into()));
    asked
        .or(config.file.drain.deadline.map(|span| span.0))
        .unwrap_or(Duration::from_secs(30))
}

fn budget(config: &Config) -> Result<Budget, Failure> {
    let limits = &config.file.limits;
    let rate = |keys: [&str; 2], per_second: usize, burst: usize| {
        let within = |key: &str, n: usize| {
            let bad = || config.fault(&["limits", key], "from 1 to 4294967295");
            u32::try_from(n).map_err(|_| bad())
        };
        let (per_second, burst) = (within(keys[0], per_second)?, within(keys[1], burst)?);
        let key = keys[usize::from(per_second > 0)];
        Rate::new(per_second, burst).map_err(|why| config.fault(&["limits", key], why))
    };
    Ok(Budget {
        messages: rate(
            ["messages_per_second", "messages_burst"],
            limits.messages_per_second,
            limits.messages_burst,
        )?,
        bytes: rate(
            ["bytes_per_second", "bytes_burst"],
            limits.bytes_per_second.0,
            limits.bytes_burst.0,
        )?,
    })
}

fn api_keys(config: &Config) -> Result<Vec<Secret>, Failure> {
    let api = &config.file.api;
    let mut keys = api.keys.clone();
    if let Some(file) = &api.keys_file {
        keys.extend(config.secret_file(&["api", "keys_file"], file)?);
    }
    Ok(keys)
}

fn admin_token(config: &Config) -> Result<Option<Secret>, Failure> {
    let admin = &config.file.admin;
    match (&admin.token, &admin.token_file) {
        (Some(_), Some(_)) => Err(config.fault(
            &["admin", "token_file"],
            "there is a token too; keep one of them",
        )),
        (Some(token), None) => Ok(Some(token.clone())),
        (None, Some(file)) => {
            let tokens = config.secret_file(&["admin", "token_file"], file)?;
            Ok(tokens.into_iter().next())
        }
        (None, None) => Ok(None),
    }
}

fn key_source(config: &Config, table: &str) -> Result<Option<KeySource>, Failure> {
    let tokens = match table {
        "tokens" => &config.file.tokens,
        _ => &config.file.subscription_tokens,
    };
    let Some(url) = &tokens.jwks_url else {
        return Ok(None);
    };
    let refresh = tokens
        .jwks_refresh
        .map_or(Duration::from_secs(3_600), |span| span.0);
    if refresh < Duration::from_secs(10) {
        return Err(config.fault(&[table, "jwks_refresh"], "at least 10s"));
    }
    crate::control::jwks::check_url(url).map_err(|why| config.fault(&[table, "jwks_url"], why))?;
    Ok(Some(KeySource {
        url: url.clone(),
        refresh,
    }))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

const ADMIN_PORT: u16 = 8001;

/// The path of the configuration for messages.
pub(crate) fn name_of(file: Option<&Path>) -> String {
    file.map_or_else(
        || "the environment".to_owned(),
        |file| file.display().to_string(),
    )
}

#[cfg(test)]
mod tests;
