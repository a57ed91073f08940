//! Watches the first SETTINGS frame of an HTTP/2 server go by (RFC 9113 §3.4), for whether it takes WebSockets
//! (RFC 8441 §3). It changes nothing and keeps nothing of what passes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use tidegate_proto::handshake::connect::ENABLE_CONNECT_PROTOCOL;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What the server's first frame said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It has not come in whole.
    Awaited,
    /// Extended CONNECT is allowed.
    Enabled,
    /// Extended CONNECT is not allowed, or what came is no SETTINGS frame.
    Missing,
}

/// The verdict, seen from outside of the transport.
#[derive(Clone, Default, Debug)]
pub(super) struct Verdicts(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    verdict: AtomicU8,
    told: Notify,
}

impl Verdicts {
    fn get(&self) -> Verdict {
        match self.0.verdict.load(Ordering::Acquire) {
            0 => Verdict::Awaited,
            1 => Verdict::Enabled,
            _ => Verdict::Missing,
        }
    }

    fn set(&self, verdict: Verdict) {
        self.0.verdict.store(verdict as u8, Ordering::Release);
        if verdict != Verdict::Awaited {
            self.0.told.notify_one();
        }
    }

    /// Waits for the verdict: whether extended CONNECT is allowed. hyper reads on a task of its own.
    pub(super) async fn enabled(&self) -> bool {
        while self.get() == Verdict::Awaited {
            self.0.told.notified().await;
        }
        self.get() == Verdict::Enabled
    }
}

/// A transport whose first frame is watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    io: S,
    parser: Parser,
    verdicts: Verdicts,
}

impl<S> Watched<S> {
    pub(super) fn new(io: S) -> (Watched<S>, Verdicts) {
        let verdicts = Verdicts::default();
        let watched = Watched {
            io,
            parser: Parser::default(),
            verdicts: verdicts.clone(),
        };
        (watched, verdicts)
    }
}

/// Reads one frame: nine octets of header, then six for each parameter.
#[derive(Default, Debug)]
struct Parser {
    seen: usize,
    /// Octets of the frame's payload, once the header has come.
    length: usize,
    /// The header, then the parameter that is coming in.
    part: [u8; 9],
    enabled: bool,
}

const HEADER: usize = 9;
const PARAMETER: usize = 6;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

impl Parser {
    /// Takes octets until the frame is whole.
    fn feed(&mut self, octets: &[u8]) -> Verdict {
        for &octet in octets {
            let at = match self.seen.checked_sub(HEADER) {
                None => self.seen,
                Some(payload) => payload % PARAMETER,
            };
            self.part[at] = octet;
            self.seen += 1;
            if self.seen == HEADER {
                let [a, b, c, kind, flags, stream @ ..] = self.part;
                self.length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let settings = kind == SETTINGS && flags & ACK == 0 && stream == [0; 4];
                if !settings || self.length % PARAMETER != 0 {
                    return Verdict::Missing;
                }
            } else if self.seen > HEADER && at == PARAMETER - 1 {
                self.parameter();
            }
            if self.seen >= HEADER && self.seen == HEADER + self.length {
                return match self.enabled {
                    true => Verdict::Enabled,
                    false => Verdict::Missing,
                };
            }
        }
        Verdict::Awaited
    }

    fn parameter(&mut self) {
        let [a, b, value @ ..] = self.part;
        if u16::from_be_bytes([a, b]) == ENABLE_CONNECT_PROTOCOL {
            self.enabled = value[..4] == [0, 0, 0, 1]; // the last one counts (RFC 9113 §6.5)
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if this.verdicts.get() == Verdict::Awaited {
            let verdict = this.parser.feed(&buf.filled()[before..]);
            this.verdicts.set(verdict);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let header = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        [&header, payload].concat()
    }

    #[test]
    fn the_first_frame_tells_whole_or_octet_by_octet() {
        let enable = [0, 8, 0, 0, 0, 1];
        let disable = [0, 8, 0, 0, 0, 0];
        let other = [0, 3, 0, 0, 0, 100];
        let rows = [
            (frame(4, 0, 0, &enable), Verdict::Enabled),
            (frame(4, 0, 0, &[other, enable].concat()), Verdict::Enabled),
            (frame(4, 0, 0, &[enable, other].concat()), Verdict::Enabled),
            (
                frame(4, 0, 0, &[enable, disable].concat()),
                Verdict::Missing,
            ),
            (frame(4, 0, 0, &other), Verdict::Missing),
            (frame(4, 0, 0, &[]), Verdict::Missing),
            (frame(4, 1, 0, &[]), Verdict::Missing),
            (frame(4, 0, 1, &enable), Verdict::Missing),
            (frame(6, 0, 0, &[0; 8]), Verdict::Missing),
            (frame(4, 0, 0, &[0; 5]), Verdict::Missing),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Verdict::Missing),
        ];
        for (octets, expected) in rows {
            assert_eq!(Parser::default().feed(&octets), expected, "{octets:?}");
            let mut parser = Parser::default();
            let verdicts = octets.iter().map(|octet| parser.feed(&[*octet]));
            let first = verdicts.into_iter().find(|v| *v != Verdict::Awaited);
            assert_eq!(first, Some(expected), "{octets:?}");
        }
        let whole = frame(4, 0, 0, &enable);
        assert_eq!(
            Parser::default().feed(&whole[..whole.len() - 1]),
            Verdict::Awaited
        );
    }
}
