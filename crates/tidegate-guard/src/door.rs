//! [`Door`]: everything that is judged before the 101, in one place and one order: encryption, host, path, page,
//! subprotocol, credential, crowd. What goes through has a [`Pass`]; what does not has a status and a rule's name.

use crate::behaviour::{BehaviourRules, Behaviours};
use crate::credential::{self, BadToken, Bearer, Presented, Revocations, Tickets, Verifier};
use crate::crowd::{Counted, Crowd, Place};
use crate::policy::{Auth, FailMode, Policy, Route};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_proto::{Rejection, Request, Time};

/// What workers share of a door.
#[derive(Clone)]
pub struct Shared {
    /// Says whether a token's signature is right.
    pub verifier: Verifier,
    /// Tickets given and not yet used.
    pub tickets: Arc<Mutex<Tickets>>,
    /// How many are inside.
    pub crowd: Arc<Crowd>,
    /// Events cannot be written now: routes that fail closed take nobody.
    pub unwritten: Arc<AtomicBool>,
    /// What is counted across messages.
    pub behaviours: Arc<Behaviours>,
}

/// One worker's door.
pub struct Door {
    policy: Arc<Policy>,
    shared: Shared,
    revocations: Revocations,
}

/// A connection that may come about, and how.
#[derive(Debug)]
pub struct Pass {
    /// Its route.
    pub route: Arc<Route>,
    /// The path to ask the upstream for.
    pub path: String,
    /// The query to send on.
    pub query: Option<String>,
    /// The subprotocols to offer the upstream.
    pub subprotocols: Vec<String>,
    /// Who it is.
    pub bearer: Option<Bearer>,
    /// The first message is the token; nothing may reach the upstream before.
    pub awaits_token: bool,
    /// Its places in the crowd; drop them when it is gone.
    pub places: Vec<Place>,
}

/// A handshake that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The answer.
    pub rejection: Box<Rejection>,
    /// The route's name, if it came so far.
    pub route: Option<Box<str>>,
    /// The rule's name, for audit and metrics.
    pub rule: &'static str,
}

impl Door {
    /// A door with this policy.
    pub fn new(policy: Arc<Policy>, shared: Shared) -> Door {
        shared.behaviours.adopt(watched(&policy));
        Door {
            policy,
            shared,
            revocations: Revocations::default(),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Another policy holds for who comes from now on.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.shared.behaviours.adopt(watched(&policy));
        self.policy = policy;
    }

    /// What is counted across messages.
    pub(crate) fn behaviours(&self) -> &Behaviours {
        &self.shared.behaviours
    }

    /// Credentials that are believed no longer.
    pub fn revocations(&mut self) -> &mut Revocations {
        &mut self.revocations
    }

    /// Judges a request that came from a socket at `remote`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn judge(&self, request: &Request, remote: IpAddr, now: Time) -> Result<Pass, Refused> {
        if !request.secure() && !remote.to_canonical().is_loopback() && !self.policy.allow_plain {
            let rejection = Rejection::new(403, "a WebSocket is opened over TLS here: use wss://");
            return Err(refused(None, "plain", rejection));
        }
        // RFC 9112 lets the target win over Host; two names in one request only serve to confuse.
        let named = request.header_str("host");
        if named.is_some_and(|named| !named.eq_ignore_ascii_case(request.authority())) {
            let rejection = Rejection::new(400, "the request target and Host name two hosts");
            return Err(refused(None, "host_twice", rejection));
        }
        let found = self.policy.route(&request.host(), request.path());
        let found = found.map_err(|why| refused(None, why.name(), why.rejection()))?;
        let route = found.route;
        if route.fail.audit == FailMode::Closed && self.shared.unwritten.load(Ordering::Relaxed) {
            let rejection = with(
                Rejection::new(503, "no connection is taken now; try again later"),
                "Retry-After",
                "10",
            );
            return Err(refused(Some(route), "audit", rejection));
        }
        let no = |rule, rejection| refused(Some(route), rule, rejection);
        route
            .origins
            .judge(request)
            .map_err(|fault| no(fault.name(), Rejection::new(403, fault.to_string())))?;
        let subprotocols = self.subprotocols(route, request)?;
        let (bearer, awaits_token) = match &route.auth {
            None => (None, false),
            Some(auth) => self.authenticate(route, auth, request, now)?,
        };
        let mut query = request.query().map(str::to_owned);
        if route.auth.is_some() {
            query = query.and_then(|query| credential::without_ticket(&query));
        }
        let places = self.places(route, bearer.as_ref())?;
        Ok(Pass {
            route: Arc::clone(route),
            path: found.path,
            query,
            subprotocols,
            bearer,
            awaits_token,
            places,
        })
    }

    /// Judges a token that came as the first message.
    ///
    /// # Errors
    /// [`BadToken`]: close the connection.
    pub fn first_message(&self, route: &Route, token: &str, now: Time) -> Result<Bearer, BadToken> {
        let auth = route.auth.as_ref().ok_or(BadToken::Issuer)?;
        let bearer = self.token(auth, token.trim(), now)?;
        bearer
            .has_one_of(&auth.roles)
            .then_some(bearer)
            .ok_or(BadToken::Audience)
    }

    /// Takes the place of an identity that is known now.
    ///
    /// # Errors
    /// [`Refused`]: it has all it may have.
    pub fn place(&self, route: &Route, bearer: &Bearer) -> Result<Place, Refused> {
        let identity = Counted::Identity(bearer.subject.clone());
        let most = self.policy.connections.per_identity;
        self.shared
            .crowd
            .enter(identity, Some(most))
            .ok_or_else(|| {
                refused(
                    Some(route),
                    "connections_per_identity",
                    crowded("too many connections of this user"),
                )
            })
    }

    fn subprotocols(&self, route: &Route, request: &Request) -> Result<Vec<String>, Refused> {
        let offered = request.subprotocols().filter(|name| {
            let token = route.auth.is_some() && credential::is_bearer(name);
            !token && route.subprotocols.allows(name)
        });
        let offered: Vec<String> = offered.map(str::to_owned).collect();
        match route.subprotocols.required && offered.is_empty() {
            true => Err(refused(
                Some(route),
                "subprotocol",
                Rejection::new(
                    400,
                    "offer a subprotocol that is spoken here, in Sec-WebSocket-Protocol",
                ),
            )),
            false => Ok(offered),
        }
    }

    fn authenticate(
        &self,
        route: &Route,
        auth: &Auth,
        request: &Request,
        now: Time,
    ) -> Result<(Option<Bearer>, bool), Refused> {
        let no = |bad: BadToken| {
            refused(
                Some(route),
                bad.name(),
                unauthorized("the credential is not valid here"),
            )
        };
        let bearer = match credential::presented(request, auth).map_err(no)? {
            Presented::Token(token) => self.token(auth, &token, now).map_err(no)?,
            Presented::Ticket(ticket) => {
                let mut tickets = self
                    .shared
                    .tickets
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let bearer = tickets
                    .redeem(&ticket, &route.name, request.origin(), now)
                    .map_err(no)?;
                self.not_revoked(bearer, now).map_err(no)?
            }
            Presented::Certificate(shown) => {
                let bearer = credential::named(shown, auth, now).map_err(no)?;
                self.not_revoked(bearer, now).map_err(no)?
            }
            Presented::Later => return Ok((None, true)),
            Presented::Nothing if auth.required => {
                let rejection = unauthorized("a credential is needed here");
                return Err(refused(Some(route), "token_missing", rejection));
            }
            Presented::Nothing => return Ok((None, false)),
        };
        match bearer.has_one_of(&auth.roles) {
            true => Ok((Some(bearer), false)),
            false => {
                let rejection = Rejection::new(403, "the credential does not allow this");
                Err(refused(Some(route), "role", rejection))
            }
        }
    }

    fn token(&self, auth: &Auth, token: &str, now: Time) -> Result<Bearer, BadToken> {
        let bearer = credential::judge(
            token,
            &self.policy.issuers,
            auth,
            &self.shared.verifier,
            now,
        )?;
        self.not_revoked(bearer, now)
    }

    fn not_revoked(&self, bearer: Bearer, now: Time) -> Result<Bearer, BadToken> {
        match self.revocations.hit(&bearer, now) {
            true => Err(BadToken::Revoked),
            false => Ok(bearer),
        }
    }

    fn places(&self, route: &Route, bearer: Option<&Bearer>) -> Result<Vec<Place>, Refused> {
        let of_route = Counted::Route(route.name.clone());
        let place = self
            .shared
            .crowd
            .enter(of_route, route.connections)
            .ok_or_else(|| {
                refused(
                    Some(route),
                    "connections_of_route",
                    crowded("too many connections of this kind"),
                )
            })?;
        let mut places = vec![place];
        if let Some(bearer) = bearer {
            places.push(self.place(route, bearer)?);
        }
        Ok(places)
    }
}

/// The routes that watch something across messages.
fn watched(policy: &Policy) -> impl Iterator<Item = (&str, &BehaviourRules)> {
    let routes = policy.routes().iter();
    routes.filter_map(|route| Some((&*route.name, &**route.behaviour.as_ref()?)))
}

pub(crate) fn refused(route: Option<&Route>, rule: &'static str, rejection: Rejection) -> Refused {
    Refused {
        rejection: Box::new(rejection),
        route: route.map(|route| route.name.clone()),
        rule,
    }
}

fn unauthorized(why: &str) -> Rejection {
    with(Rejection::new(401, why), "WWW-Authenticate", "Bearer")
}

pub(crate) fn crowded(why: &str) -> Rejection {
    with(Rejection::new(429, why), "Retry-After", "10")
}

fn with(rejection: Rejection, name: &'static str, value: &'static str) -> Rejection {
    rejection
        .with_header(name, Cow::Borrowed(value))
        .expect("it is fit for a header")
}

#[cfg(test)]
mod tests;
