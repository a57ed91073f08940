//! The handler behind the counted servers: what a peer's path says is done with its messages.

use std::convert::Infallible;
use std::sync::Arc;
use tidegate_proto::{
    Accept, Closed, Config, Encoded, Handler, Incoming, Limits, Opening, Outboxes, PeerId,
    Rejection, Request,
};

/// `/echo` sends back, `/room` sends to all of `/room`, `/hold` makes the worker wait.
pub(crate) struct Rooms {
    config: Arc<Config>,
    room: Vec<PeerId>,
    holders: Vec<PeerId>,
    open: usize,
    hold: fn(),
    empty: fn(),
}

impl Rooms {
    /// `hold` is called for each message to `/hold`, `empty` when the last peer has gone.
    pub(crate) fn new(hold: fn(), empty: fn()) -> Rooms {
        Rooms {
            config: Arc::new(Config {
                limits: Limits::large(),
                ..Config::default()
            }),
            room: Vec::new(),
            holders: Vec::new(),
            open: 0,
            hold,
            empty,
        }
    }
}

impl Handler for Rooms {
    type Mail = Infallible;

    fn open(
        &mut self,
        peer: PeerId,
        request: &Request,
        _: &mut Outboxes<'_, Infallible>,
    ) -> Opening {
        match request.path() {
            "/echo" => {}
            "/room" => self.room.push(peer),
            "/hold" => self.holders.push(peer),
            _ => return Opening::Reject(Rejection::new(404, "there are /echo, /room and /hold")),
        }
        self.open += 1;
        Opening::Accept(Accept::new(Arc::clone(&self.config)))
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, Infallible>) {
        if self.holders.contains(&peer) {
            return (self.hold)();
        }
        // Who is in the room is found at the front: the publisher comes first.
        if !self.room.contains(&peer) {
            out.send_incoming(peer, message);
            return;
        }
        let frame = match &message {
            Incoming::Text(text) => Encoded::text(text.as_str()),
            Incoming::Binary(octets) => Encoded::binary(octets),
        };
        for member in &self.room {
            out.send(*member, &frame);
        }
    }

    fn mail(&mut self, mail: Infallible, _: &mut Outboxes<'_, Infallible>) {
        match mail {}
    }

    fn closed(&mut self, peer: PeerId, _: &Closed, _: &mut Outboxes<'_, Infallible>) {
        self.room.retain(|member| *member != peer);
        self.open -= 1;
        if self.open == 0 {
            (self.empty)();
        }
    }
}
