//! An endless stream of client frames in memory, read as a socket is; what is written to it is lost.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The same frames again and again. A read gives as much as it asks for.
pub(crate) struct Source {
    octets: Vec<u8>,
    at: usize,
}

impl Source {
    /// Masked frames, about 64 KiB of them or one, each with a key of its own.
    pub(crate) fn new(first: u8, payload: &[u8]) -> Source {
        let mut octets = Vec::new();
        let mut key = 0x37FA_213Du32;
        while octets.len() + payload.len() < 64 << 10 || octets.is_empty() {
            octets.extend(frame(first, key.to_be_bytes(), payload));
            key = key.wrapping_mul(0x9E37_79B1).wrapping_add(1);
        }
        Source { octets, at: 0 }
    }

    /// Fills `out` whole.
    pub(crate) fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            let n = out.len().min(self.octets.len() - self.at);
            out[..n].copy_from_slice(&self.octets[self.at..self.at + n]);
            self.at = (self.at + n) % self.octets.len();
            out = &mut out[n..];
        }
    }
}

/// A frame as a client sends it, with the shortest header.
pub(crate) fn frame(first: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    let masked = payload
        .iter()
        .zip(key.iter().cycle())
        .map(|(octet, key)| octet ^ key);
    frame.extend(masked);
    frame
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.fill(out);
        Ok(out.len())
    }
}

impl Write for Source {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Copied straight in, as the kernel does: nothing is zeroed first.
        while out.remaining() > 0 {
            let n = out.remaining().min(self.octets.len() - self.at);
            out.put_slice(&self.octets[self.at..self.at + n]);
            self.at = (self.at + n) % self.octets.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Source {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
