//! Masking (RFC 6455 §5.3): XOR with a repeating four-octet key. The only file with `unsafe`.
//!
//! [`apply_mask`] picks the widest implementation the CPU has at run time; `apply_mask_portable` is its
//! safe twin, and the tests compare the two on every length and alignment.

/// Below this many octets the setup of wide registers costs more than it saves.
const WIDE_FROM: usize = 64;

/// A masking key, turned so that its first octet is the next one to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MaskKey([u8; 4]);

impl MaskKey {
    /// The key in wire order.
    pub const fn new(bytes: [u8; 4]) -> MaskKey {
        MaskKey(bytes)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> MaskKey {
        MaskKey(bytes.try_into().expect("a masking key has four octets"))
    }

    /// The key in wire order.
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }

    /// The key as it stands `octets` further into the payload.
    #[must_use]
    pub const fn advanced(self, octets: usize) -> MaskKey {
        let bits = 8 * (octets % 4) as u32;
        MaskKey(u32::from_be_bytes(self.0).rotate_left(bits).to_be_bytes())
    }
}

/// Masks or unmasks `data` in place and returns the key for the octets that follow it.
///
/// Masking twice with the same key gives the data back.
#[inline]
pub fn apply_mask(key: MaskKey, data: &mut [u8]) -> MaskKey {
    #[cfg(target_arch = "x86_64")]
    if data.len() >= WIDE_FROM && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU was just seen to have AVX2, which is all the function asks for.
        unsafe { x86::apply_mask_avx2(key, data) };
        return key.advanced(data.len());
    }
    apply_mask_portable(key, data);
    key.advanced(data.len())
}

/// The safe twin: eight octets a step, which compilers widen to what the target surely has.
fn apply_mask_portable(key: MaskKey, data: &mut [u8]) {
    let key32 = u32::from_ne_bytes(key.0);
    let key64 = u64::from(key32) << 32 | u64::from(key32);
    let mut words = data.chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().expect("eight octets")) ^ key64;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.0.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{MaskKey, apply_mask_portable};
    use std::arch::x86_64::{
        __m256i, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
    };

    /// 128 octets a step in four registers, then 32, then the safe twin for what is left.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn apply_mask_avx2(key: MaskKey, data: &mut [u8]) {
        let wide = _mm256_set1_epi32(i32::from_ne_bytes(key.to_bytes()));
        let mut blocks = data.chunks_exact_mut(128);
        for block in &mut blocks {
            let at = block.as_mut_ptr().cast::<__m256i>();
            // SAFETY: `block` has 128 octets, so the four 32-octet lanes at `at` lie inside it;
            // loadu and storeu ask for no alignment.
            unsafe {
                let a = _mm256_xor_si256(_mm256_loadu_si256(at), wide);
                let b = _mm256_xor_si256(_mm256_loadu_si256(at.add(1)), wide);
                let c = _mm256_xor_si256(_mm256_loadu_si256(at.add(2)), wide);
                let d = _mm256_xor_si256(_mm256_loadu_si256(at.add(3)), wide);
                _mm256_storeu_si256(at, a);
                _mm256_storeu_si256(at.add(1), b);
                _mm256_storeu_si256(at.add(2), c);
                _mm256_storeu_si256(at.add(3), d);
            }
        }
        let mut lanes = blocks.into_remainder().chunks_exact_mut(32);
        for lane in &mut lanes {
            let at = lane.as_mut_ptr().cast::<__m256i>();
            // SAFETY: `lane` has 32 octets; loadu and storeu ask for no alignment.
            unsafe { _mm256_storeu_si256(at, _mm256_xor_si256(_mm256_loadu_si256(at), wide)) };
        }
        apply_mask_portable(key, lanes.into_remainder());
    }
}

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
        let data: Vec<u8> = (0..600u32).map(|i| (i * 7 + 3) as u8).collect();
        for start in 0..40 {
            for len in 0..=(data.len() - start).min(330) {
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
}
