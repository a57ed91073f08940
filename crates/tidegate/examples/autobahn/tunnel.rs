//! TLS in front of, or behind, a program that has none: octets pass as they came, and each end's farewell is passed
//! on by itself. It never looks at what passes.

use crate::tls;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConnection, Connection, ServerConnection};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

/// Takes TLS with the pair in `folder` and passes plain octets on to `to`.
pub(crate) fn unwrap(to: SocketAddr, folder: &Path) -> Result<(), Box<dyn Error>> {
    let config = tls::server(folder)?;
    serve(to, move |accepted, dialled| {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        Pump::new(session.into(), accepted, dialled)
    })
}

/// Takes plain octets and passes them on to `to` through TLS.
pub(crate) fn wrap(to: SocketAddr, root: &Path) -> Result<(), Box<dyn Error>> {
    let config = tls::client(root)?;
    serve(to, move |accepted, dialled| {
        let session = ClientConnection::new(Arc::clone(&config), tls::server_name())
            .map_err(io::Error::other)?;
        Pump::new(session.into(), dialled, accepted)
    })
}

/// Listens on a free port, says which, and pumps for each connection until standard input ends.
fn serve(
    to: SocketAddr,
    pump: impl Fn(TcpStream, TcpStream) -> io::Result<Pump> + Clone + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("tunnel at tcp://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for accepted in listener.incoming().flatten() {
            let pump = pump.clone();
            std::thread::spawn(move || {
                let run = || pump(unblocked(accepted)?, unblocked(dial(to)?)?)?.run();
                if let Err(error) = run() {
                    eprintln!("tunnel: {error}");
                }
            });
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn dial(to: SocketAddr) -> io::Result<std::net::TcpStream> {
    std::net::TcpStream::connect(to)
}

fn unblocked(socket: std::net::TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket))
}

/// One connection on its way through.
struct Pump {
    session: Connection,
    secure: TcpStream,
    plain: TcpStream,
    /// Octets that came through TLS and wait for the plain side.
    waiting: Vec<u8>,
    secure_ended: bool,
    plain_ended: bool,
    /// Each farewell is passed on once.
    told_plain: bool,
    told_secure: bool,
}

impl Pump {
    fn new(session: Connection, secure: TcpStream, plain: TcpStream) -> io::Result<Pump> {
        Ok(Pump {
            session,
            secure,
            plain,
            waiting: Vec::new(),
            secure_ended: false,
            plain_ended: false,
            told_plain: false,
            told_secure: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut poll = Poll::new()?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut self.secure, Token(0), both)?;
        poll.registry().register(&mut self.plain, Token(1), both)?;
        let mut events = Events::with_capacity(8);
        while !(self.told_plain && self.told_secure) {
            // Readiness comes as edges: go on until nothing moves.
            while self.inward()? | self.outward()? {}
            if self.told_plain && self.told_secure {
                break;
            }
            poll.poll(&mut events, None).or_else(ignore_interrupted)?;
        }
        Ok(())
    }

    /// TLS to plain. True when something moved.
    fn inward(&mut self) -> io::Result<bool> {
        let mut moved = false;
        if !self.secure_ended && self.waiting.len() < MOST_WAITING {
            match self.session.read_tls(&mut self.secure) {
                Ok(n) => {
                    self.session
                        .process_new_packets()
                        .map_err(io::Error::other)?;
                    self.secure_ended = n == 0;
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let mut some = [0; 16 << 10];
        loop {
            match self.session.reader().read(&mut some) {
                Ok(0) => {
                    self.secure_ended = true;
                    break;
                }
                Ok(n) => self.waiting.extend_from_slice(&some[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        while !self.waiting.is_empty() {
            match self.plain.write(&self.waiting) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(moved),
                Err(error) => return Err(error),
            }
            moved = true;
        }
        if self.secure_ended && !self.told_plain {
            self.told_plain = true;
            let _ = self.plain.shutdown(Shutdown::Write);
        }
        Ok(moved)
    }

    /// Plain to TLS. True when something moved.
    fn outward(&mut self) -> io::Result<bool> {
        let mut moved = false;
        // What TLS owes goes first, so that it never holds more than one read.
        if !self.plain_ended && !self.session.wants_write() && !self.session.is_handshaking() {
            let mut some = [0; 16 << 10];
            match self.plain.read(&mut some) {
                Ok(0) => {
                    self.plain_ended = true;
                    self.session.send_close_notify();
                }
                Ok(n) => self.session.writer().write_all(&some[..n])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.secure) {
                Ok(_) => moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(moved),
                Err(error) => return Err(error),
            }
        }
        if self.plain_ended && !self.told_secure {
            self.told_secure = true;
            let _ = self.secure.shutdown(Shutdown::Write);
        }
        Ok(moved)
    }
}

fn ignore_interrupted(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// Beyond this much nothing more is read through TLS.
const MOST_WAITING: usize = 1 << 20;
