//! What is written down: events with typed fields. None can hold a payload, a query or a token.

use super::{field, number};
use crate::policy::Route;
use crate::{Finding, Mode};
use std::borrow::Cow;
use std::net::IpAddr;
use tidegate_proto::{Time, WorkerId};

/// Something a guard did.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// When.
    pub at: Time,
    /// With which connection; 0 for none.
    pub connection: u64,
    /// What.
    pub what: What,
}

/// What a guard did. Identities are written as hashes, with a salt of the file's own.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// A connection came about.
    Open {
        /// The route's name.
        route: Box<str>,
        /// Where it comes from.
        remote: IpAddr,
        /// Who it is.
        identity: Option<Box<str>>,
    },
    /// A handshake was refused.
    Refused {
        /// The route's name, if there was one.
        route: Option<Box<str>>,
        /// Where it came from.
        remote: IpAddr,
        /// The HTTP status.
        status: u16,
        /// Which rule.
        rule: Cow<'static, str>,
    },
    /// A rule spoke of a message.
    Verdict {
        /// The route's name.
        route: Box<str>,
        /// Which rule.
        rule: Cow<'static, str>,
        /// What it does.
        mode: Mode,
        /// Whether the message came from the client.
        from_client: bool,
        /// Where in the message: a JSON pointer, without values.
        field: Option<Box<str>>,
        /// Why, in the rule's own words, never the message's.
        why: Cow<'static, str>,
    },
    /// A connection ended.
    Close {
        /// The route's name.
        route: Box<str>,
        /// The close code that went out, or came; none when the transport just ended.
        code: Option<u16>,
        /// Which rule ended it; none when the peers did.
        rule: Option<Cow<'static, str>>,
    },
    /// Credentials were revoked.
    Revoked {
        /// By what: `jti`, `sub` or `session`.
        by: &'static str,
        /// Its value; written as an identity.
        value: Box<str>,
    },
    /// Another policy came into force, or did not.
    Reload {
        /// Whether it did.
        taken: bool,
    },
    /// Events could not be written; so many are not here.
    Lost {
        /// How many.
        count: u64,
    },
    /// The process ends.
    End,
}

impl Event {
    /// The number of a worker's connection; 0 is for none.
    pub(crate) fn number(worker: WorkerId, serial: u64) -> u64 {
        match serial {
            0 => 0,
            serial => (u64::from(worker.0) << 48) | serial,
        }
    }

    /// Appends the event's fields to a line.
    pub(super) fn write(&self, line: &mut String, identify: impl Fn(&str) -> String) {
        field(line, "event", self.what.name());
        if self.connection != 0 {
            number(line, "connection", self.connection);
        }
        match &self.what {
            What::Open {
                route,
                remote,
                identity,
            } => {
                field(line, "route", route);
                field(line, "remote", &remote.to_string());
                if let Some(identity) = identity {
                    field(line, "identity", &identify(identity));
                }
            }
            What::Refused {
                route,
                remote,
                status,
                rule,
            } => {
                if let Some(route) = route {
                    field(line, "route", route);
                }
                field(line, "remote", &remote.to_string());
                number(line, "status", u64::from(*status));
                field(line, "rule", rule);
            }
            What::Verdict {
                route,
                rule,
                mode,
                from_client,
                field: place,
                why,
            } => {
                field(line, "route", route);
                field(line, "rule", rule);
                field(line, "mode", mode.name());
                field(
                    line,
                    "from",
                    if *from_client { "client" } else { "upstream" },
                );
                if let Some(place) = place {
                    field(line, "field", place);
                }
                field(line, "why", why);
            }
            What::Close { route, code, rule } => {
                field(line, "route", route);
                if let Some(code) = code {
                    number(line, "code", u64::from(*code));
                }
                if let Some(rule) = rule {
                    field(line, "rule", rule);
                }
            }
            What::Revoked { by, value } => {
                field(line, "by", by);
                field(line, "identity", &identify(value));
            }
            What::Reload { taken } => {
                field(line, "policy", if *taken { "taken" } else { "refused" })
            }
            What::Lost { count } => number(line, "count", *count),
            What::End => {}
        }
    }
}

impl What {
    /// A content rule has found something.
    pub(crate) fn verdict(route: &Route, finding: &Finding, from_client: bool) -> What {
        What::Verdict {
            route: route.name.clone(),
            rule: finding.rule.into(),
            mode: finding.mode,
            from_client,
            field: (!finding.pointer.is_empty()).then(|| finding.pointer.as_str().into()),
            why: finding.why.clone(),
        }
    }

    /// A client has sent more than its budget.
    pub(crate) fn flood(route: &Route) -> What {
        What::Verdict {
            route: route.name.clone(),
            rule: "budget".into(),
            mode: Mode::Block,
            from_client: true,
            field: None,
            why: "more messages or octets than its budget".into(),
        }
    }

    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            What::Open { .. } => "open",
            What::Refused { .. } => "refused",
            What::Verdict { .. } => "verdict",
            What::Close { .. } => "close",
            What::Revoked { .. } => "revoked",
            What::Reload { .. } => "reload",
            What::Lost { .. } => "lost",
            What::End => "end",
        }
    }
}
