//! A small WebSocket client that remembers every octet it sent and received; it shares nothing with ours.

use super::{connect, http};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Key and accept value of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A stream that keeps a copy of all that passes.
pub(crate) struct Captured<S> {
    stream: S,
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
}

impl<S: Read> Read for Captured<S> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.stream.read(buf)?;
        self.received.extend_from_slice(&buf[..n]);
        Ok(n)
    }
}

impl<S: Write> Write for Captured<S> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.stream.write(buf)?;
        self.sent.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// An open connection.
pub(crate) struct Ws<S = TcpStream> {
    pub(crate) wire: Captured<S>,
    masks: u32,
}

/// One frame as the server sent it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("UTF-8")
    }

    /// The code of a Close frame.
    pub(crate) fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

impl Ws {
    /// Connects to a path of a server without TLS.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Ws {
        Ws::try_open(address, path, &format!("Host: {address}\r\n"))
            .unwrap_or_else(|answer| panic!("{path}: {} {}", answer.status, answer.text()))
    }

    /// Connects with these header lines (`Host` among them), or gives the refusal.
    pub(crate) fn try_open(
        address: SocketAddr,
        path: &str,
        headers: &str,
    ) -> Result<Ws, http::Answer> {
        Ws::over(connect(address), path, headers)
    }
}

impl<S: Read + Write> Ws<S> {
    /// Makes a WebSocket of a stream.
    pub(crate) fn over(stream: S, path: &str, headers: &str) -> Result<Ws<S>, http::Answer> {
        let mut wire = Captured {
            stream,
            sent: Vec::new(),
            received: Vec::new(),
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\n{headers}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        let answer = http::exchange(&mut wire, head.as_bytes(), false);
        if answer.status != 101 {
            return Err(answer);
        }
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        Ok(Ws {
            wire,
            masks: 0x9e37_79b9,
        })
    }

    /// Goes on with a stream whose handshake is done.
    pub(crate) fn after_handshake(stream: S) -> Ws<S> {
        Ws {
            wire: Captured {
                stream,
                sent: Vec::new(),
                received: Vec::new(),
            },
            masks: 1,
        }
    }

    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.masks = self
            .masks
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let mask = self.masks.to_be_bytes();
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            n @ 0..=125 => frame.push(0x80 | n as u8),
            n @ 126..=65_535 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(
            payload
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ mask[i % 4]),
        );
        self.wire.write_all(&frame).expect("the frame is sent");
    }

    /// Sends JSON as text.
    pub(crate) fn say(&mut self, json: &serde_json::Value) {
        self.send(TEXT, json.to_string().as_bytes());
    }

    /// The next frame; `None` when the server has closed the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.wire.read(&mut head[..1]) {
            Ok(0) => return None,
            Ok(_) => self
                .wire
                .read_exact(&mut head[1..])
                .expect("a whole header"),
            Err(error) => panic!("no frame: {error}"),
        }
        assert_eq!(
            head[0] & 0xf0,
            0x80,
            "a whole message without extension bits"
        );
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.array())),
            127 => u64::from_be_bytes(self.array()),
            short => u64::from(short),
        };
        let mut payload = vec![0; length as usize];
        self.wire.read_exact(&mut payload).expect("a whole payload");
        Some(Frame {
            opcode: head[0] & 0x0f,
            payload,
        })
    }

    /// The next frame, which there is.
    pub(crate) fn expect(&mut self) -> Frame {
        self.next().expect("a frame, not the end")
    }

    /// Reads on to the reply with this id; pushes between are passed over.
    pub(crate) fn reply(&mut self, id: u64) -> serde_json::Value {
        loop {
            let frame = self.expect();
            assert_eq!(frame.opcode, TEXT, "{frame:?}");
            for line in frame.text().lines() {
                let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
                if json["id"] == id {
                    return json;
                }
            }
        }
    }

    /// Says the command `{"id":id, command}` and reads its reply, which is no error.
    pub(crate) fn ask(
        &mut self,
        id: u64,
        name: &str,
        command: serde_json::Value,
    ) -> serde_json::Value {
        self.say(&serde_json::json!({ "id": id, name: command }));
        let reply = self.reply(id);
        assert!(reply.get("error").is_none(), "{name}: {reply}");
        reply[name].clone()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.wire.read_exact(&mut bytes).expect("a whole header");
        bytes
    }
}
