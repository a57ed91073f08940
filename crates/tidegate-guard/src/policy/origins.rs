//! From which web pages a route may be opened (RFC 6455 §10.2, security.md H1): a list of exact origins, the
//! same origin, and a word of its own for each odd case. It never rewrites the field.

use std::fmt;
use tidegate_proto::handshake::Origin;
use tidegate_proto::{OriginPolicy, Request};

/// The origins of a route. Default: pages of the host and port that the request addresses; clients that send
/// no `Origin` unless they send a cookie; nothing odd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origins {
    /// Pages of the host and port that the request addresses.
    pub same_origin: bool,
    /// Pages of exactly these origins: scheme, host and port.
    pub listed: Vec<Origin>,
    /// Clients that send no `Origin`: no browser does so.
    pub missing: Missing,
    /// `Origin: null`: sandboxed frames, local files, some redirects.
    pub null: Word,
    /// What is no origin: with a path, with a user, of letters beyond ASCII.
    pub malformed: Word,
    /// Two `Origin` fields, whatever they hold.
    pub repeated: Word,
}

/// What is done with one kind of request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// It goes on.
    Allow,
    /// It gets 403.
    #[default]
    Refuse,
}

/// What is done with a request that has no `Origin`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// It goes on.
    Allow,
    /// It goes on unless it carries a cookie, which is what a browser would send by itself.
    #[default]
    WithoutCookie,
    /// It gets 403.
    Refuse,
}

/// Why a page may not open a WebSocket; its name is the rule in audit and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OriginFault {
    /// An origin that is not allowed.
    Foreign,
    /// None, and the policy or a cookie speaks against it.
    Missing,
    /// `null`.
    Null,
    /// No origin at all.
    Malformed,
    /// More than one field.
    Repeated,
}

impl OriginFault {
    /// Its name in audit and metrics.
    pub fn name(self) -> &'static str {
        match self {
            OriginFault::Foreign => "origin_foreign",
            OriginFault::Missing => "origin_missing",
            OriginFault::Null => "origin_null",
            OriginFault::Malformed => "origin_malformed",
            OriginFault::Repeated => "origin_repeated",
        }
    }
}

impl fmt::Display for OriginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OriginFault::Foreign => "pages of this Origin may not open a WebSocket here",
            OriginFault::Missing => "a request without Origin may not open a WebSocket here",
            OriginFault::Null => "Origin: null may not open a WebSocket here",
            OriginFault::Malformed => "the Origin field holds no origin",
            OriginFault::Repeated => "there is more than one Origin field",
        })
    }
}

impl Default for Origins {
    fn default() -> Origins {
        Origins {
            same_origin: true,
            listed: Vec::new(),
            missing: Missing::default(),
            null: Word::Refuse,
            malformed: Word::Refuse,
            repeated: Word::Refuse,
        }
    }
}

impl Origins {
    /// Judges a request.
    ///
    /// # Errors
    /// [`OriginFault`]: answer 403.
    pub fn judge(&self, request: &Request) -> Result<(), OriginFault> {
        let mut fields = request
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("origin"))
            .map(|(_, value)| value);
        let (first, second) = (fields.next(), fields.next());
        match (first, second) {
            (None, _) => self.judge_missing(request),
            (Some(_), Some(_)) => self.repeated.or(OriginFault::Repeated),
            (Some(b"null"), None) => self.null.or(OriginFault::Null),
            (Some(value), None) => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                match Origin::parse(text) {
                    Ok(origin) => self.judge_one(&origin, request),
                    Err(_) => self.malformed.or(OriginFault::Malformed),
                }
            }
        }
    }

    fn judge_missing(&self, request: &Request) -> Result<(), OriginFault> {
        let allowed = match self.missing {
            Missing::Allow => true,
            Missing::WithoutCookie => request.header("cookie").is_none(),
            Missing::Refuse => false,
        };
        allowed.then_some(()).ok_or(OriginFault::Missing)
    }

    fn judge_one(&self, origin: &Origin, request: &Request) -> Result<(), OriginFault> {
        let same = || self.same_origin && OriginPolicy::SameOrigin.allows(request);
        (self.listed.contains(origin) || same())
            .then_some(())
            .ok_or(OriginFault::Foreign)
    }
}

impl Word {
    fn or<E>(self, fault: E) -> Result<(), E> {
        match self {
            Word::Allow => Ok(()),
            Word::Refuse => Err(fault),
        }
    }
}
