//! One connection: octets there and back, counted, each wait with an end. It knows nothing of what they mean.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

/// What carries octets: TCP, or TLS over it.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// What a check has cost so far.
#[derive(Default, Debug)]
pub(crate) struct Spent {
    /// Connections opened.
    pub(crate) connections: Cell<u64>,
    /// Octets sent, before TLS.
    pub(crate) octets: Cell<u64>,
}

/// A connection.
pub(crate) struct Line {
    io: Box<dyn Io>,
    /// What came and was not taken.
    pub(crate) inbox: Vec<u8>,
    /// Nothing more will come.
    pub(crate) has_ended: bool,
    spent: Rc<Spent>,
}

impl Line {
    pub(crate) fn new(io: Box<dyn Io>, spent: Rc<Spent>) -> Line {
        Line {
            io,
            inbox: Vec::new(),
            has_ended: false,
            spent,
        }
    }

    /// Sends, and takes what comes meanwhile: a server that answers at length must not have to wait for us to listen.
    /// False when not all could be sent; what the server said before may be in the inbox.
    pub(crate) async fn send(&mut self, mut octets: &[u8], until: Instant) -> bool {
        let (mut reader, mut writer) = split(&mut self.io);
        let mut buffer = [0; BUFFER];
        while !octets.is_empty() {
            tokio::select! {
                sent = writer.write(octets) => match sent {
                    Ok(n) if n > 0 => {
                        self.spent.octets.set(self.spent.octets.get() + n as u64);
                        octets = &octets[n..];
                    }
                    _ => return false,
                },
                read = reader.read(&mut buffer), if !self.has_ended => {
                    self.has_ended = take(&mut self.inbox, &buffer, read);
                }
                () = sleep_until(until) => return false,
            }
        }
        writer.flush().await.is_ok()
    }

    /// Reads once. False at the end, or when `until` has come.
    pub(crate) async fn hear(&mut self, until: Instant) -> bool {
        let mut buffer = [0; BUFFER];
        if self.has_ended {
            return false;
        }
        tokio::select! {
            read = self.io.read(&mut buffer) => {
                self.has_ended = take(&mut self.inbox, &buffer, read);
                true
            }
            () = sleep_until(until) => false,
        }
    }
}

/// Keeps what was read; true at the end.
fn take(inbox: &mut Vec<u8>, buffer: &[u8], read: io::Result<usize>) -> bool {
    match read {
        Ok(n) if n > 0 && inbox.len() < MOST => {
            inbox.extend_from_slice(&buffer[..n]);
            false
        }
        _ => true,
    }
}

const BUFFER: usize = 16 << 10;
/// Nothing that we ask deserves a longer answer.
const MOST: usize = 4 << 20;
