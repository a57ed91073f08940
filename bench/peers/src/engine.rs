//! Our engine behind the same paths as the peers: one worker, no hub. What `tidegate serve` costs beyond it is the
//! program around it.

use crate::Result;
use crate::room::Mode;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tidegate::Server;
use tidegate_proto::{
    Accept, Closed, Config, Deflate, DeflateConfig, Encoded, Handler, Incoming, Limits, Opening,
    Outboxes, PeerId, Request,
};

/// Serves for ever.
pub(crate) fn serve(port: u16, deflate: bool) -> Result<()> {
    let mode = match deflate {
        true => Deflate::Shared,
        false => Deflate::Off,
    };
    let config = Arc::new(Config {
        limits: Limits::large(),
        deflate: DeflateConfig {
            mode,
            ..DeflateConfig::default()
        },
        ..Config::default()
    });
    let server = Server::builder()
        .listen((Ipv4Addr::LOCALHOST, port).into())
        .workers(1)
        .start(move |_| Paths {
            config: Arc::clone(&config),
            modes: Vec::new(),
            room: Vec::new(),
        })?;
    println!("{} ", server.local_addr().port());
    Ok(server.join()?)
}

struct Paths {
    config: Arc<Config>,
    /// By the peers' slots.
    modes: Vec<Mode>,
    room: Vec<PeerId>,
}

type Out<'a, 'b> = &'a mut Outboxes<'b, Infallible>;

impl Handler for Paths {
    type Mail = Infallible;

    fn open(&mut self, peer: PeerId, request: &Request, _: Out<'_, '_>) -> Opening {
        let (slot, mode) = (peer.slot() as usize, Mode::of(request.path()));
        self.modes
            .resize(self.modes.len().max(slot + 1), Mode::Echo);
        self.modes[slot] = mode;
        if mode == Mode::Broadcast {
            self.room.push(peer);
        }
        let level = request
            .query_param("level")
            .and_then(|level| level.parse().ok());
        let config = match level {
            None => Arc::clone(&self.config),
            // As small as the peers make it, so that the time for it can be compared.
            Some(level) => {
                let mut config = Config::clone(&self.config);
                config.deflate.level = level;
                Arc::new(config)
            }
        };
        Opening::Accept(Accept::new(config))
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: Out<'_, '_>) {
        match self.modes[peer.slot() as usize] {
            Mode::Echo => {
                out.send_incoming(peer, message);
            }
            Mode::Broadcast => {
                let frame = match &message {
                    Incoming::Text(text) => Encoded::text(text.as_str()),
                    Incoming::Binary(octets) => Encoded::binary(octets),
                };
                for member in &self.room {
                    out.send(*member, &frame);
                }
            }
            Mode::Sink => {}
        }
    }

    fn mail(&mut self, mail: Infallible, _: Out<'_, '_>) {
        match mail {}
    }

    fn closed(&mut self, peer: PeerId, _: &Closed, _: Out<'_, '_>) {
        self.room.retain(|member| *member != peer);
    }
}
