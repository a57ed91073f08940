//! A client of raw octets.

use super::PATIENCE;
use super::wire::{CLOSE, Frame, PONG, field, masked, read_frame, read_head};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The key of RFC 6455 §1.3.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// The answer's head.
    pub(crate) head: String,
}

/// A request, field by field.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) start: String,
    fields: Vec<(String, String)>,
}

impl Ask {
    /// A right request for a WebSocket.
    pub(crate) fn new(host: SocketAddr, path: &str) -> Ask {
        let fields = [
            ("Host", host.to_string()),
            ("Upgrade", "websocket".into()),
            ("Connection", "Upgrade".into()),
            ("Sec-WebSocket-Key", SAMPLE_KEY.into()),
            ("Sec-WebSocket-Version", "13".into()),
        ];
        Ask {
            start: format!("GET {path} HTTP/1.1"),
            fields: fields.map(|(name, value)| (name.into(), value)).to_vec(),
        }
    }

    pub(crate) fn start(mut self, line: &str) -> Ask {
        self.start = line.into();
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Ask {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Ask {
        self.fields.retain(|(found, _)| found != name);
        self
    }

    pub(crate) fn set(self, name: &str, value: &str) -> Ask {
        self.without(name).with(name, value)
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        (text + "\r\n").into_bytes()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the guard listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Client {
            stream,
            head: String::new(),
        }
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) fn ask(address: SocketAddr, ask: &Ask) -> Client {
        let mut client = Client::connect(address);
        client.send(&ask.octets());
        client.read_head();
        client
    }

    /// An open WebSocket.
    pub(crate) fn open(address: SocketAddr) -> Client {
        Client::opened(address, &Ask::new(address, "/"))
    }

    /// An open WebSocket by this request.
    pub(crate) fn opened(address: SocketAddr, ask: &Ask) -> Client {
        let client = Client::ask(address, ask);
        assert_eq!(client.status(), 101, "{}", client.head);
        assert_eq!(
            field(&client.head, "sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        client
    }

    pub(crate) fn read_head(&mut self) {
        self.head = read_head(&mut self.stream).expect("an answer");
    }

    /// The answer's status; 0 when there was none.
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1);
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets); // the guard may have closed already; reading says so
    }

    pub(crate) fn say(&mut self, opcode: u8, payload: &[u8]) {
        self.send(&masked(opcode, payload));
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        let frame = read_frame(&mut self.stream).expect("a frame");
        frame.expect("a frame, and not the end")
    }

    /// The next frame that is no pong.
    pub(crate) fn next(&mut self) -> Frame {
        loop {
            let frame = self.frame();
            if frame.opcode() != PONG {
                return frame;
            }
        }
    }

    /// The code of the Close that must come before the end, and nothing but pongs before it; 0 when the
    /// connection ended without one.
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            match read_frame(&mut self.stream) {
                Ok(Some(frame)) if frame.opcode() == CLOSE => return frame.code(),
                Ok(Some(frame)) if frame.opcode() == PONG => {}
                Ok(Some(frame)) => panic!("not a Close: {frame:?}"),
                Ok(None) | Err(_) => return 0,
            }
        }
    }

    /// Everything until the end, whatever it is.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}
