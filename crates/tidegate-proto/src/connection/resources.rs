//! What the connections of one worker share: a random source, codecs, and buffers that keep their pages.

use super::Event;
use super::message::{Message, Piece, PieceOctets};
use super::outbox::Queue;
use crate::deflate::{CodecPool, Codecs};
use crate::mask::MaskKey;
use crate::time::Random;

/// Longest capacity we reserve on the word of a header; longer messages grow as their bytes arrive.
const MAX_RESERVE: usize = 16 << 20;
/// Up to this capacity a kept buffer serves any request that it can hold.
const MAX_LOOSE: usize = 128 << 10;
/// Most bytes of message buffers kept for reuse.
const MAX_KEPT_BYTES: usize = 32 << 20;
/// Most message buffers, and most outbox queues, kept for reuse.
const MAX_KEPT: usize = 1_024;

/// Shared by all connections of a worker, so that an idle connection owns no buffer.
///
/// Fresh memory costs about a microsecond for each page first touched; a buffer that comes back from here
/// has its pages already.
pub struct Resources {
    random: Box<dyn Random + Send>,
    buffers: Vec<Vec<u8>>,
    kept_bytes: usize,
    #[expect(
        clippy::vec_box,
        reason = "the boxes themselves are what is used again"
    )]
    queues: Vec<Box<Queue>>,
    /// The queue used last, with its buffer: mostly the next one to be used.
    warm: Option<Box<Queue>>,
    pub(super) codecs: Codecs,
}

impl Resources {
    /// Resources that draw from `random`, with codecs of their own.
    pub fn new(random: Box<dyn Random + Send>) -> Resources {
        Resources::sharing(random, &CodecPool::default())
    }

    /// Resources that draw from `random` and share `codecs` with those of other threads, so that a
    /// connection may be served by one thread now and by another later.
    pub fn sharing(random: Box<dyn Random + Send>, codecs: &CodecPool) -> Resources {
        Resources {
            random,
            buffers: Vec::new(),
            kept_bytes: 0,
            queues: Vec::new(),
            warm: None,
            codecs: Codecs::sharing(codecs),
        }
    }

    /// The random source.
    pub fn random(&mut self) -> &mut dyn Random {
        &mut *self.random
    }

    /// Bytes that compression holds on this worker: contexts that connections keep, and codecs that wait
    /// to be used again.
    pub fn compression_bytes(&self) -> usize {
        self.codecs.kept_by_connections() + self.codecs.pooled_bytes()
    }

    /// Messages deflated on this worker so far; a broadcast counts once for each parameter set.
    pub fn messages_deflated(&self) -> u64 {
        self.codecs.deflated
    }

    /// Bytes in message buffers that wait to be used again.
    pub fn buffered_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// A context of so many bytes would still fit the budget.
    pub(crate) fn has_room_for_context(&self, bytes: usize, budget: usize) -> bool {
        self.codecs.fits(bytes, budget)
    }

    /// A masking key that nobody can foresee (RFC 6455 §5.3, §10.3).
    pub(super) fn mask_key(&mut self) -> MaskKey {
        let mut key = [0; 4];
        self.random.fill(&mut key);
        MaskKey::new(key)
    }

    /// An empty buffer for a message announced as `len` bytes. One that is there already may be larger than
    /// asked for: to hand it out costs less than to keep it and make another.
    pub(super) fn take_buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.take_written_buffer(len);
        buffer.clear();
        buffer
    }

    /// The same with the octets that its last user has left in it, which mean nothing.
    pub(super) fn take_written_buffer(&mut self, len: usize) -> Vec<u8> {
        let most = (4 * len).max(MAX_LOOSE);
        let fits = |buffer: &Vec<u8>| (len..=most).contains(&buffer.capacity());
        if let Some(at) = self.buffers.iter().rposition(fits) {
            let buffer = self.buffers.swap_remove(at);
            self.kept_bytes -= buffer.capacity();
            return buffer;
        }
        Vec::with_capacity(len.min(MAX_RESERVE))
    }

    /// Takes back a buffer whose message has been delivered; it may be dropped as well.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        let room = self.buffers.len() < MAX_KEPT && self.kept_bytes + capacity <= MAX_KEPT_BYTES;
        if capacity > 0 && room {
            self.kept_bytes += capacity;
            self.buffers.push(buffer);
        }
    }

    /// Takes back what a delivered message was assembled in, so that the next one needs no fresh memory. For drivers
    /// that pull events themselves, once they are done with a message; one that lay whole in the input owns nothing,
    /// and giving it here costs nothing. Not calling it is no leak: the buffer is freed with the message.
    #[inline]
    pub fn recycle_message(&mut self, message: Message<'_>) {
        if let Message::AssembledText(octets) | Message::AssembledBinary(octets) = message {
            self.recycle(octets);
        }
    }

    /// The same for a delivered part.
    #[inline]
    pub fn recycle_piece(&mut self, piece: Piece<'_>) {
        if let PieceOctets::Owned(octets) = piece.octets {
            self.recycle(octets);
        }
    }

    /// The same for whatever has been delivered.
    #[inline]
    pub(crate) fn recycle_event(&mut self, event: Event<'_>) {
        match event {
            Event::Message(message) => self.recycle_message(message),
            Event::Part(piece) => self.recycle_piece(piece),
            Event::Closed(_) => {}
        }
    }

    pub(super) fn take_queue(&mut self) -> Box<Queue> {
        self.queues.pop().unwrap_or_default()
    }

    /// A queue that has an empty buffer, to which something must be copied first of all.
    #[inline]
    pub(super) fn take_warm_queue(&mut self) -> Option<Box<Queue>> {
        self.warm.take()
    }

    #[inline]
    pub(super) fn wants_warm_queue(&self) -> bool {
        self.warm.is_none()
    }

    /// Takes an empty queue back together with its one buffer.
    #[inline]
    pub(super) fn keep_warm(&mut self, queue: Box<Queue>) {
        self.warm = Some(queue);
    }

    pub(super) fn recycle_queue(&mut self, queue: Box<Queue>) {
        if self.queues.len() < MAX_KEPT {
            self.queues.push(queue);
        }
    }
}
