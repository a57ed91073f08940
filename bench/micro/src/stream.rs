//! Parse, unmask and validate an endless stream of messages from memory, in the server's role, beside the peers.
//! Everyone reads from the same source as much at once as it wants by itself; we read what our engine reads.

use crate::measure::Contender;
use crate::peers;
use crate::source::Source;
use crate::tide::{self, NOW, NoPost, Ours, READ, Work};
use std::hint::black_box;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;

/// The group of messages with this first octet and payload.
pub(crate) fn contenders(first: u8, payload: &[u8]) -> Vec<Contender> {
    let source = || Source::new(first, payload);
    vec![
        connection(source()),
        endpoint(source()),
        peers::tokio_websockets(source()),
        peers::fastwebsockets(source()),
        peers::tungstenite(source()),
    ]
}

fn connection(mut source: Source) -> Contender {
    let mut ours = Ours::new();
    let mut buffer = vec![0; READ];
    Contender::new("tidegate Connection", move |ops| {
        let mut messages = 0;
        while messages < ops {
            source.fill(&mut buffer);
            ours.receive(&mut buffer, |payload| {
                black_box(payload);
                messages += 1;
            });
        }
        messages
    })
}

fn endpoint(mut source: Source) -> Contender {
    let (mut endpoint, peer) = tide::endpoint(Work::Count);
    let mut buffer = vec![0; READ];
    Contender::new("tidegate Endpoint", move |ops| {
        let before = endpoint.handler().messages;
        while endpoint.handler().messages < before + ops {
            source.fill(&mut buffer);
            endpoint.handle_bytes(NOW, peer, &mut buffer, &mut NoPost);
        }
        endpoint.handler().messages - before
    })
}
