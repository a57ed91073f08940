//! What the command line asks for, checked: nothing is contacted that must not be, nothing is asked that cannot be.

use super::args::{Common, DeflateHow, DialectName, Messages};
use super::dialect::Dialect;
use super::driver::SECOND;
use super::payload::STAMP;
use super::target::{Target, Url};
use super::usage;
use crate::error::Failure;
use crate::reach;
use rustls_pki_types::ServerName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegate::rustls::client::{ClientConfig, Resumption};
use tidegate::{Config, Limits, Timeouts, Tls};
use tidegate_proto::{Deflate, DeflateConfig};

/// A load that can be run.
pub(crate) struct Plan {
    pub(crate) mode: &'static str,
    pub(crate) url: String,
    pub(crate) target: Target,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) subprotocols: &'static [&'static str],
    pub(crate) deflate: Option<DeflateHow>,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) depth: usize,
    pub(crate) binary: bool,
    /// Messages a second in all; `None`: each when an earlier one is done.
    pub(crate) rate: Option<f64>,
    pub(crate) dialect: Option<DialectName>,
    pub(crate) channel: Option<String>,
    /// Nanoseconds, as all times here.
    pub(crate) warmup: u64,
    pub(crate) duration: u64,
    pub(crate) timeout: u64,
    pub(crate) connect_timeout: u64,
    pub(crate) max_bytes: u64,
    /// The server's processes; none when they are not known.
    pub(crate) pids: Vec<u32>,
    pub(crate) json: bool,
    pub(crate) html: Option<PathBuf>,
    pub(crate) quiet: bool,
}

impl Plan {
    /// Checks what all loads have in common, and reaches for the server once.
    ///
    /// # Errors
    /// Exit code 2 for what cannot be, 3 when nobody answers.
    pub(crate) fn check(
        mode: &'static str,
        common: &Common,
        default_connections: u32,
    ) -> Result<Plan, Failure> {
        let url = Url::parse(&common.url)?;
        let nanos = |seconds: f64| (seconds * SECOND as f64) as u64;
        let connections = common.connections.unwrap_or(default_connections) as usize;
        enough_files(connections)?;
        let secure = match url.secure {
            false => None,
            true => {
                let name = ServerName::try_from(url.host.clone())
                    .map_err(|error| Failure::usage(format!("{:?}: {error}", url.host)))?;
                let mut config = ClientConfig::clone(&*tls(common)?.client_config());
                // A handshake is a whole one, each time.
                config.resumption = Resumption::disabled();
                Some((Arc::new(config), name))
            }
        };
        let patience = Duration::from_secs_f64(common.timeout.max(0.001));
        let address = url.reach(common.i_am_authorized, patience)?;
        Ok(Plan {
            mode,
            pids: pids(common.server_pid, address)?,
            target: Target {
                address,
                authority: url.authority,
                path: url.path,
                secure,
            },
            url: common.url.clone(),
            headers: headers(&common.header)?,
            subprotocols: &[],
            deflate: common.deflate,
            connections,
            size: 0,
            depth: 1,
            binary: false,
            rate: None,
            dialect: None,
            channel: None,
            warmup: nanos(common.warmup),
            duration: nanos(common.duration),
            timeout: nanos(common.timeout),
            connect_timeout: nanos(common.connect_timeout),
            max_bytes: u64::from(common.max_gib) << 30,
            json: common.json,
            html: common.html.clone(),
            quiet: common.quiet,
        })
    }

    /// The same with messages.
    ///
    /// # Errors
    /// Exit code 2 when they would need too much memory.
    pub(crate) fn with_messages(self, messages: &Messages) -> Result<Plan, Failure> {
        let plan = Plan {
            depth: messages.depth as usize,
            rate: messages.rate,
            ..self
        };
        plan.with_size(messages.size, messages.binary)
    }

    /// The same with messages of this size.
    ///
    /// # Errors
    /// As [`Plan::with_messages`].
    pub(crate) fn with_size(self, size: u32, binary: bool) -> Result<Plan, Failure> {
        let size = size as usize;
        let under_way = (self.connections * self.depth) as u64 * size as u64;
        if under_way > MAX_UNDER_WAY {
            return Err(Failure::usage(format!(
                "{} connections with {} messages of {size} bytes under way need {} GiB; at most {} GiB may be \
                 under way",
                self.connections,
                self.depth,
                under_way >> 30,
                MAX_UNDER_WAY >> 30
            )));
        }
        Ok(Plan {
            size,
            binary,
            ..self
        })
    }

    /// The same with a vocabulary; without a channel it is one that nobody else uses.
    ///
    /// # Errors
    /// Exit code 2 when messages are too short to be told apart.
    pub(crate) fn with_dialect(
        self,
        dialect: DialectName,
        channel: Option<String>,
    ) -> Result<Plan, Failure> {
        if self.size < STAMP {
            return Err(Failure::usage(format!(
                "--size {} is too small: a publication is told from others by its first {STAMP} bytes",
                self.size
            )));
        }
        let channel = channel.unwrap_or_else(|| {
            if dialect == DialectName::Socketio {
                return "broadcast".into();
            }
            let mut random = [0; 4];
            // Without a random source the name is only less likely to be the only one.
            let _ = getrandom::fill(&mut random);
            format!("bench-{:08x}", u32::from_ne_bytes(random))
        });
        Ok(Plan {
            subprotocols: Dialect::subprotocols(dialect),
            dialect: Some(dialect),
            channel: Some(channel),
            ..self
        })
    }

    /// Limits and compression of the load's connections: what a server sends is for us to count, not to judge.
    pub(crate) fn config(&self) -> Config {
        Config {
            limits: Limits {
                max_message_size: 256 << 20,
                max_fragments: 1 << 20,
                outbox: 8 << 30,
                control_burst: u16::MAX,
                control_per_second: u16::MAX,
                ..Limits::default()
            },
            timeouts: Timeouts {
                ping_interval: None,
                ..Timeouts::default()
            },
            deflate: DeflateConfig {
                context_budget: 8 << 30,
                max_ratio: 2_000,
                threshold: 0,
                ..DeflateConfig::from(match self.deflate {
                    None => Deflate::Off,
                    Some(DeflateHow::Shared) => Deflate::Shared,
                    Some(DeflateHow::Takeover) => Deflate::Dedicated {
                        bits: 15,
                        mem_level: 8,
                    },
                })
            },
        }
    }
}

/// Raises the limit of open files as far as it goes.
///
/// # Errors
/// Exit code 2 when that is not enough.
#[cfg(unix)]
pub(crate) fn enough_files(connections: usize) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // What it is now is found below.
    let _ = setrlimit(Resource::Nofile, raised);
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < connections as u64 + OTHER_FILES => Err(Failure::usage(format!(
            "--connections {connections} is more than the {most} files this process may open (ulimit -n)"
        ))),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
pub(crate) fn enough_files(_connections: usize) -> Result<(), Failure> {
    Ok(())
}

fn pids(given: Option<u32>, address: std::net::SocketAddr) -> Result<Vec<u32>, Failure> {
    if !address.ip().to_canonical().is_loopback() {
        return match given {
            None => Ok(Vec::new()),
            Some(_) => Err(Failure::usage(
                "--server-pid is for a server on this machine",
            )),
        };
    }
    match given {
        None => Ok(usage::listeners(address.port())),
        Some(pid) if usage::Cpu::of(&[pid]).is_some() => Ok(vec![pid]),
        Some(pid) => Err(Failure::usage(format!(
            "--server-pid {pid}: there is no such process, or it may not be looked at"
        ))),
    }
}

fn headers(fields: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let read = |field: &String| reach::field(field).map(|(name, value)| (name.to_owned(), value));
    fields.iter().map(read).collect()
}

fn tls(common: &Common) -> Result<Tls, Failure> {
    let builder = reach::tls(common.cacert.as_deref(), common.insecure)?;
    builder.build().map_err(reach::tls_failed)
}

/// Most payload under way at once.
const MAX_UNDER_WAY: u64 = 4 << 30;
/// Files beside the connections.
const OTHER_FILES: u64 = 32;
