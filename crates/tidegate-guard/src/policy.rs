//! [`Policy`]: what a guard lets through, parsed once. A value of it is valid; a text that is not gets a
//! [`Fault`] with line and column. It reads no file, no clock and no socket.
//!
//! ```
//! use tidegate_guard::Policy;
//!
//! let policy = Policy::parse("[[routes]]\nname = \"chat\"\nprefix = \"/chat\"\n").unwrap();
//! let found = policy.route("localhost", "/chat/%61").unwrap();
//! assert_eq!((&*found.route.name, &*found.path), ("chat", "/chat/a"));
//!
//! let fault = Policy::parse("[limits]\nmessage_sise = 1\n").unwrap_err();
//! assert_eq!(fault.to_string(), "2:1: unknown key message_sise; did you mean message_size?");
//! ```

mod content;
mod credentials;
mod fail;
mod identities;
mod origins;
mod path;
mod resolve;
mod table;
mod values;

pub use credentials::{Algorithm, Auth, Issuer, KeySources, Source};
pub use fail::{Fail, FailMode};
pub use identities::{CertificateName, CertificateRules, Identity};
pub use origins::{Missing, OriginFault, Origins, Word};
pub use path::{Confusing, PathRule};
pub use values::Network;

use crate::Rules;
use crate::behaviour::BehaviourRules;
use crate::guard::Budget;
use crate::inspect::rate::Rate;
use crate::proxies::Proxies;
use crate::written::Fault;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{Limits, Rejection, Timeouts};

/// What a guard lets through. Its default is what holds without a file: one route for every path, strict
/// protocol, same-origin pages, limits, budgets, content rules that only watch.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// Whether WebSockets may come in without TLS from other machines (loopback always may).
    pub allow_plain: bool,
    /// What happens to HTTP requests that ask for no WebSocket.
    pub plain_http: PlainHttp,
    /// Proxies in front of us whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Proxies,
    /// Whether the upstream is told the certificate that a client has shown, in `Client-Cert` (RFC 9440).
    pub client_cert: bool,
    /// How many connections there may be.
    pub connections: Connections,
    /// Where events are written; nowhere without it.
    pub audit: Option<PathBuf>,
    /// Whose tokens are believed.
    pub issuers: Vec<Arc<Issuer>>,
    hosts: Vec<Box<str>>,
    /// The most telling first: with hosts, exact, long.
    routes: Vec<Arc<Route>>,
}

/// What happens to HTTP requests that ask for no WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlainHttp {
    /// They go to the upstream, whole.
    #[default]
    Pass,
    /// They get 426.
    Refuse,
}

/// Caps that hold for the whole process, judged before the 101.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connections {
    /// All at once; then 503. Default: 50,000.
    pub total: NonZero<u64>,
    /// From one IPv4 address or one /64 of IPv6; then 429. Default: 256.
    pub per_ip: NonZero<u32>,
    /// Of one identity, where there are identities; then 429. Default: 64.
    pub per_identity: NonZero<u32>,
    /// Handshakes; then 503. Default: 500 a second, 1,000 at once.
    pub handshakes: Rate,
}

/// What holds for the connections of one route.
#[derive(Clone, PartialEq, Debug)]
pub struct Route {
    /// Its name in audit and metrics.
    pub name: Box<str>,
    /// Which paths it takes.
    pub path: PathRule,
    /// The hosts it is for; all we answer to when empty.
    pub hosts: Vec<Box<str>>,
    /// From which pages it may be opened.
    pub origins: Origins,
    /// The subprotocols.
    pub subprotocols: Subprotocols,
    /// Whether permessage-deflate is agreed on.
    pub compression: Compression,
    /// Most bytes that one received byte may inflate to, from 64 KiB of a message on; then 1009. Default: 100.
    pub max_ratio: NonZero<u32>,
    /// The credential; `None` asks for none and reads none.
    pub auth: Option<Auth>,
    /// Most connections of this route; then 429.
    pub connections: Option<NonZero<u32>>,
    /// Sizes, counts and waits.
    pub limits: RouteLimits,
    /// What each connection may send.
    pub budget: Budget,
    /// The content rules.
    pub rules: Rules,
    /// The schemas that messages of a direction must keep to; what is not named keeps to none.
    #[cfg(feature = "schema")]
    pub schemas: Vec<(crate::Direction, crate::SchemaRules)>,
    /// What is watched across messages.
    pub behaviour: Option<Arc<BehaviourRules>>,
    /// What happens when a stage cannot do its work.
    pub fail: Fail,
}

/// Which subprotocols a route speaks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subprotocols {
    /// Whatever is offered reaches the upstream. Default: no.
    pub any: bool,
    /// Those that reach the upstream. Default: none; a client that offers others gets its 101 without one.
    pub listed: Vec<Box<str>>,
    /// Whether a client that offers none of them is refused with 400.
    pub required: bool,
}

impl Subprotocols {
    /// Whether an offered one may reach the upstream.
    pub fn allows(&self, offered: &str) -> bool {
        self.any || self.listed.iter().any(|name| **name == *offered)
    }
}

/// Whether messages are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Offers are declined: nothing an attacker chooses is compressed together with secrets.
    #[default]
    Declined,
    /// Each message by itself (no context takeover), inflated within the message limit before it is judged.
    On,
}

/// Sizes, counts and waits of one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteLimits {
    /// What the protocol layer enforces.
    pub protocol: Limits,
    /// From a message's first octet to its last; then 1008. Default: 30 s.
    pub message_deadline: Duration,
    /// Without a message in either direction; then 1001. Default: none.
    pub idle: Option<Duration>,
    /// From the 101 on; then 1001. Default: none.
    pub lifetime: Option<Duration>,
    /// Pings and their answers.
    pub timeouts: Timeouts,
}

/// A route, and the path to ask the upstream for: the one that was matched, in one spelling.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// The path, percent-encoded.
    pub path: String,
}

/// Why a request has no route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoute {
    /// `Host` names none of ours: 421.
    Host,
    /// No route takes the path: 404.
    Path,
    /// The path can be read in two ways: 400.
    Confusing(Confusing),
}

impl NoRoute {
    /// Its name in audit and metrics.
    pub fn name(self) -> &'static str {
        match self {
            NoRoute::Host => "host",
            NoRoute::Path => "path",
            NoRoute::Confusing(_) => "path_confusion",
        }
    }

    /// The answer.
    pub fn rejection(self) -> Rejection {
        match self {
            NoRoute::Host => Rejection::new(421, "this host is not served here"),
            NoRoute::Path => Rejection::new(404, "there is nothing here"),
            NoRoute::Confusing(why) => Rejection::new(400, why.to_string()),
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::parse("").expect("the empty text is a policy")
    }
}

impl Policy {
    /// Reads a policy that names no schemas.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub fn parse(text: &str) -> Result<Policy, Fault> {
        Policy::parse_with(text, &|_| Err("there are no files here".to_owned()))
    }

    /// Reads a policy; `files` gives the text of a schema that it names, or says why it cannot.
    ///
    /// # Errors
    /// The first [`Fault`]; of a schema, where its file is named.
    pub fn parse_with(
        text: &str,
        files: &dyn Fn(&Path) -> Result<String, String>,
    ) -> Result<Policy, Fault> {
        resolve::policy(text, files)
    }

    /// Compiles the detectors, where a route asks for content rules: once in a process, some 50 milliseconds and 7 MiB. Without
    /// it the first message that is judged does, and whoever shares its worker waits.
    pub fn compile(&self) {
        if self.routes.iter().any(|route| route.rules.any()) {
            crate::inspect::compile();
        }
    }

    /// All routes, the most telling first.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What of it is about certificates that clients show, if anything is: without a listener that asks for them it would never
    /// let anybody in, or never say anything.
    pub fn about_certificates(&self) -> Option<&'static str> {
        let source = |auth: &Auth| auth.sources.contains(&Source::Certificate);
        let asked = |route: &Arc<Route>| route.auth.as_ref().is_some_and(source);
        if self.routes.iter().any(asked) {
            return Some("\"certificate\" in sources");
        }
        self.client_cert.then_some("client_cert")
    }

    /// The route for a request's host (as [`tidegate_proto::Request::host`] gives it, without a port) and
    /// path (as sent, without the query).
    ///
    /// # Errors
    /// [`NoRoute`], judged in this order: the host, the path's form, the path.
    pub fn route(&self, host: &str, path: &str) -> Result<Found<'_>, NoRoute> {
        let host = host.trim_end_matches('.');
        let general = self.answers_to(host);
        let special = |route: &Route| route.hosts.iter().any(|own| **own == *host);
        if !general && !self.routes.iter().any(|route| special(route)) {
            return Err(NoRoute::Host);
        }
        let path = path::decoded(path).map_err(NoRoute::Confusing)?;
        self.routes
            .iter()
            .filter(|route| special(route) || (route.hosts.is_empty() && general))
            .find(|route| route.path.takes(&path))
            .map(|route| Found {
                route,
                path: path::spelled(&path),
            })
            .ok_or(NoRoute::Path)
    }

    /// Whether a name is ours apart from those that routes name: loopback names, and the listed ones.
    fn answers_to(&self, host: &str) -> bool {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let address = bare.unwrap_or(host).parse::<IpAddr>();
        host == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
            || self
                .hosts
                .iter()
                .any(|own| matches!(&**own, "*") || **own == *host)
    }
}

#[cfg(test)]
mod tests;
