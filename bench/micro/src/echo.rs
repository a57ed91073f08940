//! One turn of an endpoint: octets in, the handler sends each message back, what is owed is taken. No copy stands for
//! the kernel: the key is zero, so that the same octets can be received again.

use crate::measure::Contender;
use crate::source;
use crate::stream::TEXT;
use crate::tide::{self, NOW, NoPost, Work};
use crate::utf8;
use std::hint::black_box;

/// Messages of `len` octets, `depth` in one read.
pub(crate) fn contenders(len: usize, depth: usize) -> Vec<Contender> {
    let frame = source::frame(TEXT, [0; 4], &utf8::text("ascii", len));
    let mut input = frame.repeat(depth);
    let (mut endpoint, peer) = tide::endpoint(Work::Echo);
    let run = move |ops: u64| {
        let before = endpoint.handler().messages;
        while endpoint.handler().messages < before + ops {
            endpoint.handle_bytes(NOW, peer, black_box(&mut input), &mut NoPost);
            black_box(tide::transmit(&mut endpoint));
        }
        endpoint.handler().messages - before
    };
    vec![Contender::new("tidegate Endpoint", run)]
}
