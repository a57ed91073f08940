//! An upstream of raw sockets that does what a row tells it and writes down what it saw.

use super::PATIENCE;
use super::sha1::accept;
use super::wire::{CLOSE, Frame, PING, field, plain, read_frame, read_head};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A running upstream; it ends with the test's process.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

/// What an upstream saw, in order.
#[derive(Default)]
pub(crate) struct Seen {
    inner: Mutex<Notes>,
    more: Condvar,
}

#[derive(Default, Clone)]
pub(crate) struct Notes {
    /// Every connection counts, whether it said something or not.
    pub(crate) connections: usize,
    pub(crate) heads: Vec<String>,
    pub(crate) frames: Vec<Frame>,
    /// Octets after a head that were not read as frames.
    pub(crate) octets: Vec<u8>,
    pub(crate) ended: usize,
}

impl Notes {
    /// Data frames.
    pub(crate) fn data(&self) -> Vec<&Frame> {
        self.frames.iter().filter(|f| f.opcode() < 8).collect()
    }

    /// The codes of Close frames.
    pub(crate) fn closes(&self) -> Vec<u16> {
        let closes = self.frames.iter().filter(|f| f.opcode() == CLOSE);
        closes.map(Frame::code).collect()
    }
}

impl Seen {
    pub(crate) fn note(&self, write: impl FnOnce(&mut Notes)) {
        write(&mut self.inner.lock().expect("no panic"));
        self.more.notify_all();
    }

    pub(crate) fn now(&self) -> Notes {
        self.inner.lock().expect("no panic").clone()
    }

    /// Waits until what was seen satisfies `enough`.
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&Notes) -> bool) -> Notes {
        let deadline = Instant::now() + PATIENCE;
        let mut notes = self.inner.lock().expect("no panic");
        while !enough(&notes) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the upstream never saw: {what}");
            notes = self.more.wait_timeout(notes, left).expect("no panic").0;
        }
        notes.clone()
    }
}

/// One connection that a script serves.
pub(crate) struct Call {
    pub(crate) stream: TcpStream,
    /// The request's head.
    pub(crate) head: String,
    pub(crate) seen: Arc<Seen>,
}

impl Call {
    pub(crate) fn is_upgrade(&self) -> bool {
        field(&self.head, "upgrade").is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
    }

    /// The accept value that the guard must get.
    pub(crate) fn accept(&self) -> String {
        accept(field(&self.head, "sec-websocket-key").expect("a key"))
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets); // the guard may have had enough
    }

    /// A right 101 with further lines, each ended by CRLF.
    pub(crate) fn answer(&mut self, lines: &str) {
        let accept = self.accept();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        );
        self.send(head.as_bytes());
    }

    /// The next frame, written down; `None` at the end.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let frame = read_frame(&mut self.stream).ok().flatten()?;
        self.seen.note(|notes| notes.frames.push(frame.clone()));
        Some(frame)
    }

    /// Sends data frames back as they came, answers pings and Close.
    pub(crate) fn echo(&mut self) {
        while let Some(frame) = self.frame() {
            match frame.opcode() {
                CLOSE => {
                    self.send(&plain(CLOSE, &frame.payload));
                    return;
                }
                PING => self.send(&plain(super::wire::PONG, &frame.payload)),
                opcode if opcode < 8 => {
                    let echoed = super::wire::frame(frame.first, None, &frame.payload);
                    self.send(&echoed);
                }
                _ => {}
            }
        }
    }

    /// Writes down whatever comes, until the end.
    pub(crate) fn drink(&mut self) {
        let mut buffer = [0; 4_096];
        while let Ok(n @ 1..) = self.stream.read(&mut buffer) {
            let octets = buffer[..n].to_vec();
            self.seen.note(|notes| notes.octets.extend(octets));
        }
    }

    /// Frames until the end.
    pub(crate) fn frames(&mut self) {
        while self.frame().is_some() {}
    }
}

impl Upstream {
    /// Serves each connection with `script`, which gets it with its request read.
    pub(crate) fn start(script: impl Fn(Call) + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Seen::default());
        let (script, notes) = (Arc::new(script), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                notes.note(|notes| notes.connections += 1);
                let (script, seen) = (Arc::clone(&script), Arc::clone(&notes));
                thread::spawn(move || {
                    let patience = Some(PATIENCE + Duration::from_secs(20));
                    stream.set_read_timeout(patience).expect("a timeout");
                    stream.set_nodelay(true).expect("an option");
                    let head = read_head(&mut stream).unwrap_or_default();
                    if !head.is_empty() {
                        seen.note(|notes| notes.heads.push(head.clone()));
                        script(Call {
                            stream,
                            head,
                            seen: Arc::clone(&seen),
                        });
                    }
                    seen.note(|notes| notes.ended += 1);
                });
            }
        });
        Upstream { address, seen }
    }

    /// A right WebSocket echo; any other request gets a page.
    pub(crate) fn echo() -> Upstream {
        Upstream::start(|mut call| match call.is_upgrade() {
            true => {
                call.answer("");
                call.echo();
            }
            false => call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Page: yes\r\n\r\npage"),
        })
    }

    /// Answers 101 with these lines, then plays these octets and writes down the frames that come.
    pub(crate) fn playing(lines: &'static str, octets: Vec<u8>) -> Upstream {
        Upstream::start(move |mut call| {
            call.answer(lines);
            call.send(&octets);
            call.frames();
        })
    }

    /// Answers the request with these octets, whatever it says, and drinks what follows.
    pub(crate) fn answering(octets: &'static [u8]) -> Upstream {
        Upstream::start(move |mut call| {
            call.send(octets);
            call.drink();
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}
