//! What waits to be written to one peer: small frames in one contiguous buffer, large ones shared.
//!
//! An empty outbox is one null pointer. Copying small frames together and sending them at once costs half
//! of a vectored write of the pieces; from [`SHARE_FROM`] bytes on a frame is shared instead.

use super::encoded::{Deflated, Encoded};
use super::resources::Resources;
use crate::frame::{MAX_HEADER, OpCode};
use crate::mask::{MaskKey, append_masked, apply_mask};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// From this size on a frame that is shared, or given away, is not copied.
pub(super) const SHARE_FROM: usize = 16 << 10;
/// A contiguous buffer that has grown to this gets a successor.
const OWN_BUFFER: usize = 64 << 10;
/// Least capacity of a contiguous buffer.
const LEAST_BUFFER: usize = 1 << 10;

/// Frames owed to one peer, in order.
#[derive(Default)]
pub struct Outbox(Option<Box<Queue>>);

#[derive(Default)]
pub(super) struct Queue {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment already written.
    written: usize,
    bytes: usize,
    high: bool,
}

enum Segment {
    Own(Vec<u8>),
    Shared(Encoded),
    Deflated(Arc<Deflated>),
}

impl Segment {
    fn octets(&self) -> &[u8] {
        match self {
            Segment::Own(octets) => octets,
            Segment::Shared(frame) => frame.octets(),
            Segment::Deflated(frame) => frame.octets(),
        }
    }
}

/// How full an outbox is after a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Queued, below the high mark.
    Low,
    /// Queued; the high mark is passed. A polite sender waits for `drained`.
    High,
    /// Not queued: the byte limit is reached.
    Full,
    /// Not queued: the peer is gone or closing.
    Gone,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The high mark was passed and the low one not reached since.
    pub fn is_high(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.high)
    }

    pub(super) fn mark_high(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.high = true;
        }
    }

    /// Appends octets, copied. Limits are the caller's business.
    pub(crate) fn push(&mut self, header: &[u8], payload: &[u8], resources: &mut Resources) {
        let len = header.len() + payload.len();
        let queue = self.queue(resources);
        queue.bytes += len;
        let octets = queue.own_buffer(len, resources);
        octets.extend_from_slice(header);
        octets.extend_from_slice(payload);
    }

    /// Copies a frame behind what waits, if there is a buffer with room for it: nothing is taken from anywhere. Returns
    /// how many bytes wait then, at most `limit`. `mask` is asked only then.
    #[inline]
    pub(super) fn push_behind(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        mask: impl FnOnce() -> Option<MaskKey>,
        limit: usize,
    ) -> Option<usize> {
        let queue = self.0.as_deref_mut()?;
        let Some(Segment::Own(octets)) = queue.segments.back_mut() else {
            return None;
        };
        let most = payload.len() + MAX_HEADER;
        let room = octets.capacity().min(OWN_BUFFER);
        if octets.len() + most > room || queue.bytes + most > limit {
            return None;
        }
        let before = octets.len();
        let first = 0x80 | opcode as u8;
        let mask = mask();
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            len @ 0..=125 => octets.extend_from_slice(&[first, masked | len as u8]),
            // OWN_BUFFER is no longer than that.
            len => {
                let [.., high, low] = len.to_be_bytes();
                octets.extend_from_slice(&[first, masked | 126, high, low]);
            }
        }
        match mask {
            None => octets.extend_from_slice(payload),
            Some(key) => {
                octets.extend_from_slice(&key.to_bytes());
                append_masked(key, payload, octets);
            }
        }
        queue.bytes += octets.len() - before;
        Some(queue.bytes)
    }

    /// What waits, if it lies in one piece.
    #[inline]
    pub(super) fn only(&self) -> Option<&[u8]> {
        let queue = self.0.as_deref()?;
        match queue.segments.len() {
            1 => Some(&queue.segments.front()?.octets()[queue.written..]),
            _ => None,
        }
    }

    /// Appends a frame with its payload masked by `mask`.
    pub(super) fn push_masked(
        &mut self,
        header: &[u8],
        payload: &[u8],
        mask: MaskKey,
        resources: &mut Resources,
    ) {
        let len = header.len() + payload.len();
        let queue = self.queue(resources);
        queue.bytes += len;
        let octets = queue.own_buffer(len, resources);
        octets.extend_from_slice(header);
        let start = octets.len();
        octets.extend_from_slice(payload);
        apply_mask(mask, &mut octets[start..]);
    }

    /// Appends octets, the payload as it is. Limits are the caller's business.
    pub(super) fn push_owned(
        &mut self,
        header: &[u8],
        payload: Vec<u8>,
        resources: &mut Resources,
    ) {
        let queue = self.queue(resources);
        queue.bytes += header.len() + payload.len();
        queue
            .own_buffer(header.len(), resources)
            .extend_from_slice(header);
        queue.segments.push_back(Segment::Own(payload));
    }

    /// Appends a shared frame: by reference when it is large or alone, else copied to its neighbours.
    pub(super) fn push_shared(&mut self, frame: &Encoded, resources: &mut Resources) {
        let queue = self.queue(resources);
        queue.push_shared(frame.octets(), resources, || Segment::Shared(frame.clone()));
    }

    /// The same for a deflated frame.
    pub(super) fn push_deflated(&mut self, frame: &Arc<Deflated>, resources: &mut Resources) {
        let queue = self.queue(resources);
        queue.push_shared(frame.octets(), resources, || {
            Segment::Deflated(frame.clone())
        });
    }

    /// Appends what waits in `other`.
    pub(super) fn append(&mut self, other: Outbox, resources: &mut Resources) {
        let Some(mut tail) = other.0 else { return };
        debug_assert_eq!(tail.written, 0, "nothing was written from it");
        let queue = self.queue(resources);
        queue.bytes += tail.bytes;
        queue.segments.append(&mut tail.segments);
        tail.reset(resources);
        resources.recycle_queue(tail);
    }

    /// Capacity of the buffers it holds, shared frames not counted.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let segments = self.0.iter().flat_map(|queue| &queue.segments);
        let own = |segment: &Segment| match segment {
            Segment::Own(octets) => octets.capacity(),
            Segment::Shared(_) | Segment::Deflated(_) => 0,
        };
        segments.map(own).sum()
    }

    /// Fills `slices` from the front; returns how many were filled.
    pub fn slices<'s>(&'s self, slices: &mut [IoSlice<'s>]) -> usize {
        let Some(queue) = &self.0 else { return 0 };
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(&queue.segments) {
            let skip = if filled == 0 { queue.written } else { 0 };
            *slice = IoSlice::new(&segment.octets()[skip..]);
            filled += 1;
        }
        filled
    }

    /// `n` bytes were written. Returns true when a high outbox has fallen to `low` bytes or less.
    pub(crate) fn advance(&mut self, n: usize, low: usize, resources: &mut Resources) -> bool {
        let Some(queue) = &mut self.0 else {
            return false;
        };
        if n == queue.bytes {
            let was_high = queue.high;
            self.clear(resources);
            return was_high;
        }
        queue.advance(n, resources);
        let drained = queue.high && queue.bytes <= low;
        queue.high &= !drained;
        drained
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self, resources: &mut Resources) {
        if let Some(mut queue) = self.0.take() {
            if resources.wants_warm_queue() && queue.keeps_its_buffer() {
                resources.keep_warm(queue);
                return;
            }
            queue.reset(resources);
            resources.recycle_queue(queue);
        }
    }

    /// Makes an empty one ready for a message of `len` bytes to be copied, which must follow.
    #[inline]
    pub(super) fn begin(&mut self, len: usize, resources: &mut Resources) {
        if self.0.is_none() && len + MAX_HEADER <= OWN_BUFFER {
            self.0 = resources.take_warm_queue();
        }
    }

    fn queue(&mut self, resources: &mut Resources) -> &mut Queue {
        self.0.get_or_insert_with(|| resources.take_queue())
    }
}

impl Queue {
    fn push_shared(
        &mut self,
        octets: &[u8],
        resources: &mut Resources,
        reference: impl FnOnce() -> Segment,
    ) {
        if octets.len() >= SHARE_FROM || self.segments.is_empty() {
            self.segments.push_back(reference());
        } else {
            self.own_buffer(octets.len(), resources)
                .extend_from_slice(octets);
        }
        self.bytes += octets.len();
    }

    /// The contiguous buffer to append `len` octets to.
    fn own_buffer(&mut self, len: usize, resources: &mut Resources) -> &mut Vec<u8> {
        self.copy_lone_shared(resources);
        let fits = match self.segments.back() {
            Some(Segment::Own(octets)) => octets.len() + len <= OWN_BUFFER,
            _ => false,
        };
        if !fits {
            let buffer = resources.take_buffer(len.max(LEAST_BUFFER));
            self.segments.push_back(Segment::Own(buffer));
        }
        match self.segments.back_mut() {
            Some(Segment::Own(octets)) => octets,
            _ => unreachable!("an own segment was just found or pushed"),
        }
    }

    /// A small shared frame that waited alone joins its new neighbour, so that one send takes both.
    fn copy_lone_shared(&mut self, resources: &mut Resources) {
        if self.segments.len() != 1 || self.written != 0 {
            return;
        }
        let octets = match self.segments.front() {
            Some(Segment::Shared(frame)) => frame.octets(),
            Some(Segment::Deflated(frame)) => frame.octets(),
            _ => return,
        };
        if octets.len() < SHARE_FROM {
            let mut buffer = resources.take_buffer(LEAST_BUFFER);
            buffer.extend_from_slice(octets);
            self.segments[0] = Segment::Own(buffer);
        }
    }

    fn advance(&mut self, n: usize, resources: &mut Resources) {
        debug_assert!(n <= self.bytes, "more written than waited");
        self.bytes -= n;
        self.written += n;
        while let Some(segment) = self.segments.front() {
            let len = segment.octets().len();
            if self.written < len {
                return;
            }
            self.written -= len;
            self.drop_front(resources);
        }
    }

    /// Empties a queue of one buffer that was not made for a large message, and leaves it that buffer.
    fn keeps_its_buffer(&mut self) -> bool {
        if self.segments.len() != 1 {
            return false;
        }
        match self.segments.front_mut() {
            Some(Segment::Own(octets)) if octets.capacity() <= OWN_BUFFER => octets.clear(),
            _ => return false,
        }
        self.written = 0;
        self.bytes = 0;
        self.high = false;
        true
    }

    fn drop_front(&mut self, resources: &mut Resources) {
        if let Some(Segment::Own(octets)) = self.segments.pop_front() {
            resources.recycle(octets);
        }
    }

    fn reset(&mut self, resources: &mut Resources) {
        while !self.segments.is_empty() {
            self.drop_front(resources);
        }
        self.written = 0;
        self.bytes = 0;
        self.high = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::tests::resources;

    fn pending(outbox: &Outbox) -> Vec<Vec<u8>> {
        let mut slices = [IoSlice::new(&[]); 8];
        let n = outbox.slices(&mut slices);
        slices[..n].iter().map(|s| s.to_vec()).collect()
    }

    #[test]
    fn small_frames_join_and_large_ones_are_shared() {
        let mut r = resources();
        let mut outbox = Outbox::default();
        let large = Encoded::binary(&vec![1; SHARE_FROM]);
        outbox.push_shared(&Encoded::text("a"), &mut r);
        assert_eq!(pending(&outbox), [b"\x81\x01a".to_vec()]);
        outbox.push_shared(&Encoded::text("b"), &mut r);
        outbox.push(b"\x81\x01", b"c", &mut r);
        assert_eq!(pending(&outbox), [b"\x81\x01a\x81\x01b\x81\x01c".to_vec()]);
        outbox.push_shared(&large, &mut r);
        outbox.push_shared(&Encoded::text("d"), &mut r);
        let slices = pending(&outbox);
        assert_eq!(slices.len(), 3);
        assert_eq!(slices[1], large.octets());
        assert_eq!(outbox.len(), 9 + large.octets().len() + 3);
    }

    #[test]
    fn a_payload_that_is_given_away_is_not_copied() {
        let mut r = resources();
        let mut outbox = Outbox::default();
        let payload = vec![7; 100_000];
        let place = payload.as_ptr();
        outbox.push(b"\x82\x01", b"a", &mut r);
        outbox.push_owned(b"\x82\x7f\0\0\0\0\0\x01\x86\xa0", payload, &mut r);
        outbox.push(b"\x82\x01", b"b", &mut r);
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(outbox.slices(&mut slices), 3);
        assert_eq!((slices[0].len(), slices[1].as_ptr()), (13, place));
        assert_eq!((slices[1].len(), &*slices[2]), (100_000, &b"\x82\x01b"[..]));
        assert_eq!(outbox.len(), 13 + 100_000 + 3);
        // Its memory serves the next long message.
        outbox.advance(100_016, 0, &mut r);
        let next = r.take_buffer(100_000);
        assert_eq!(next.as_ptr(), place);
    }

    #[test]
    fn what_is_written_in_any_portions_is_what_was_pushed() {
        let mut r = resources();
        for portion in [1, 2, 3, 7, 1_000, 20_000] {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for i in 0..20usize {
                let frame = Encoded::binary(&vec![i as u8; i * 997 % 18_000]);
                expected.extend_from_slice(frame.octets());
                outbox.push_shared(&frame, &mut r);
            }
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); 1];
                outbox.slices(&mut slices);
                let taken = slices[0][..portion.min(slices[0].len())].to_vec();
                outbox.advance(taken.len(), 0, &mut r);
                written.extend(taken);
            }
            assert!(written == expected, "in portions of {portion}");
        }
    }

    #[test]
    fn a_high_outbox_says_once_that_it_drained() {
        let mut r = resources();
        let mut outbox = Outbox::default();
        outbox.push(b"", &[0; 100], &mut r);
        outbox.mark_high();
        assert!(!outbox.advance(50, 20, &mut r));
        assert!(outbox.advance(40, 20, &mut r));
        assert!(!outbox.is_high());
        assert!(!outbox.advance(10, 20, &mut r));
        assert!(outbox.is_empty());
    }
}
