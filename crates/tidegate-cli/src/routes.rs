//! What an upgrade's path leads to: the echo, the hub or the observer. It never looks into messages.

use crate::hosts::Hosts;
use crate::wire::{Observer, Secret, WireMail};
use std::sync::Arc;
use tidegate::engine::Echo;
use tidegate_guard::{Guard, Policy};
use tidegate_hub::{HubConfig, Shard, ShardMail};
use tidegate_proto::{
    Accept, CloseCode, Closed, Handler, Incoming, Opening, Outboxes, PeerId, Rejection, Request,
    TimerId, Wire, WorkerId,
};
use tracing::debug;

/// All routes of one worker.
pub(crate) struct Routes {
    /// By slot; who holds the slot, and what it was connected to.
    peers: Vec<Option<(PeerId, Route)>>,
    hosts: Arc<Hosts>,
    echo: Echo,
    /// Behind a budget for each peer: a flood is closed with 1008 before it costs the others.
    hub: Guard<Shard>,
    /// Only in development mode.
    observer: Option<Observer>,
}

/// Mail between the routes of workers.
pub(crate) enum RoutesMail {
    /// For the hub.
    Hub(ShardMail),
    /// For the observer.
    Wire(WireMail),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Echo,
    Hub,
    Wire,
}

impl Route {
    /// By the decoded path of the request.
    fn of(path: &str) -> Option<Route> {
        match path {
            "/" | "/echo" => Some(Route::Echo),
            "/connection/websocket" => Some(Route::Hub),
            "/wire" => Some(Route::Wire),
            _ => None,
        }
    }
}

type Out<'a> = Outboxes<'a, RoutesMail>;

impl Routes {
    /// The routes of `worker`; with an observer if `dev`.
    pub(crate) fn new(
        hosts: Arc<Hosts>,
        config: Arc<HubConfig>,
        worker: WorkerId,
        workers: usize,
        dev: bool,
    ) -> Routes {
        Routes {
            peers: Vec::new(),
            hosts,
            echo: Echo::default(),
            hub: Guard::new(Shard::new(config, worker, workers), Policy::default()),
            observer: dev.then(Observer::new),
        }
    }

    /// Whether a request may name this host.
    ///
    /// The echo is for everyone: it tells a page nothing that the page did not say itself, and conformance
    /// suites name hosts of their own. The hub and the observer tell more.
    fn check_host(&self, route: Route, request: &Request) -> Result<(), Rejection> {
        if route == Route::Echo || self.hosts.allow(request.authority()) {
            return Ok(());
        }
        Err(Rejection::new(421, WRONG_HOST))
    }

    fn open_hub(&mut self, peer: PeerId, request: &Request, out: &mut Out<'_>) -> Opening {
        let secret = match self.wanted_secret(request, "wire") {
            Ok(secret) => secret,
            Err(rejection) => return Opening::Reject(rejection),
        };
        let hub = &mut self.hub;
        let mut opening = out.nest(RoutesMail::Hub, |out| hub.open(peer, request, out));
        if let (Opening::Accept(accept), Some(secret), Some(observer)) =
            (&mut opening, secret, &mut self.observer)
        {
            accept.observe = out.nest(RoutesMail::Wire, |out| observer.record(peer, secret, out));
        }
        opening
    }

    fn open_wire(&mut self, peer: PeerId, request: &Request) -> Opening {
        let secret = self.wanted_secret(request, "key");
        let Some(observer) = &mut self.observer else {
            return Opening::Reject(nothing_here());
        };
        match secret {
            Ok(Some(secret)) => match observer.admit(peer, secret) {
                Some(config) => Opening::Accept(Accept::new(config)),
                None => {
                    Opening::Reject(Rejection::new(503, "the observer is full; try again later"))
                }
            },
            Ok(None) => Opening::Reject(Rejection::new(403, BAD_SECRET)),
            Err(rejection) => Opening::Reject(rejection),
        }
    }

    /// The observer's secret in the query; none is looked for where nothing is observed.
    fn wanted_secret(&self, request: &Request, name: &str) -> Result<Option<Secret>, Rejection> {
        if self.observer.is_none() {
            return Ok(None);
        }
        let Some(text) = request.query_param(name) else {
            return Ok(None);
        };
        let secret = Secret::parse(&text).ok_or_else(|| Rejection::new(403, BAD_SECRET))?;
        Ok(Some(secret))
    }

    #[cfg(test)]
    pub(crate) fn observes_nothing(&self) -> bool {
        self.observer.as_ref().is_none_or(Observer::is_empty)
    }

    fn remember(&mut self, peer: PeerId, route: Route) {
        let slot = peer.slot() as usize;
        if self.peers.len() <= slot {
            self.peers.resize(slot + 1, None);
        }
        self.peers[slot] = Some((peer, route));
    }

    fn route(&self, peer: PeerId) -> Option<Route> {
        let (holder, route) = (*self.peers.get(peer.slot() as usize)?)?;
        (holder == peer).then_some(route)
    }
}

impl Handler for Routes {
    type Mail = RoutesMail;

    fn open(&mut self, peer: PeerId, request: &Request, out: &mut Out<'_>) -> Opening {
        let Some(route) = Route::of(request.path()) else {
            return Opening::Reject(nothing_here());
        };
        if let Err(rejection) = self.check_host(route, request) {
            return Opening::Reject(rejection);
        }
        let echo = &mut self.echo;
        let opening = match route {
            Route::Echo => out.nest(|none| match none {}, |out| echo.open(peer, request, out)),
            Route::Hub => self.open_hub(peer, request, out),
            Route::Wire => self.open_wire(peer, request),
        };
        match &opening {
            Opening::Accept(_) => {
                self.remember(peer, route);
                debug!(?route, remote = ?out.remote(peer), "connection opened");
            }
            Opening::Reject(no) => debug!(?route, status = no.status, "connection refused"),
        }
        opening
    }

    fn opened(&mut self, peer: PeerId, out: &mut Out<'_>) {
        match (self.route(peer), &mut self.observer) {
            (Some(Route::Hub), _) => {
                let hub = &mut self.hub;
                out.nest(RoutesMail::Hub, |out| hub.opened(peer, out));
            }
            (Some(Route::Wire), Some(observer)) => {
                out.nest(RoutesMail::Wire, |out| observer.attach(peer, out));
            }
            _ => {}
        }
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Out<'_>) {
        let route = self.route(peer);
        let (echo, hub) = (&mut self.echo, &mut self.hub);
        match route {
            Some(Route::Echo) => {
                out.nest(|none| match none {}, |out| echo.message(peer, message, out))
            }
            Some(Route::Hub) => out.nest(RoutesMail::Hub, |out| hub.message(peer, message, out)),
            Some(Route::Wire) => {
                out.close(peer, CloseCode::UNSUPPORTED, "the observer only speaks")
            }
            None => {}
        }
    }

    fn mail(&mut self, mail: RoutesMail, out: &mut Out<'_>) {
        match (mail, &mut self.observer) {
            (RoutesMail::Hub(mail), _) => {
                let hub = &mut self.hub;
                out.nest(RoutesMail::Hub, |out| hub.mail(mail, out));
            }
            (RoutesMail::Wire(mail), Some(observer)) => {
                out.nest(RoutesMail::Wire, |out| observer.mail(mail, out));
            }
            (RoutesMail::Wire(_), None) => {}
        }
    }

    fn timeout(&mut self, timer: TimerId, out: &mut Out<'_>) {
        match (timer.0 >> 56, &mut self.observer) {
            (0, _) => {
                let hub = &mut self.hub;
                out.nest(RoutesMail::Hub, |out| hub.timeout(timer, out));
            }
            (_, Some(observer)) => out.nest(RoutesMail::Wire, |out| observer.timeout(timer, out)),
            _ => {}
        }
    }

    fn drained(&mut self, peer: PeerId, out: &mut Out<'_>) {
        if self.route(peer) == Some(Route::Hub) {
            let hub = &mut self.hub;
            out.nest(RoutesMail::Hub, |out| hub.drained(peer, out));
        }
    }

    /// This may come after `closed`: our answer to a Close is written when the handler has heard of it.
    fn observed(&mut self, peer: PeerId, wire: Wire<'_>, out: &mut Out<'_>) {
        if let Some(observer) = &mut self.observer {
            out.nest(RoutesMail::Wire, |out| observer.observed(peer, wire, out));
        }
    }

    fn drain(&mut self, peer: PeerId, out: &mut Out<'_>) {
        if self.route(peer) == Some(Route::Hub) {
            let hub = &mut self.hub;
            out.nest(RoutesMail::Hub, |out| hub.drain(peer, out));
        } else {
            out.close(peer, CloseCode::GOING_AWAY, "server is shutting down");
        }
    }

    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Out<'_>) {
        let Some(route) = self.route(peer) else {
            return;
        };
        self.peers[peer.slot() as usize] = None;
        debug!(
            ?route,
            code = why.code.map(CloseCode::get),
            clean = why.clean,
            "connection closed"
        );
        if route == Route::Hub {
            let hub = &mut self.hub;
            out.nest(RoutesMail::Hub, |out| hub.closed(peer, why, out));
        }
        if let Some(observer) = &mut self.observer {
            out.nest(RoutesMail::Wire, |out| observer.closed(peer, out));
        }
    }
}

fn nothing_here() -> Rejection {
    Rejection::new(404, "no WebSocket here; try /connection/websocket or /echo")
}

/// What a request with a foreign `Host` is told.
pub(crate) const WRONG_HOST: &str =
    "this server does not answer to that Host; start it with --host NAME if it should";

const BAD_SECRET: &str =
    "the observer's key must be 32 to 128 hexadecimal digits, an even number of them";
