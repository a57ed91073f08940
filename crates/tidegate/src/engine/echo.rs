//! A handler that sends every message back as it came; keeps nothing.

use std::convert::Infallible;
use std::sync::Arc;
use tidegate_proto::{
    Accept, Closed, Config, Handler, Incoming, Limits, Opening, Outboxes, PeerId, Request,
};

/// Sends each whole message back to its sender, text as text and binary as binary.
///
/// It takes [`Limits::large`] (16 MiB messages), because conformance suites and benches ask for that. A
/// sender that does not read is not read either once its own outbox is high.
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
            ..Config::default()
        }))
    }
}

impl Handler for Echo {
    /// An echo has nothing to say to other workers.
    type Mail = Infallible;

    fn open(&mut self, _: PeerId, _: &Request, _: &mut Outboxes<'_, Infallible>) -> Opening {
        Opening::Accept(Accept::new(Arc::clone(&self.config)))
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, Infallible>) {
        out.send_incoming(peer, &message);
    }

    fn mail(&mut self, mail: Infallible, _: &mut Outboxes<'_, Infallible>) {
        match mail {}
    }

    fn closed(&mut self, _: PeerId, _: &Closed, _: &mut Outboxes<'_, Infallible>) {}
}
