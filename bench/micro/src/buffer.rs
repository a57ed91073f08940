//! Octets that begin at a chosen distance from a page; what they are is the caller's business.

use std::ops::{Deref, DerefMut};

/// `len` octets that begin `offset` behind the start of a page.
pub(crate) struct Buffer {
    octets: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(len: usize, offset: usize) -> Buffer {
        let octets = vec![b'a'; len + offset + PAGE];
        let start = octets.as_ptr().align_offset(PAGE) + offset;
        Buffer { octets, start, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.octets[self.start..self.start + self.len]
    }
}

const PAGE: usize = 4096;
