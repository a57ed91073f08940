//! TLS of one connection on a worker: records in, plaintext out and back; does no I/O but through the socket it is lent.

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

/// One side of a TLS session: the server's with clients, the client's with upstreams.
pub(crate) struct Session {
    tls: Connection,
    /// Its first octets have come and were TLS.
    began: bool,
    /// close_notify was sent.
    said_goodbye: bool,
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

/// Most ciphertext, and most plaintext before the handshake's end, that rustls holds for a client.
const BUFFER: usize = 64 << 10;

/// The record type of a handshake, which opens every session (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

impl Session {
    /// # Errors
    /// Only when the settings contradict themselves.
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Session, rustls::Error> {
        let mut tls = ServerConnection::new(Arc::clone(config))?;
        tls.set_buffer_limit(Some(BUFFER));
        Ok(Session {
            tls: Connection::Server(tls),
            began: false,
            said_goodbye: false,
        })
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
        let mut tls = ClientConnection::new(Arc::clone(config), name)?;
        tls.set_buffer_limit(Some(BUFFER));
        Ok(Session {
            tls: Connection::Client(tls),
            began: true,
            said_goodbye: false,
        })
    }

    /// A session whose handshake is done, from another driver.
    pub(crate) fn resumed(tls: ServerConnection) -> Session {
        Session {
            tls: Connection::Server(tls),
            began: true,
            said_goodbye: false,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Takes all of `records`; hands the plaintext to `deliver`, through `plain`, as it appears.
    pub(crate) fn decrypt(
        &mut self,
        records: &[u8],
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
        let mut rest = records;
        while !rest.is_empty() {
            match self.tls.read_tls(&mut rest) {
                Ok(0) => return Decrypted::End,
                Ok(_) => {}
                Err(_) => {
                    return Decrypted::Broken(rustls::Error::General("the buffer is full".into()));
                }
            }
            if let Err(error) = self.tls.process_new_packets() {
                return Decrypted::Broken(error);
            }
            loop {
                match self.tls.reader().read(plain) {
                    Ok(0) => return Decrypted::End,
                    Ok(n) => deliver(&mut plain[..n]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        return Decrypted::Broken(rustls::Error::General(error.to_string()));
                    }
                }
            }
        }
        Decrypted::More
    }

    /// Encrypts as much of `slices` as the buffer takes; returns how much that was.
    pub(crate) fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.tls.writer().write_vectored(slices)
    }

    /// Writes what waits; false when the socket takes no more for now.
    pub(crate) fn flush(&mut self, mut socket: &TcpStream) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether octets wait for [`Session::flush`].
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Queues close_notify, once: without it the client could not tell the end from a cut (RFC 8446 §6.1).
    pub(crate) fn say_goodbye(&mut self) {
        if !self.said_goodbye {
            self.said_goodbye = true;
            self.tls.send_close_notify();
        }
    }

    /// The session with a client, for another driver.
    pub(crate) fn into_server(self) -> Option<ServerConnection> {
        match self.tls {
            Connection::Server(tls) => Some(tls),
            Connection::Client(_) => None,
        }
    }
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
}
