//! A handler that sends every message back as it came; keeps nothing.

use std::convert::Infallible;
use std::sync::Arc;
use tidegate_proto::{
    Accept, Closed, Config, Deflate, DeflateConfig, Handler, Incoming, Limits, Opening, Outboxes,
    PeerId, Rejection, Request,
};

/// Sends each whole message back to its sender, text as text and binary as binary.
///
/// It takes [`Limits::large`] (16 MiB messages), because conformance suites and benches ask for that. A
/// sender that does not read is not read either once its own outbox is high.
///
/// It compresses every message, however short, with as much context as the client offers. A client that
/// wants another mode names it in the query, so that each can be examined and measured: `?deflate=off`,
/// `shared` or `dedicated`.
#[derive(Clone, Debug)]
pub struct Echo {
    config: Arc<Config>,
}

impl Echo {
    /// An echo with these settings.
    pub fn new(config: Arc<Config>) -> Echo {
        Echo { config }
    }
}

impl Default for Echo {
    fn default() -> Echo {
        Echo::new(Arc::new(Config {
            limits: Limits::large(),
            deflate: DeflateConfig {
                mode: DEDICATED,
                threshold: 1,
                // What comes back is what came, so only the message limit counts: deflate itself cannot do
                // better than 1,032 to 1.
                max_ratio: 1_100,
                ..DeflateConfig::default()
            },
            ..Config::default()
        }))
    }
}

impl Handler for Echo {
    /// An echo has nothing to say to other workers.
    type Mail = Infallible;

    fn open(&mut self, _: PeerId, request: &Request, _: &mut Outboxes<'_, Infallible>) -> Opening {
        let mode = match request.query_param("deflate").as_deref() {
            None => return Opening::Accept(Accept::new(Arc::clone(&self.config))),
            Some("off") => Deflate::Off,
            Some("shared") => Deflate::Shared,
            Some("dedicated") => DEDICATED,
            Some(_) => {
                let message = "deflate must be off, shared or dedicated";
                return Opening::Reject(Rejection::new(400, message));
            }
        };
        let mut config = Config::clone(&self.config);
        config.deflate.mode = mode;
        Opening::Accept(Accept::new(Arc::new(config)))
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, Infallible>) {
        out.send_incoming(peer, message);
    }

    fn mail(&mut self, mail: Infallible, _: &mut Outboxes<'_, Infallible>) {
        match mail {}
    }

    fn closed(&mut self, _: PeerId, _: &Closed, _: &mut Outboxes<'_, Infallible>) {}
}

/// The largest window and tables: what an echo is asked for is to show what the protocol can do.
const DEDICATED: Deflate = Deflate::Dedicated {
    bits: 15,
    mem_level: 8,
};
