//! TLS of one connection: records in, plaintext out and back, in buffers that the caller lends; does no I/O but
//! through the socket it is lent.
//!
//! rustls keeps nothing between two calls but its state, so an idle session has no buffers at all.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, ServerConfig};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;

/// One side of a TLS session: the server's with clients, the client's with upstreams.
pub(crate) struct Session {
    tls: Tls,
    /// The beginning of a record, or of a handshake message, whose end has not come.
    cut: Vec<u8>,
    /// Records that the socket has not taken yet.
    waiting: Vec<u8>,
    /// Its first octets have come and were TLS.
    began: bool,
    /// The other side has said close_notify.
    ended: bool,
    /// close_notify was sent.
    said_goodbye: bool,
    /// It has failed, and rustls must not be asked again.
    failed: bool,
}

enum Tls {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What a read's worth of octets from a TLS peer came to.
#[derive(Debug)]
pub(crate) enum Decrypted {
    /// Read on.
    More,
    /// The client has said close_notify: no more will come.
    End,
    /// The records, or the certificate, are wrong; an alert may wait to be written.
    Broken(rustls::Error),
    /// The first octets are no TLS but look like an HTTP request.
    PlainHttp,
}

/// Answers a client that speaks plain HTTP to a TLS port.
pub(crate) const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 46\r\n\r\n\
    This port speaks TLS: use wss:// or https://.\n";

/// Most plaintext that one write encrypts.
const A_WRITE: usize = 48 << 10;
/// A record's plaintext at most (RFC 8446 §5.1).
const A_RECORD: usize = 16 << 10;
/// More than a record adds to its plaintext, in any version.
const OVERHEAD: usize = 64;

/// The record type of a handshake, which opens every session (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// Octets of a record's header, the last two of which give the length of what follows.
const HEADER: usize = 5;

impl Session {
    /// # Errors
    /// Only when the settings contradict themselves.
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Session, rustls::Error> {
        let tls = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Session::of(Tls::Server(tls)))
    }

    /// The client's side, with a server whose certificate must be for `name`. Its first record waits to be
    /// flushed.
    ///
    /// # Errors
    /// Only when the settings contradict themselves.
    pub(crate) fn client(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Session, rustls::Error> {
        let tls = UnbufferedClientConnection::new(Arc::clone(config), name)?;
        let mut session = Session::of(Tls::Client(tls));
        session.began = true;
        session.process(&mut [], &mut [], &mut |_| {})?;
        Ok(session)
    }

    fn of(tls: Tls) -> Session {
        Session {
            tls,
            cut: Vec::new(),
            waiting: Vec::new(),
            began: false,
            ended: false,
            said_goodbye: false,
            failed: false,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    fn state(&self) -> &CommonState {
        match &self.tls {
            Tls::Server(tls) => tls,
            Tls::Client(tls) => tls,
        }
    }

    /// The certificate that the client has shown (DER), once the handshake is over: rustls has verified it by then. Of a
    /// session with an upstream there is none.
    pub(crate) fn client_certificate(&self) -> Option<&[u8]> {
        match &self.tls {
            Tls::Server(tls) if !tls.is_handshaking() => {
                let chain = tls.peer_certificates()?;
                chain.first().map(|own| own.as_ref())
            }
            _ => None,
        }
    }

    /// The other side has said close_notify: no more will come.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Takes all of `records`, which it overwrites; hands the plaintext to `deliver`, through `plain`, as it
    /// appears.
    pub(crate) fn decrypt(
        &mut self,
        records: &mut [u8],
        plain: &mut [u8],
        mut deliver: impl FnMut(&mut [u8]),
    ) -> Decrypted {
        if !self.began {
            match records.first() {
                Some(&HANDSHAKE) => self.began = true,
                Some(first) if first.is_ascii_uppercase() => return Decrypted::PlainHttp,
                _ => {} // rustls says what is wrong with it, by alert
            }
        }
        if self.failed {
            return Decrypted::Broken(rustls::Error::General("it has failed before".into()));
        }
        match self.take(records, plain, &mut deliver) {
            Err(error) => Decrypted::Broken(error),
            Ok(()) if self.ended => Decrypted::End,
            Ok(()) => Decrypted::More,
        }
    }

    /// Decrypts in place what is whole, and keeps the rest.
    fn take(
        &mut self,
        mut records: &mut [u8],
        plain: &mut [u8],
        deliver: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), rustls::Error> {
        while !self.cut.is_empty() && !records.is_empty() {
            let (head, rest) = records.split_at_mut(missing(&self.cut).min(records.len()));
            records = rest;
            let mut whole = std::mem::take(&mut self.cut);
            whole.extend_from_slice(head);
            let used = self.process(&mut whole, plain, deliver)?;
            if used < whole.len() {
                whole.drain(..used);
                self.cut = whole;
            }
        }
        if !records.is_empty() {
            let used = self.process(records, plain, deliver)?;
            self.cut = records[used..].to_vec();
        }
        Ok(())
    }

    /// Lets rustls work until it needs more than `incoming`; returns how much of that it has used. What it
    /// answers, an alert too, waits to be flushed.
    fn process(
        &mut self,
        incoming: &mut [u8],
        plain: &mut [u8],
        deliver: &mut dyn FnMut(&mut [u8]),
    ) -> Result<usize, rustls::Error> {
        let mut used = 0;
        loop {
            let (discard, step) = self.step(&mut incoming[used..], plain, deliver);
            used += discard;
            match step {
                Step::Again => {}
                Step::Ended => self.ended = true,
                Step::Waits => return Ok(used),
                Step::Failed(error) => {
                    self.failed = true;
                    // The alert that tells the other side; what else has come means nothing any more.
                    while self.state().wants_write() {
                        self.step(&mut [], plain, deliver);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// One call of rustls; also returns how much of `incoming` it has used.
    fn step(
        &mut self,
        incoming: &mut [u8],
        plain: &mut [u8],
        deliver: &mut dyn FnMut(&mut [u8]),
    ) -> (usize, Step) {
        let waiting = &mut self.waiting;
        match &mut self.tls {
            Tls::Server(tls) => step(tls.process_tls_records(incoming), waiting, plain, deliver),
            Tls::Client(tls) => step(tls.process_tls_records(incoming), waiting, plain, deliver),
        }
    }

    /// Encrypts as much of `slices` as one write should hold and writes it to `socket`; what that does not take
    /// is kept for [`Session::flush`]. Returns how much was encrypted: nothing while the handshake goes on.
    /// `gather` is room for several slices, `records` for what they become; both are kept only by the caller.
    ///
    /// Nothing may wait to be flushed.
    ///
    /// # Errors
    /// Those of the socket, and when the session's keys are used up.
    pub(crate) fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        gather: &mut [u8],
        records: &mut Vec<u8>,
        mut socket: impl Write,
    ) -> io::Result<usize> {
        debug_assert!(self.waiting.is_empty(), "older records go first");
        let text = gathered(slices, gather);
        let room = text.len() + (text.len() / A_RECORD + 1) * OVERHEAD;
        if records.len() < room {
            records.resize(room, 0);
        }
        let Some(sealed) = self.when_open(|mut traffic| seal(&mut traffic, text, records)) else {
            return Ok(0);
        };
        let sealed = &records[..sealed?];
        // Answers of TLS itself that came up on the way stand before it.
        let written = match self.waiting.is_empty() {
            true => match socket.write(sealed) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(error) if is_passing(&error) => 0,
                Err(error) => return Err(error),
            },
            false => 0,
        };
        self.waiting.extend_from_slice(&sealed[written..]);
        Ok(text.len())
    }

    /// Calls `with` once data of the application may be sent; `None` if that is not now.
    fn when_open<T>(&mut self, with: impl FnOnce(Traffic<'_>) -> T) -> Option<T> {
        if self.failed {
            return None;
        }
        // rustls looks at what it has seen of the incoming side each time.
        self.process_cut().ok()?;
        let mut cut = std::mem::take(&mut self.cut);
        let given = match &mut self.tls {
            Tls::Server(tls) => match tls.process_tls_records(&mut cut).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => Some(with(Traffic::Server(traffic))),
                _ => None,
            },
            Tls::Client(tls) => match tls.process_tls_records(&mut cut).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => Some(with(Traffic::Client(traffic))),
                _ => None,
            },
        };
        self.cut = cut;
        given
    }

    /// Lets out what rustls itself has to say.
    fn process_cut(&mut self) -> Result<(), rustls::Error> {
        let mut cut = std::mem::take(&mut self.cut);
        let used = self.process(&mut cut, &mut [], &mut |_| {})?;
        cut.drain(..used);
        self.cut = cut;
        Ok(())
    }

    /// Writes what waits; false when the socket takes no more for now.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn flush(&mut self, mut socket: impl Write) -> io::Result<bool> {
        let mut written = 0;
        while written < self.waiting.len() {
            match socket.write(&self.waiting[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.waiting.drain(..written);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.waiting = Vec::new();
        Ok(true)
    }

    /// Whether octets wait for [`Session::flush`].
    pub(crate) fn wants_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Queues close_notify, once: without it the client could not tell the end from a cut (RFC 8446 §6.1). A
    /// session whose handshake goes on ends without.
    pub(crate) fn say_goodbye(&mut self) {
        if self.said_goodbye {
            return;
        }
        self.said_goodbye = true;
        let mut alert = [0; 512];
        let length = self.when_open(|traffic| match traffic {
            Traffic::Server(mut traffic) => traffic.queue_close_notify(&mut alert),
            Traffic::Client(mut traffic) => traffic.queue_close_notify(&mut alert),
        });
        if let Some(Ok(length)) = length {
            self.waiting.extend_from_slice(&alert[..length]);
        }
    }
}

/// A session that takes data of the application.
enum Traffic<'a> {
    Server(WriteTraffic<'a, ServerConnectionData>),
    Client(WriteTraffic<'a, ClientConnectionData>),
}

/// Encrypts `text`, which is at most [`A_WRITE`] long; returns the length of its records.
fn seal(traffic: &mut Traffic<'_>, text: &[u8], records: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        let sealed = match traffic {
            Traffic::Server(traffic) => traffic.encrypt(text, records),
            Traffic::Client(traffic) => traffic.encrypt(text, records),
        };
        match sealed {
            Ok(length) => return Ok(length),
            Err(EncryptError::InsufficientSize(short)) => records.resize(short.required_size, 0),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// What one call of rustls came to.
enum Step {
    Again,
    /// The other side has said that no more will come.
    Ended,
    /// Nothing is left to do without more octets.
    Waits,
    Failed(rustls::Error),
}

/// Does what rustls asks for; also returns how much of the input it has used.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    waiting: &mut Vec<u8>,
    plain: &mut [u8],
    deliver: &mut dyn FnMut(&mut [u8]),
) -> (usize, Step) {
    let mut discard = status.discard;
    let step = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Step::Again,
                Some(Err(error)) => break Step::Failed(error),
                Some(Ok(record)) => {
                    discard += record.discard;
                    for part in record.payload.chunks(plain.len().max(1)) {
                        plain[..part.len()].copy_from_slice(part);
                        deliver(&mut plain[..part.len()]);
                    }
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let at = waiting.len();
            if let Err(EncodeError::InsufficientSize(short)) = data.encode(&mut []) {
                waiting.resize(at + short.required_size, 0);
                let _ = data.encode(&mut waiting[at..]); // it is as long as asked for
            }
            Step::Again
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done(); // it waits in order, before all that follows
            Step::Again
        }
        Ok(ConnectionState::PeerClosed) => Step::Ended,
        Ok(_) => Step::Waits,
        Err(error) => Step::Failed(error),
    };
    (discard, step)
}

/// How many octets the record that `begun` ends with still lacks; of a header when it ends with a whole one.
fn missing(begun: &[u8]) -> usize {
    let mut rest = begun;
    loop {
        let Some(header) = rest.first_chunk::<HEADER>() else {
            return HEADER - rest.len();
        };
        let whole = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
        if whole > rest.len() {
            return whole - rest.len();
        }
        rest = &rest[whole..];
    }
}

/// The beginning of `slices` in one piece: the first alone if it fills a record or there is no other, else as many as `room` takes.
fn gathered<'a>(slices: &'a [IoSlice<'_>], room: &'a mut [u8]) -> &'a [u8] {
    let first: &[u8] = slices.first().map_or(&[], |first| first);
    if slices.len() < 2 || first.len() >= room.len() {
        return &first[..first.len().min(A_WRITE)];
    }
    let mut filled = 0;
    for slice in slices {
        let n = slice.len().min(room.len() - filled);
        room[filled..filled + n].copy_from_slice(&slice[..n]);
        filled += n;
    }
    &room[..filled]
}

/// The socket is not at fault: it takes no more for now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_announces_its_true_length() {
        let text = std::str::from_utf8(SPEAKS_TLS).expect("it is ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head} {}",
            body.len()
        );
    }

    #[test]
    fn a_record_is_completed_by_what_it_lacks_and_no_more() {
        let record = |length: u16| {
            let [high, low] = length.to_be_bytes();
            let mut octets = vec![23, 3, 3, high, low];
            octets.resize(HEADER + usize::from(length), 0);
            octets
        };
        let whole = record(300);
        for at in 1..HEADER {
            assert_eq!(missing(&whole[..at]), HEADER - at);
        }
        for at in HEADER..whole.len() {
            assert_eq!(missing(&whole[..at]), whole.len() - at);
        }
        let two = [record(7), record(0)].concat();
        assert_eq!(missing(&two), HEADER, "the next one's header");
        assert_eq!(missing(&two[..13]), 4);
    }

    #[test]
    fn slices_become_one_piece_that_a_write_can_hold() {
        let (short, long) = ([1; 10], vec![2; 100 << 10]);
        let mut room = [0; 64];
        let one = [IoSlice::new(&long)];
        assert_eq!(gathered(&one, &mut room).len(), A_WRITE);
        let two = [IoSlice::new(&short), IoSlice::new(&long)];
        let text = gathered(&two, &mut room);
        assert_eq!((text.len(), text[9], text[10]), (64, 1, 2));
        assert_eq!(gathered(&[], &mut room), [0; 0]);
    }
}
