//! What the tables mean together: defaults, a route's words over the policy's, and the faults that only
//! several keys make. What it returns is a policy without contradictions.

use super::table::{AuthTable, File, IssuerTable, LimitsTable, OriginsTable, Placed, RouteTable};
use super::values::HostText;
use super::{
    Auth, CertificateName, CertificateRules, Compression, Connections, Fail, FailMode, Issuer,
    KeySources, Origins, PathRule, Policy, Route, RouteLimits, Source, Subprotocols, content, path,
};
use crate::behaviour::BehaviourRules;
use crate::guard::Budget;
use crate::inspect::rate::Rate;
use crate::proxies::{Proxies, ProxyField};
use crate::written::{self, Fault};
use crate::{Mode, Rules};
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{Limits, Timeouts};
use toml::Spanned;

/// Gives the text of a file, or says why it cannot.
pub(super) type Files<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// Reads a text.
pub(super) fn policy(text: &str, files: Files<'_>) -> Result<Policy, Fault> {
    let file: File = written::read(text)?;
    let resolver = Resolver {
        text,
        file: &file,
        files,
    };
    let issuers = file.issuers.iter().map(|table| resolver.issuer(table));
    Ok(Policy {
        allow_plain: file.server.allow_plain,
        plain_http: file.server.plain_http,
        trusted_proxies: Proxies::new(file.server.trusted_proxies.clone(), ProxyField::default()),
        client_cert: file.server.client_cert,
        connections: connections(&file),
        audit: file.audit.file.clone(),
        issuers: issuers.collect::<Result<_, _>>()?,
        hosts: file
            .server
            .hosts
            .iter()
            .map(|host| host.0.clone())
            .collect(),
        routes: resolver.routes()?,
    })
}

fn connections(file: &File) -> Connections {
    let table = &file.connections;
    Connections {
        total: table.total.unwrap_or(TOTAL),
        per_ip: table.per_ip.unwrap_or(PER_IP),
        per_identity: table.per_identity.unwrap_or(PER_IDENTITY),
        handshakes: table.handshakes.map_or(HANDSHAKES, |rate| rate.0),
    }
}

struct Resolver<'a> {
    text: &'a str,
    file: &'a File,
    #[cfg_attr(not(feature = "schema"), allow(dead_code))]
    files: Files<'a>,
}

impl Resolver<'_> {
    fn fault(&self, at: &Range<usize>, what: impl Into<String>) -> Fault {
        Fault::at(self.text, at.start, what)
    }

    fn routes(&self) -> Result<Vec<Arc<Route>>, Fault> {
        if self.file.routes.is_empty() {
            let everything = RouteTable::default();
            let route = self.route("default".into(), PathRule::Prefix("/".into()), &everything)?;
            return Ok(vec![Arc::new(route)]);
        }
        let mut routes: Vec<Arc<Route>> = Vec::new();
        for placed in &self.file.routes {
            let table = placed.get_ref();
            let (rule, place) = self.path(placed)?;
            let route = self.route(self.name(table, &rule)?, rule, table)?;
            let same = |other: &&Arc<Route>| other.path == route.path && shares_host(other, &route);
            if let Some(other) = routes.iter().find(same) {
                let what = format!("the route {} takes this path already", other.name);
                return Err(self.fault(&place, what));
            }
            if routes.iter().any(|other| other.name == route.name) {
                let place = table.name.as_ref().map_or(place, |name| name.span());
                return Err(self.fault(
                    &place,
                    format!("there are two routes called {}", route.name),
                ));
            }
            routes.push(Arc::new(route));
        }
        routes
            .sort_by_key(|route| std::cmp::Reverse((!route.hosts.is_empty(), route.path.weight())));
        Ok(routes)
    }

    fn path(&self, placed: &Spanned<RouteTable>) -> Result<(PathRule, Range<usize>), Fault> {
        let table = placed.get_ref();
        let (text, rule): (_, fn(Box<str>) -> PathRule) = match (&table.path, &table.prefix) {
            (Some(path), None) => (path, PathRule::Exact),
            (None, Some(prefix)) => (prefix, PathRule::Prefix),
            (Some(_), Some(prefix)) => {
                let what = "a route has path (exactly this one) or prefix (this one and all below), not both";
                return Err(self.fault(&prefix.span(), what));
            }
            (None, None) => {
                let what = "a route needs path = \"/...\" (exactly this one) or prefix = \"/...\" (this one and all below)";
                return Err(self.fault(&placed.span(), what));
            }
        };
        let decoded = path::decoded(text.get_ref())
            .map_err(|why| self.fault(&text.span(), format!("{:?}: {why}", text.get_ref())))?;
        Ok((rule(decoded.into()), text.span()))
    }

    /// Names are labels of metrics, so they are short and plain.
    fn name(&self, table: &RouteTable, rule: &PathRule) -> Result<Box<str>, Fault> {
        let Some(name) = &table.name else {
            let (PathRule::Exact(path) | PathRule::Prefix(path)) = rule;
            return Ok(path.clone());
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let text = name.get_ref();
        match !text.is_empty() && text.len() <= 64 && text.bytes().all(fits) {
            true => Ok(text.as_str().into()),
            false => Err(self.fault(
                &name.span(),
                "a route's name is 1 to 64 letters, digits and - _ . /",
            )),
        }
    }

    fn route(&self, name: Box<str>, path: PathRule, own: &RouteTable) -> Result<Route, Fault> {
        let file = self.file;
        let mut rules = content::rules(&file.rules, &own.rules);
        let fail = Fail {
            content: pick(&own.fail.content, &file.fail.content, by_mode(&rules)),
            credentials: pick(
                &own.fail.credentials,
                &file.fail.credentials,
                FailMode::Closed,
            ),
            audit: pick(&own.fail.audit, &file.fail.audit, by_mode(&rules)),
        };
        if rules.any() && !rules.modes.contains_key("overlimit") {
            let mode = match fail.content {
                FailMode::Closed => Mode::Block,
                FailMode::Open => Mode::Monitor,
            };
            rules.say("overlimit", mode);
        }
        let rate =
            |own: &Option<super::values::RateText>,
             all: &Option<super::values::RateText>,
             default: Rate| { own.or(*all).map_or(default, |rate| rate.0) };
        let (limits, connections) = self.limits(own)?;
        let budget = Budget::of_messages(limits.protocol.max_message_size);
        let auth = self.auth(own, fail.credentials)?;
        let behaviour = self.behaviour(own, auth.is_some())?;
        Ok(Route {
            name,
            path,
            hosts: self.hosts(&own.hosts)?,
            origins: origins(&file.origins, &own.origins),
            subprotocols: self.subprotocols(own)?,
            compression: pick(
                &own.compression.deflate,
                &file.compression.deflate,
                Compression::default(),
            ),
            max_ratio: pick(
                &own.compression.max_ratio,
                &file.compression.max_ratio,
                MAX_RATIO,
            ),
            auth,
            connections,
            limits,
            budget: Budget {
                messages: rate(&own.rates.messages, &file.rates.messages, budget.messages),
                bytes: rate(&own.rates.bytes, &file.rates.bytes, budget.bytes),
            },
            rules,
            #[cfg(feature = "schema")]
            schemas: content::schema::of(&file.schema, &own.schema, self.files, &|place, what| {
                self.fault(place, what)
            })?,
            behaviour,
            fail,
        })
    }

    fn hosts(&self, hosts: &[Spanned<HostText>]) -> Result<Vec<Box<str>>, Fault> {
        match hosts.iter().find(|host| &*host.get_ref().0 == "*") {
            Some(any) => Err(self.fault(
                &any.span(),
                "leave hosts out for a route that is for every host",
            )),
            None => Ok(hosts.iter().map(|host| host.get_ref().0.clone()).collect()),
        }
    }

    fn subprotocols(&self, own: &RouteTable) -> Result<Subprotocols, Fault> {
        let (own, all, place) = both(&own.subprotocols, &self.file.subprotocols);
        let allow = own
            .and_then(|t| t.allow.as_ref())
            .or(all.and_then(|t| t.allow.as_ref()));
        let names = allow.into_iter().flatten().map(|name| name.0.clone());
        let (any, listed): (Vec<_>, Vec<_>) = names.partition(|name| **name == *"*");
        let required = own
            .and_then(|t| t.required)
            .or(all.and_then(|t| t.required));
        let subprotocols = Subprotocols {
            any: !any.is_empty(),
            listed,
            required: required.unwrap_or(false),
        };
        if subprotocols.required && !subprotocols.any && subprotocols.listed.is_empty() {
            let what = "required needs allow = [\"...\"], the subprotocols to choose from";
            return Err(self.fault(&place, what));
        }
        Ok(subprotocols)
    }

    fn behaviour(
        &self,
        own: &RouteTable,
        has_auth: bool,
    ) -> Result<Option<Arc<BehaviourRules>>, Fault> {
        let Some(placed) = own.behaviour.as_ref().or(self.file.behaviour.as_ref()) else {
            return Ok(None);
        };
        match placed.get_ref().contradiction(has_auth) {
            Some(what) => Err(self.fault(&placed.span(), what)),
            None => Ok(Some(Arc::new(placed.get_ref().rules()))),
        }
    }

    /// There is a credential to ask for once there is an `[auth]`, of the policy or of the route.
    fn auth(&self, own: &RouteTable, unjudged: FailMode) -> Result<Option<Auth>, Fault> {
        let behaviour = own.behaviour.as_ref().or(self.file.behaviour.as_ref());
        let (own, all, place) = both(&own.auth, &self.file.auth);
        if own.is_none() && all.is_none() {
            return Ok(None);
        }
        let nothing = AuthTable::default();
        let (own, all) = (own.unwrap_or(&nothing), all.unwrap_or(&nothing));
        let mut sources = pick(
            &own.sources,
            &all.sources,
            vec![Source::Header, Source::Cookie],
        );
        sources.sort_unstable();
        sources.dedup();
        if sources.is_empty() {
            let what = "sources must name at least one of header, cookie, subprotocol, ticket, certificate, message";
            return Err(self.fault(&place, what));
        }
        let tokens = sources.iter().any(|source| *source != Source::Certificate);
        if tokens && self.file.issuers.is_empty() {
            let what = "auth needs an issuer whose tokens are believed: add [[issuers]] with issuer, audience, algorithms and keys";
            return Err(self.fault(&place, what));
        }
        let seconds = Duration::from_secs;
        let span = |own: &Option<written::Span>, all: &Option<written::Span>, default| {
            own.or(*all).map_or(default, |span| span.0)
        };
        let cookie = own.cookie.as_ref().or(all.cookie.as_ref());
        let end_code = own.end_code.or(all.end_code);
        let roles = pick(&own.roles, &all.roles, Vec::new());
        if !tokens && !roles.is_empty() {
            let what = "roles are said by tokens, and certificates are the only source: list who may come in certificate_identities";
            return Err(self.fault(&place, what));
        }
        let certificate =
            certificate(own, all, &sources).map_err(|what| self.fault(&place, what))?;
        Ok(Some(Auth {
            required: pick(&own.required, &all.required, true),
            sources,
            cookie: cookie.map_or_else(|| "token".into(), |name| name.0.clone()),
            ticket_ttl: span(&own.ticket_ttl, &all.ticket_ttl, seconds(30)),
            first_message: span(&own.first_message, &all.first_message, seconds(5)),
            leeway: span(&own.leeway, &all.leeway, Duration::ZERO),
            end_code: end_code.map_or(1008, |code| code.0),
            roles: roles.into_iter().map(Into::into).collect(),
            certificate,
            claims: behaviour.map_or_else(Vec::new, |table| table.get_ref().claims()),
            unjudged,
        }))
    }

    fn limits(&self, route: &RouteTable) -> Result<(RouteLimits, Option<NonZero<u32>>), Fault> {
        let (own, all, place) = both(&route.limits, &self.file.limits);
        let nothing = LimitsTable::default();
        let (own, all) = (own.unwrap_or(&nothing), all.unwrap_or(&nothing));
        let (hub, waits) = (Limits::hub(), Timeouts::default());
        let size = |own: &Option<written::Size>, all: &Option<written::Size>, default| {
            own.or(*all).map_or(default, |size| size.0)
        };
        let span = |own: &Option<written::Span>, all: &Option<written::Span>| {
            own.or(*all).map(|span| span.0)
        };
        let message = size(&own.message_size, &all.message_size, hub.max_message_size);
        let frame = size(&own.frame_size, &all.frame_size, message);
        let outbox = size(&own.outbox, &all.outbox, hub.outbox);
        let sound = |sound: bool, what: &str| match sound {
            true => Ok(()),
            false => Err(self.fault(&place, what)),
        };
        sound(
            message > 0 && frame > 0,
            "message_size and frame_size must be at least 1",
        )?;
        sound(
            message <= MOST,
            "message_size is at most 64MiB: a message is held whole while it is judged",
        )?;
        sound(
            frame <= message,
            "frame_size must not be larger than message_size",
        )?;
        sound(outbox >= 16 << 10, "outbox must be at least 16KiB")?;
        let control = route
            .rates
            .control
            .or(self.file.rates.control)
            .map(|rate| rate.0);
        let narrow = |units: u32| u16::try_from(units).unwrap_or(u16::MAX);
        let protocol = Limits {
            max_message_size: message,
            max_fragments: own
                .fragments
                .or(all.fragments)
                .map_or(hub.max_fragments, NonZero::get),
            max_empty_fragments: pick(&own.empty_fragments, &all.empty_fragments, 16),
            // What does not compress is a little longer in its frame: only a limit that was asked for is one.
            max_frame_size: if frame < message { frame } else { usize::MAX },
            outbox,
            outbox_high: hub.outbox_high.min(outbox / 2),
            outbox_low: hub.outbox_low.min(outbox / 4),
            control_burst: control.map_or(hub.control_burst, |rate| narrow(rate.burst())),
            control_per_second: control
                .map_or(hub.control_per_second, |rate| narrow(rate.per_second())),
        };
        let ping = span(&own.ping, &all.ping);
        let limits = RouteLimits {
            protocol,
            message_deadline: span(&own.message_deadline, &all.message_deadline)
                .unwrap_or(Duration::from_secs(30)),
            idle: span(&own.idle, &all.idle).filter(|span| !span.is_zero()),
            lifetime: span(&own.lifetime, &all.lifetime).filter(|span| !span.is_zero()),
            timeouts: Timeouts {
                ping_interval: ping.map_or(waits.ping_interval, |ping| {
                    (!ping.is_zero()).then_some(ping)
                }),
                pong: span(&own.pong, &all.pong).unwrap_or(waits.pong),
                ..waits
            },
        };
        Ok((limits, own.connections.or(all.connections)))
    }

    fn issuer(&self, placed: &Spanned<IssuerTable>) -> Result<Arc<Issuer>, Fault> {
        let table = placed.get_ref();
        for text in [&table.issuer, &table.audience] {
            if text.get_ref().is_empty() {
                return Err(self.fault(
                    &text.span(),
                    "this must not be empty: a token must say by whom and for whom it is",
                ));
            }
        }
        let algorithms = table.algorithms.get_ref().clone();
        let secret = table.hmac_secret.is_some() || table.hmac_secret_file.is_some();
        let public = !table.public_keys.is_empty() || table.jwks_url.is_some();
        let shared = algorithms
            .iter()
            .filter(|algorithm| algorithm.is_shared_secret())
            .count();
        let what = match (secret, public) {
            (false, false) => {
                "an issuer needs keys: jwks_url, public_keys, hmac_secret or hmac_secret_file"
            }
            (true, true) => {
                "a secret and public keys need an issuer of their own each: one must never pass for the other"
            }
            _ if algorithms.is_empty() => "algorithms must name at least one, such as [\"ES256\"]",
            (true, _) if shared != algorithms.len() => {
                "a shared secret goes with HS256, HS384 and HS512 only"
            }
            (_, true) if shared != 0 => "public keys never go with HS256, HS384 and HS512",
            _ => {
                return Ok(Arc::new(Issuer {
                    issuer: table.issuer.get_ref().as_str().into(),
                    audience: table.audience.get_ref().as_str().into(),
                    algorithms,
                    keys: KeySources {
                        hmac_secret: table.hmac_secret.clone(),
                        hmac_secret_file: table.hmac_secret_file.clone(),
                        public_keys: table.public_keys.clone(),
                        jwks_url: table.jwks_url.clone(),
                        jwks_refresh: table
                            .jwks_refresh
                            .map_or(Duration::from_secs(3_600), |span| span.0),
                    },
                }));
            }
        };
        Err(self.fault(&table.algorithms.span(), what))
    }
}

/// Whom certificates name.
fn certificate(
    own: &AuthTable,
    all: &AuthTable,
    sources: &[Source],
) -> Result<CertificateRules, &'static str> {
    let usual = vec![
        CertificateName::Uri,
        CertificateName::Dns,
        CertificateName::Email,
    ];
    let rules = CertificateRules {
        names: pick(&own.certificate_names, &all.certificate_names, usual),
        identities: pick(
            &own.certificate_identities,
            &all.certificate_identities,
            Vec::new(),
        ),
    };
    // A route that names other sources means it; else a list of identities that nobody asks would look like a check.
    let said = own.certificate_identities.is_some()
        || own.certificate_names.is_some()
        || own.sources.is_none()
            && (all.certificate_identities.is_some() || all.certificate_names.is_some());
    if said && !sources.contains(&Source::Certificate) {
        return Err("certificate_names and certificate_identities need \"certificate\" in sources");
    }
    if rules.names.is_empty() {
        return Err("certificate_names must name at least one of uri, dns, email");
    }
    Ok(rules)
}

/// A route's table, the policy's, and where to point when the two together are wrong.
fn both<'a, T>(
    own: &'a Placed<T>,
    all: &'a Placed<T>,
) -> (Option<&'a T>, Option<&'a T>, Range<usize>) {
    let place = own.as_ref().or(all.as_ref()).map_or(0..0, Spanned::span);
    (
        own.as_ref().map(Spanned::get_ref),
        all.as_ref().map(Spanned::get_ref),
        place,
    )
}

fn pick<T: Clone>(own: &Option<T>, all: &Option<T>, default: T) -> T {
    own.as_ref().or(all.as_ref()).cloned().unwrap_or(default)
}

fn by_mode(rules: &Rules) -> FailMode {
    match rules.blocks() {
        true => FailMode::Closed,
        false => FailMode::Open,
    }
}

fn origins(all: &OriginsTable, own: &OriginsTable) -> Origins {
    let listed = pick(&own.allow, &all.allow, Vec::new());
    let default = Origins::default();
    Origins {
        same_origin: pick(&own.same_origin, &all.same_origin, default.same_origin),
        listed: listed.into_iter().map(|origin| origin.0).collect(),
        missing: pick(&own.missing, &all.missing, default.missing),
        null: pick(&own.null, &all.null, default.null),
        malformed: pick(&own.malformed, &all.malformed, default.malformed),
        repeated: pick(&own.repeated, &all.repeated, default.repeated),
    }
}

fn shares_host(one: &Route, other: &Route) -> bool {
    (one.hosts.is_empty() && other.hosts.is_empty())
        || one.hosts.iter().any(|host| other.hosts.contains(host))
}

/// Longest message a policy may allow.
const MOST: usize = 64 << 20;
const TOTAL: NonZero<u64> = NonZero::new(50_000).unwrap();
const PER_IP: NonZero<u32> = NonZero::new(256).unwrap();
const PER_IDENTITY: NonZero<u32> = NonZero::new(64).unwrap();
/// As the protocol layer has it.
const MAX_RATIO: NonZero<u32> = NonZero::new(100).unwrap();
const HANDSHAKES: Rate = match Rate::new(500, 1_000) {
    Ok(rate) => rate,
    Err(_) => panic!("neither is 0"),
};
