//! Masking (RFC 6455 §5.3): XOR with a repeating four-octet key. The only file with `unsafe`.
//!
//! [`apply_mask`] picks the widest implementation the CPU has at run time; `apply_mask_portable` is its
//! safe twin, and the tests compare the two on every length and alignment. Both say whether all of the
//! result is ASCII, which is seen in passing: such a text needs no second look.
//!
//! AVX2 is the widest on purpose: AVX-512's intrinsics need Rust 1.89, and the loop is bound by memory.

/// A masking key, turned so that its first octet is the next one to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MaskKey([u8; 4]);

impl MaskKey {
    /// The key in wire order.
    pub const fn new(bytes: [u8; 4]) -> MaskKey {
        MaskKey(bytes)
    }

    #[inline]
    pub(crate) fn from_slice(bytes: &[u8]) -> MaskKey {
        MaskKey(bytes.try_into().expect("a masking key has four octets"))
    }

    /// The key in wire order.
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }

    /// The key as it stands `octets` further into the payload.
    #[must_use]
    #[inline]
    pub const fn advanced(self, octets: usize) -> MaskKey {
        let bits = 8 * (octets % 4) as u32;
        MaskKey(u32::from_le_bytes(self.0).rotate_right(bits).to_le_bytes())
    }

    /// The key for eight octets.
    const fn twice(self) -> u64 {
        let key = u32::from_ne_bytes(self.0) as u64;
        key << 32 | key
    }
}

/// Masks or unmasks `data` in place and returns the key for the octets that follow it.
///
/// Masking twice with the same key gives the data back.
#[inline]
pub fn apply_mask(key: MaskKey, data: &mut [u8]) -> MaskKey {
    mask::<false>(key, data);
    key.advanced(data.len())
}

/// Unmasks `data` in place. `Ok` when all of it turns out to be ASCII, which is text without further ado;
/// else `Err` with the octets, which are still to be validated.
#[inline]
pub(crate) fn unmask_ascii(key: MaskKey, data: &mut [u8]) -> Result<&str, &[u8]> {
    if mask::<true>(key, data) {
        // SAFETY: no octet has its top bit set, so each is a character by itself.
        return Ok(unsafe { std::str::from_utf8_unchecked(data) });
    }
    Err(data)
}

/// Appends `from` to `to`, masked or unmasked on the way, in one pass; returns the key for the octets that follow.
pub(crate) fn append_masked(key: MaskKey, from: &[u8], to: &mut Vec<u8>) -> MaskKey {
    #[cfg(target_arch = "x86_64")]
    if from.len() >= x86::LANE && std::arch::is_x86_feature_detected!("avx2") {
        to.reserve(from.len());
        let start = to.len();
        // SAFETY: the CPU was just seen to have AVX2 and `from` to be long enough; `to` has room for as many
        // octets behind its own, and, being borrowed mutably, lies apart from `from`. All of them are written
        // before the length says so.
        unsafe {
            x86::copy_masked_avx2(key, from, to.as_mut_ptr().add(start));
            to.set_len(start + from.len());
        }
        return key.advanced(from.len());
    }
    append_masked_portable(key, from, to)
}

/// The safe twin of [`append_masked`]: two passes.
fn append_masked_portable(key: MaskKey, from: &[u8], to: &mut Vec<u8>) -> MaskKey {
    let start = to.len();
    to.extend_from_slice(from);
    apply_mask_portable(key, &mut to[start..]);
    key.advanced(from.len())
}

/// Masks `data`. With `LOOK`: true when the result is ASCII; without: no matter what.
#[inline]
fn mask<const LOOK: bool>(key: MaskKey, data: &mut [u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if data.len() >= x86::LANE && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU was just seen to have AVX2, and the data to be long enough.
        return unsafe { x86::apply_mask_avx2::<LOOK>(key, data) };
    }
    apply_mask_portable(key, data)
}

/// The safe twin: eight octets a step, which compilers widen to what the target surely has. The last step
/// may overlap the one before it, so its octets are read before any is written.
fn apply_mask_portable(key: MaskKey, data: &mut [u8]) -> bool {
    let Some(last) = data.last_chunk::<8>() else {
        return mask_octets(key, data);
    };
    let last = u64::from_ne_bytes(*last) ^ key.advanced(data.len()).twice();
    let (key, mut seen) = (key.twice(), last);
    for word in data.chunks_exact_mut(8) {
        let masked = u64::from_ne_bytes((&*word).try_into().expect("eight octets")) ^ key;
        word.copy_from_slice(&masked.to_ne_bytes());
        seen |= masked;
    }
    if let Some(end) = data.last_chunk_mut() {
        *end = last.to_ne_bytes();
    }
    seen & TOP_BITS == 0
}

/// Fewer than eight octets.
fn mask_octets(key: MaskKey, data: &mut [u8]) -> bool {
    let mut seen = 0;
    for (octet, key) in data.iter_mut().zip(key.0.iter().cycle()) {
        *octet ^= key;
        seen |= *octet;
    }
    seen.is_ascii()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::MaskKey;
    use std::arch::x86_64::{
        __m256i, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_storeu_si256,
        _mm256_xor_si256,
    };

    /// Octets in a vector, and the fewest that can be masked here.
    pub(super) const LANE: usize = 32;
    /// From so many octets on it pays that no store crosses a cache line.
    const ALIGN_FROM: usize = 256;

    /// Four vectors a step, then one. The first vector (when the rest is aligned) and the last overlap their
    /// neighbours, so they are read before anything is written, and written at the end.
    ///
    /// # Safety
    /// The CPU must have AVX2, and `data` at least [`LANE`] octets.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn apply_mask_avx2<const LOOK: bool>(key: MaskKey, data: &mut [u8]) -> bool {
        let (start, end) = (data.as_mut_ptr(), data.len() - LANE);
        if data.len() <= 4 * LANE {
            // SAFETY: the caller's word is passed on.
            return unsafe { apply_mask_short::<LOOK>(key, data) };
        }
        let is_aligned = data.len() >= ALIGN_FROM;
        let mut at = if is_aligned {
            LANE - start.addr() % LANE
        } else {
            0
        };
        // SAFETY: there is a vector at `start` and one at `end`, and every other one lies between: it begins
        // at `at` or up to three vectors behind it, and that is checked to be before `end`. The CPU is the
        // caller's word.
        unsafe {
            let wide = splat(key.advanced(at));
            let first = masked(start, splat(key));
            let last = masked(start.add(end), splat(key.advanced(end)));
            let mut seen = _mm256_or_si256(first, last);
            while at + 3 * LANE < end {
                let here = start.add(at);
                let a = masked(here, wide);
                let b = masked(here.add(LANE), wide);
                let c = masked(here.add(2 * LANE), wide);
                let d = masked(here.add(3 * LANE), wide);
                store(here, a);
                store(here.add(LANE), b);
                store(here.add(2 * LANE), c);
                store(here.add(3 * LANE), d);
                seen = _mm256_or_si256(seen, _mm256_or_si256(a, b));
                seen = _mm256_or_si256(seen, _mm256_or_si256(c, d));
                at += 4 * LANE;
            }
            while at < end {
                let vector = masked(start.add(at), wide);
                store(start.add(at), vector);
                seen = _mm256_or_si256(seen, vector);
                at += LANE;
            }
            if is_aligned {
                store(start, first);
            }
            store(start.add(end), last);
            LOOK && _mm256_movemask_epi8(seen) == 0
        }
    }

    /// Four vectors a step, then one; the last overlaps its neighbour, whose octets it writes once more.
    ///
    /// # Safety
    /// The CPU must have AVX2; `from` must have at least [`LANE`] octets, and as many as it has must be writable
    /// at `to`, where nothing of `from` lies.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn copy_masked_avx2(key: MaskKey, from: &[u8], to: *mut u8) {
        let (start, end) = (from.as_ptr(), from.len() - LANE);
        let mut at = 0;
        // SAFETY: a vector that begins at `end` or before lies within both; `at` is checked to be, with what the
        // step adds to it. The CPU is the caller's word.
        unsafe {
            let wide = splat(key);
            while at + 3 * LANE < end {
                let (here, there) = (start.add(at), to.add(at));
                let a = masked(here, wide);
                let b = masked(here.add(LANE), wide);
                let c = masked(here.add(2 * LANE), wide);
                let d = masked(here.add(3 * LANE), wide);
                store(there, a);
                store(there.add(LANE), b);
                store(there.add(2 * LANE), c);
                store(there.add(3 * LANE), d);
                at += 4 * LANE;
            }
            while at < end {
                store(to.add(at), masked(start.add(at), wide));
                at += LANE;
            }
            store(
                to.add(end),
                masked(start.add(end), splat(key.advanced(end))),
            );
        }
    }

    /// Up to four vectors without a loop: from the front and from the end, so that they overlap in the middle.
    ///
    /// # Safety
    /// The CPU must have AVX2, and `data` from [`LANE`] to four times as many octets.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn apply_mask_short<const LOOK: bool>(key: MaskKey, data: &mut [u8]) -> bool {
        let (start, end) = (data.as_mut_ptr(), data.len() - LANE);
        // SAFETY: there is a vector at `start` and one at `end`; when there are more than two, there is also
        // one behind the first and one before the last. The CPU is the caller's word.
        unsafe {
            let (key, last_key) = (splat(key), splat(key.advanced(end)));
            let first = masked(start, key);
            let last = masked(start.add(end), last_key);
            let mut seen = _mm256_or_si256(first, last);
            if data.len() > 2 * LANE {
                let second = masked(start.add(LANE), key);
                let third = masked(start.add(end - LANE), last_key);
                store(start.add(LANE), second);
                store(start.add(end - LANE), third);
                seen = _mm256_or_si256(seen, _mm256_or_si256(second, third));
            }
            store(start, first);
            store(start.add(end), last);
            LOOK && _mm256_movemask_epi8(seen) == 0
        }
    }

    /// # Safety
    /// The CPU must have AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn splat(key: MaskKey) -> __m256i {
        let keys = [key.to_bytes(); LANE / 4];
        // SAFETY: the keys are LANE octets; loadu asks for no alignment.
        unsafe { _mm256_loadu_si256(keys.as_ptr().cast()) }
    }

    /// # Safety
    /// The CPU must have AVX2, and [`LANE`] octets must be readable at `at`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn masked(at: *const u8, wide: __m256i) -> __m256i {
        // SAFETY: the caller vouches for both; loadu asks for no alignment.
        unsafe { _mm256_xor_si256(_mm256_loadu_si256(at.cast()), wide) }
    }

    /// # Safety
    /// The CPU must have AVX2, and [`LANE`] octets must be writable at `at`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(at: *mut u8, vector: __m256i) {
        // SAFETY: the caller vouches for both; storeu asks for no alignment.
        unsafe { _mm256_storeu_si256(at.cast(), vector) }
    }
}

/// The top bit of each octet: set in none of ASCII.
const TOP_BITS: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use super::*;

    fn by_definition(key: [u8; 4], data: &mut [u8]) {
        //= rfc6455#5.3  octet i is XORed with octet i mod 4 of the key.
        for (i, byte) in data.iter_mut().enumerate() {
            *byte ^= key[i % 4];
        }
    }

    #[test]
    fn all_lengths_and_alignments_agree_with_the_definition() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let data: Vec<u8> = (0..900u32).map(|i| (i * 7 + 3) as u8).collect();
        for start in 0..40 {
            for len in 0..=(data.len() - start).min(700) {
                let mut expected = data.clone();
                by_definition(key, &mut expected[start..start + len]);
                let mut wide = data.clone();
                apply_mask(MaskKey::new(key), &mut wide[start..start + len]);
                assert_eq!(wide, expected, "{start}+{len}");
                let mut portable = data.clone();
                apply_mask_portable(MaskKey::new(key), &mut portable[start..start + len]);
                assert_eq!(portable, expected, "{start}+{len}");
            }
        }
    }

    #[test]
    fn what_is_masked_while_it_is_copied_agrees_with_the_definition() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let data: Vec<u8> = (0..900u32).map(|i| (i * 7 + 3) as u8).collect();
        for start in 0..40 {
            for len in 0..=(data.len() - start).min(400) {
                let from = &data[start..start + len];
                let mut expected = b"before".to_vec();
                expected.extend_from_slice(from);
                by_definition(key, &mut expected[6..]);
                for append in [append_masked, append_masked_portable] {
                    let mut to = b"before".to_vec();
                    let next = append(MaskKey::new(key), from, &mut to);
                    assert_eq!(to, expected, "{start}+{len}");
                    assert_eq!(next, MaskKey::new(key).advanced(len));
                }
            }
        }
    }

    #[test]
    fn masking_in_pieces_equals_masking_whole() {
        let key = MaskKey::new([1, 2, 3, 4]);
        let mut whole = vec![0xA5; 501];
        apply_mask(key, &mut whole);
        for step in [1, 2, 3, 5, 31, 64, 127, 130] {
            let mut pieces = vec![0xA5; 501];
            let mut next = key;
            for piece in pieces.chunks_mut(step) {
                next = apply_mask(next, piece);
            }
            assert_eq!(pieces, whole, "in {step}s");
        }
    }

    #[test]
    fn ascii_is_recognised_and_one_octet_that_is_not_is_seen_wherever_it_stands() {
        let key = MaskKey::new([0x80, 0xFF, 0x7F, 0x01]);
        let masked = |text: &[u8]| {
            let mut data = text.to_vec();
            by_definition(key.to_bytes(), &mut data);
            data
        };
        for len in (0..=320).chain([1_000, 4_099]) {
            let ascii: Vec<u8> = (0..len).map(|i| (i % 128) as u8).collect();
            assert_eq!(
                unmask_ascii(key, &mut masked(&ascii)).map(str::as_bytes),
                Ok(&ascii[..])
            );
            assert!(apply_mask_portable(key, &mut masked(&ascii)));
            for odd in 0..len {
                let mut text = ascii.clone();
                text[odd] |= 0x80;
                assert_eq!(
                    unmask_ascii(key, &mut masked(&text)),
                    Err(&text[..]),
                    "{odd} of {len}"
                );
                assert!(
                    !apply_mask_portable(key, &mut masked(&text)),
                    "{odd} of {len}"
                );
            }
        }
    }
}
