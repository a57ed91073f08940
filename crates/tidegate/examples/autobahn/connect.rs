//! One WebSocket over a blocking socket, plain or TLS: opening handshake, then octets and timeouts in and out of
//! the core. It decides nothing that the core decides.

use crate::tls;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate::OsRandom;
use tidegate_proto::handshake::client::{Accepted, Answer, ClientHandshake, ClientRequest};
use tidegate_proto::handshake::parse_offers;
use tidegate_proto::{
    Closed, Config, Connection, Event, HeadLimits, Level, Message, Outbox, Resources, Role, Time,
    Transport, deflate,
};

/// What all connections of a run share.
pub(crate) struct Dialer {
    authority: String,
    tls: Option<Arc<ClientConfig>>,
    config: Arc<Config>,
    resources: Resources,
    start: Instant,
}

/// Plain or TLS.
trait Stream: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Dialer {
    /// For connections to `authority`, through TLS if its settings are given.
    pub(crate) fn new(authority: &str, tls: Option<Arc<ClientConfig>>, config: Config) -> Dialer {
        Dialer {
            authority: authority.to_owned(),
            tls,
            config: Arc::new(config),
            resources: Resources::new(Box::new(OsRandom::new())),
            start: Instant::now(),
        }
    }

    /// Opens `target`, gives each message to `message` (which may send), and stays to the end.
    pub(crate) fn run(
        &mut self,
        target: &str,
        mut message: impl FnMut(&mut Message<'_>, &mut Connection, &mut Resources) -> Level,
    ) -> Result<Closed, Box<dyn Error>> {
        let mut stream = self.connect()?;
        let (mut connection, mut early) = self.open(&mut *stream, target)?;
        let mut buffer = vec![0; READ];
        let mut closed = None;
        let mut input = &mut early[..];
        loop {
            while let Some(event) = connection.receive(self.now(), &mut input, &mut self.resources)
            {
                match event {
                    Event::Message(mut m) => {
                        let level = message(&mut m, &mut connection, &mut self.resources);
                        if level == Level::Full {
                            return Err("the outbox is full".into());
                        }
                    }
                    Event::Closed(why) => closed = Some(why),
                    Event::Part(_) => unreachable!("streaming was not asked for"),
                }
                // An answer goes out before what follows is looked at: should that be an error, the
                // answer was there first.
                self.flush(&mut *stream, &mut connection)?;
            }
            self.flush(&mut *stream, &mut connection)?;
            if connection.transport() == Transport::Close {
                break;
            }
            match self.read(&mut *stream, &connection, &mut buffer)? {
                Some(0) => {
                    let why = connection.handle_eof(self.now(), &mut self.resources);
                    closed = closed.or(why);
                    break;
                }
                Some(n) => input = &mut buffer[..n],
                None => {
                    let why = connection.handle_timeout(self.now(), &mut self.resources);
                    closed = closed.or(why);
                    input = &mut [];
                }
            }
        }
        connection.handle_end(&mut self.resources);
        closed.ok_or_else(|| "the connection ended without a word on how".into())
    }

    fn connect(&self) -> Result<Box<dyn Stream>, Box<dyn Error>> {
        let socket = TcpStream::connect(&self.authority)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(socket));
        };
        let session = ClientConnection::new(Arc::clone(config), tls::server_name())?;
        Ok(Box::new(StreamOwned::new(session, socket)))
    }

    /// The opening handshake; returns also what came behind the server's answer.
    fn open(
        &mut self,
        stream: &mut dyn Stream,
        target: &str,
    ) -> Result<(Connection, Vec<u8>), Box<dyn Error>> {
        let mut key = [0; 16];
        self.resources.random().fill(&mut key);
        let mut request = ClientRequest::new(&self.authority, target, key);
        request.extensions = Some(OFFER);
        let mut handshake = ClientHandshake::new(&request)?;
        stream.write_all(handshake.request())?;
        stream.flush()?;
        let mut head = Vec::new();
        let accepted = loop {
            let mut some = [0; 4096];
            let n = stream.read(&mut some)?;
            if n == 0 {
                return Err("the server ended the handshake".into());
            }
            head.extend_from_slice(&some[..n]);
            match handshake.parse_response(&head, &HeadLimits::default())? {
                Answer::Incomplete => {}
                Answer::Accepted(accepted) => break accepted,
                Answer::Refused(refused) => {
                    return Err(format!("{target} was refused: {}", refused.status).into());
                }
            }
        };
        let connection = self.connection(&accepted)?;
        Ok((connection, head.split_off(accepted.head_length)))
    }

    fn connection(&mut self, accepted: &Accepted) -> Result<Connection, Box<dyn Error>> {
        let config = Arc::clone(&self.config);
        let mut connection = Connection::new(Role::Client, config, Outbox::default(), self.now());
        if let Some(extensions) = &accepted.extensions {
            let elements = parse_offers(extensions.as_bytes())?;
            if let Some(negotiated) = deflate::judge(&elements, &self.config.deflate)? {
                connection.set_deflate(negotiated, &mut self.resources);
            }
        }
        Ok(connection)
    }

    fn flush(&mut self, stream: &mut dyn Stream, connection: &mut Connection) -> io::Result<()> {
        loop {
            let mut slices = [IoSlice::new(&[])];
            if connection.poll_transmit(&mut slices) == 0 {
                return stream.flush();
            }
            let written = match stream.write(&slices[0]) {
                // The server has left, as it may when it closes: what it sent before is still to be read.
                Err(error) if is_gone(&error) => slices[0].len(),
                result => result?,
            };
            connection.handle_sent(self.now(), written, &mut self.resources);
        }
    }

    /// `None` when the core's next deadline came first; 0 when the connection ended in whatever way.
    fn read(
        &self,
        stream: &mut dyn Stream,
        connection: &Connection,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let wait = connection
            .poll_timeout()
            .map(|at| at.since(self.now()).max(Duration::from_millis(1)));
        stream.socket().set_read_timeout(wait)?;
        match stream.read(buffer) {
            Ok(n) => Ok(Some(n)),
            Err(error) if is_gone(&error) => Ok(Some(0)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(None),
                ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }
}

/// The peer has closed or reset the connection, with or without TLS's farewell.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// Everything a server may ask a client for; the cases of 13 ask for each.
const OFFER: &str = "permessage-deflate; client_no_context_takeover; client_max_window_bits";
const READ: usize = 64 << 10;
/// Longest wait for the handshake, and for a peer that takes nothing.
const PATIENCE: Duration = Duration::from_secs(60);
