//! HTTP/2 frame by frame (RFC 9113 §4.1), for clients that no library would be: it keeps no rule but that of its caller.

use super::connect;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload[at..at + 4].try_into();
        u32::from_be_bytes(code.expect("four octets"))
    }
}

pub(crate) struct Raw(TcpStream);

impl Raw {
    /// A connection by prior knowledge.
    pub(crate) fn open(address: SocketAddr) -> Raw {
        let mut raw = Raw(connect(address));
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.send(&frame(SETTINGS, 0, 0, b""));
        raw
    }

    /// Whether the server still takes it.
    pub(crate) fn send(&mut self, octets: &[u8]) -> bool {
        self.0.write_all(octets).is_ok()
    }

    /// The next frame that matters; settings and pings are answered. `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).ok()?;
            match kind {
                SETTINGS | PING if flags & ACK == 0 => {
                    let own = if kind == PING { &payload[..] } else { b"" };
                    self.send(&frame(kind, ACK, 0, own));
                }
                HEADERS | RST_STREAM | GOAWAY | DATA => {
                    let stream = u32::from_be_bytes(stream);
                    return Some(Frame {
                        kind,
                        stream,
                        payload,
                    });
                }
                _ => {}
            }
        }
    }

    /// The next frame of one of these kinds; `None` at the end.
    pub(crate) fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(|frame| kinds.contains(&frame.kind))
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut octets = length[1..].to_vec();
    octets.extend([kind, flags]);
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

/// A field as RFC 7541 §6.2.2 has it: a literal that nobody remembers.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut octets = vec![0];
    for text in [name, value] {
        octets.push(
            u8::try_from(text.len())
                .ok()
                .filter(|n| *n < 127)
                .expect("short"),
        );
        octets.extend(text.as_bytes());
    }
    octets
}

/// The fields of a request for a WebSocket (RFC 8441 §4).
pub(crate) fn connect_fields(address: SocketAddr, path: &str) -> Vec<u8> {
    let authority = address.to_string();
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", &authority),
        (":path", path),
        ("sec-websocket-version", "13"),
    ];
    fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// A request for a WebSocket.
pub(crate) fn ask(address: SocketAddr, path: &str, stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &connect_fields(address, path))
}

/// A stream given up: CANCEL.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}
