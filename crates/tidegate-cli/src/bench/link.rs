//! One non-blocking TCP connection of the load, plain or TLS; it knows nothing of WebSocket.

use super::target::Target;
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, Read, Write};
use tidegate::rustls::ClientConnection;

/// A transport.
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

/// A transport with TLS, driven by hand.
pub(crate) struct Tls {
    tcp: TcpStream,
    session: ClientConnection,
}

impl Link {
    /// Begins to connect; the connection with this number.
    ///
    /// # Errors
    /// What the system says: too many open files, no free port.
    pub(crate) fn connect(target: &Target, number: usize) -> io::Result<Link> {
        let domain = Domain::for_address(target.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = target.source(number) {
            // Only a way to more ports: without it there are fewer.
            let _ = socket.bind(&source.into());
        }
        match socket.connect(&target.address.into()) {
            Ok(()) => {}
            Err(error) if is_under_way(&error) => {}
            Err(error) => return Err(error),
        }
        let tcp = TcpStream::from_std(socket.into());
        match &target.secure {
            None => Ok(Link::Plain(tcp)),
            Some((config, name)) => {
                let session = ClientConnection::new(config.clone(), name.clone())
                    .map_err(io::Error::other)?;
                Ok(Link::Tls(Box::new(Tls { tcp, session })))
            }
        }
    }

    /// The socket.
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Link::Plain(tcp) => tcp,
            Link::Tls(tls) => &mut tls.tcp,
        }
    }

    /// Closes with a reset, so that nothing of the connection stays behind.
    pub(crate) fn reset(mut self) {
        let _ = socket2::SockRef::from(&*self.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }

    /// A read that did not fill the buffer has emptied the socket.
    pub(crate) fn short_read_is_all(&self) -> bool {
        matches!(self, Link::Plain(_))
    }

    /// Reads what there is; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Plain(tcp) => tcp.read(buffer),
            Link::Tls(tls) => tls.read(buffer),
        }
    }

    /// Writes some of `slices`.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Link::Plain(tcp) => match slices {
                [one] => tcp.write(one),
                many => tcp.write_vectored(many),
            },
            Link::Tls(tls) => tls.write(slices),
        }
    }

    /// Writes what TLS itself has to say, and what it holds back.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Link::Plain(_) => Ok(()),
            Link::Tls(tls) => tls.flush(),
        }
    }
}

impl Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.session.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            let processed = self.session.process_new_packets();
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.session.writer().write_vectored(slices)?;
        self.flush()?;
        match taken {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The connection is being made.
fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}
