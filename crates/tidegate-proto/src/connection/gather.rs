//! Where a message is put together. Behind its octets lies memory that an earlier message has written: it can be
//! lent out to be read into, without being cleared first.

use crate::mask::{MaskKey, append_masked, apply_mask};

/// Octets copied, then unmasked, at once: they are still in the nearest cache.
const BLOCK: usize = 4 << 10;

/// A message that grows at its end.
#[derive(Default)]
pub(super) struct Gather {
    /// The message, and what an earlier one has left behind it.
    memory: Vec<u8>,
    len: usize,
}

impl Gather {
    /// An empty message in `memory`, whose octets count as nothing.
    pub(super) fn new(memory: Vec<u8>) -> Gather {
        Gather { memory, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// What has been gathered from the octet `start` on.
    pub(super) fn since(&self, start: usize) -> &[u8] {
        &self.memory[start..self.len]
    }

    /// Appends `from`, unmasked; returns the key for the octets that follow.
    pub(super) fn append_masked(&mut self, key: MaskKey, from: &[u8]) -> MaskKey {
        let written = &mut self.memory[self.len..];
        let (over, beyond) = from.split_at(from.len().min(written.len()));
        let mut key = key;
        for (from, to) in over.chunks(BLOCK).zip(written.chunks_mut(BLOCK)) {
            let to = &mut to[..from.len()];
            to.copy_from_slice(from);
            key = apply_mask(key, to);
        }
        self.len += from.len();
        append_masked(key, beyond, &mut self.memory)
    }

    /// Room for `least` to `most` octets behind the message. Memory that nobody has written yet is lent no faster than
    /// the message has grown: who announces much and sends little costs little.
    pub(super) fn room(&mut self, least: usize, most: usize) -> Option<&mut [u8]> {
        let written = self.memory.len() - self.len;
        let room = most.min(written.max(self.len));
        if room < least.max(1) {
            return None;
        }
        if written < room {
            self.memory.resize(self.len + room, 0);
        }
        Some(&mut self.memory[self.len..self.len + room])
    }

    /// The first `n` octets of the room belong to the message now; returns them.
    pub(super) fn fill(&mut self, n: usize) -> &mut [u8] {
        let start = self.len;
        self.len = (start + n).min(self.memory.len());
        &mut self.memory[start..self.len]
    }

    /// Lets `append` append to the message.
    pub(super) fn append_with<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.memory.truncate(self.len);
        let result = append(&mut self.memory);
        self.len = self.memory.len();
        result
    }

    /// The message; what follows begins anew without memory.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut memory = std::mem::take(&mut self.memory);
        memory.truncate(std::mem::take(&mut self.len));
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MaskKey = MaskKey::new([1, 2, 3, 4]);

    fn masked(octets: &[u8]) -> Vec<u8> {
        let mut octets = octets.to_vec();
        apply_mask(KEY, &mut octets);
        octets
    }

    #[test]
    fn appending_writes_over_what_an_earlier_message_left_and_grows_beyond_it() {
        let text: Vec<u8> = (0..20_000).map(|n| (n % 251) as u8).collect();
        for left in [0, 1, 3, 4095, 4096, 4097, 19_999, 20_000, 30_000] {
            for cut in [1, 5, 4096, 10_001] {
                let mut gather = Gather::new(vec![0xaa; left]);
                let mut key = KEY;
                for piece in masked(&text).chunks(cut) {
                    key = gather.append_masked(key, piece);
                }
                assert_eq!(gather.since(0), text, "{left} left, cut at {cut}");
                assert_eq!(gather.take(), text);
            }
        }
    }

    #[test]
    fn fresh_memory_is_lent_no_faster_than_the_message_grows() {
        let mut gather = Gather::new(Vec::with_capacity(1 << 20));
        let room = |gather: &mut Gather| gather.room(1, 1 << 20).map(|room| room.len());
        assert_eq!(room(&mut gather), None, "nothing has come yet");
        gather.append_masked(KEY, &[0; 100]);
        assert_eq!(room(&mut gather), Some(100));
        gather.fill(100);
        assert_eq!(room(&mut gather), Some(200));
    }

    #[test]
    fn memory_written_before_is_lent_at_once_and_never_read() {
        let mut gather = Gather::new(vec![0xaa; 1 << 20]);
        gather.append_masked(MaskKey::default(), b"abc");
        let room = gather.room(1, 100_000).expect("it has been written");
        assert_eq!(room.len(), 100_000);
        room[..2].copy_from_slice(b"de");
        assert_eq!(gather.fill(2), b"de");
        assert_eq!(gather.take(), b"abcde");
    }

    #[test]
    fn little_room_is_not_lent() {
        let mut gather = Gather::new(vec![0; 1 << 20]);
        assert!(gather.room(100, 99).is_none());
        assert!(gather.room(0, 0).is_none());
    }
}
