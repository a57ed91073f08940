//! What the tests of the handshake share: a plain good request and a small generator of pseudo-random
//! numbers; it is never part of a build.

use super::http1::Request;
use super::server::{self, Head};
use crate::config::HeadLimits;

/// Good fields of a request after its start line.
pub(crate) const FIELDS: &str = "Host: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// The request that `bytes` are.
pub(crate) fn request(bytes: &[u8], secure: bool) -> Request {
    match server::parse(bytes, secure, &HeadLimits::default()) {
        (Head::Upgrade(request), length) if length == bytes.len() => request,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

/// A good request for `target`.
pub(crate) fn upgrade(target: &str) -> Request {
    request(
        format!("GET {target} HTTP/1.1\r\n{FIELDS}\r\n").as_bytes(),
        false,
    )
}

/// xorshift64*: the same numbers on every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % bound
    }

    /// Changes a few octets of `bytes`: replaces, removes, doubles or inserts.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const TELLING: &[u8] = b"\r\n\0 \t,;:=\"\\/?#@[]%.\x16\x7f\x80\xffAz09";
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len().max(1));
            let octet = TELLING[self.below(TELLING.len())];
            match self.below(4) {
                _ if bytes.is_empty() => bytes.push(octet),
                0 => bytes[at] = octet,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, octet),
                _ => {
                    let end = (at + 1 + self.below(40)).min(bytes.len());
                    bytes.extend_from_within(at..end);
                }
            }
        }
    }
}
