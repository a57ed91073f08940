//! One raw client on a real socket that never blocks: an opening handshake, frames in, masked frames out. It shares
//! nothing with Tidegate's own client, and can be cut at any octet of either direction.

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The handshake is done.
    Upgraded,
    /// A reply or a push.
    Value(Value),
    /// The hub's ping, which has been answered.
    Ping,
    /// The server closes with this code.
    Closed(u16),
    /// The connection is gone: by the peer, the network, or because it was to be cut here.
    Over,
}

/// How many octets may pass before the connection is cut.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// From the server.
    pub(crate) read: usize,
    /// To the server.
    pub(crate) written: usize,
}

impl Budget {
    /// It is not cut.
    pub(crate) const ENDLESS: Budget = Budget {
        read: usize::MAX,
        written: usize::MAX,
    };
}

/// A connection of a client.
pub(crate) struct Wire {
    stream: TcpStream,
    budget: Budget,
    input: Vec<u8>,
    output: Vec<u8>,
    upgraded: bool,
    /// It has told of its end.
    over: bool,
    /// It was its own budget that ended it.
    pub(crate) was_cut: bool,
}

impl Wire {
    /// Begins to connect; the handshake follows by itself.
    ///
    /// # Errors
    /// When no socket is to be had.
    pub(crate) fn connect(
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        budget: Budget,
    ) -> io::Result<Wire> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let head = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        Ok(Wire {
            stream,
            budget,
            input: Vec::new(),
            output: head.into_bytes(),
            upgraded: false,
            over: false,
            was_cut: false,
        })
    }

    /// Sends JSON as one text frame, as far as the socket takes it now.
    pub(crate) fn say(&mut self, value: &Value, heard: &mut Vec<Heard>) {
        self.frame(0x81, value.to_string().as_bytes());
        self.flush(heard);
    }

    /// The socket may be read or written; what came of it is appended.
    pub(crate) fn ready(&mut self, scratch: &mut [u8], heard: &mut Vec<Heard>) {
        self.flush(heard);
        while !self.over {
            let most = scratch.len().min(self.budget.read);
            if most == 0 {
                return self.cut(heard);
            }
            match self.stream.read(&mut scratch[..most]) {
                Ok(0) => return self.end(heard),
                Ok(n) => {
                    self.budget.read -= n;
                    self.input.extend_from_slice(&scratch[..n]);
                    self.understand(heard);
                }
                Err(error) if is_later(&error) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.end(heard),
            }
        }
    }

    /// Ends it as a network does that breaks: the server gets a reset, or nothing more than an end.
    pub(crate) fn drop_hard(self) {
        let socket = socket2::SockRef::from(&self.stream);
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    fn flush(&mut self, heard: &mut Vec<Heard>) {
        while !self.over && !self.output.is_empty() {
            let most = self.output.len().min(self.budget.written);
            if most == 0 {
                return self.cut(heard);
            }
            match self.stream.write(&self.output[..most]) {
                Ok(n) => {
                    self.budget.written -= n;
                    self.output.drain(..n);
                }
                Err(error) if is_later(&error) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.end(heard),
            }
        }
    }

    fn cut(&mut self, heard: &mut Vec<Heard>) {
        self.was_cut = true;
        self.end(heard);
    }

    fn end(&mut self, heard: &mut Vec<Heard>) {
        if !self.over {
            self.over = true;
            heard.push(Heard::Over);
        }
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        self.output.push(first);
        match payload.len() {
            n @ 0..=125 => self.output.push(0x80 | n as u8),
            n => {
                self.output.push(0x80 | 126);
                let n = u16::try_from(n).expect("commands are short");
                self.output.extend(n.to_be_bytes());
            }
        }
        self.output.extend(MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        self.output.extend(masked.map(|(byte, key)| byte ^ key));
    }

    fn understand(&mut self, heard: &mut Vec<Heard>) {
        if !self.upgraded {
            let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") else {
                return;
            };
            if !self.input.starts_with(b"HTTP/1.1 101 ") {
                return self.end(heard);
            }
            self.input.drain(..end + 4);
            self.upgraded = true;
            heard.push(Heard::Upgraded);
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((opcode, payload, after)) = frame(rest) {
            rest = after;
            self.message(opcode, payload, heard);
        }
        if !rest.is_empty() {
            self.input = rest.to_vec(); // an idle client keeps no buffer
        }
    }

    fn message(&mut self, opcode: u8, payload: &[u8], heard: &mut Vec<Heard>) {
        match opcode {
            1 => {
                for line in payload.split(|byte| *byte == b'\n') {
                    let value: Value = serde_json::from_slice(line)
                        .unwrap_or_else(|error| panic!("the server sent no JSON: {error}"));
                    if value.as_object().is_some_and(serde_json::Map::is_empty) {
                        self.frame(0x81, b"{}");
                        heard.push(Heard::Ping);
                    } else {
                        heard.push(Heard::Value(value));
                    }
                }
                self.flush(heard);
            }
            8 => {
                let code = payload.get(..2).map_or(1005, |code| {
                    u16::from_be_bytes(code.try_into().expect("two octets"))
                });
                heard.push(Heard::Closed(code));
                let code = payload.get(..2).unwrap_or_default().to_vec();
                self.frame(0x88, &code);
                self.flush(heard);
            }
            other => panic!("the server sent a frame with opcode {other}"),
        }
    }
}

/// A whole frame at the start of these octets: opcode, payload, and what stands behind it.
fn frame(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (len, start): (usize, usize) = match *octets.get(1)? {
        126 => (
            usize::from(u16::from_be_bytes(octets.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (
            usize::try_from(u64::from_be_bytes(octets.get(2..10)?.try_into().ok()?)).ok()?,
            10,
        ),
        n => (usize::from(n), 2),
    };
    assert_eq!(octets[0] & 0xf0, 0x80, "whole messages, no extension");
    let payload = octets.get(start..start.checked_add(len)?)?;
    Some((octets[0] & 0x0f, payload, &octets[start + len..]))
}

/// The socket has nothing, takes nothing, or is not connected yet.
fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn frames_are_taken_one_by_one() {
        let octets = [0x81, 2, b'{', b'}', 0x88, 2, 0x03, 0xe8, 0x81];
        let (opcode, payload, rest) = frame(&octets).expect("a frame");
        assert_eq!((opcode, payload), (1, &b"{}"[..]));
        let (opcode, payload, rest) = frame(rest).expect("a close");
        assert_eq!((opcode, payload, rest), (8, &[0x03, 0xe8][..], &[0x81][..]));
        assert!(frame(rest).is_none());
        let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256], b"y"].concat();
        let (_, payload, rest) = frame(&long).expect("a longer one");
        assert_eq!((payload.len(), rest), (256, &b"y"[..]));
    }
}
