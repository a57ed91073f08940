//! The bare loops that masking is held against: load, xor, store, in place, four vectors a step. No head, no tail,
//! no detection at each call: they take whole vectors only and know nothing of frames.

use pulp::x86::{V3, V4};
use pulp::{Simd, WithSimd, bytemuck};

/// A bare loop on vectors of one width.
#[derive(Clone, Copy)]
pub(crate) enum Bare {
    /// 32 octets.
    Avx2(V3),
    /// 64 octets.
    Avx512(V4),
}

impl Bare {
    pub(crate) fn avx2() -> Option<Bare> {
        V3::try_new().map(Bare::Avx2)
    }

    pub(crate) fn avx512() -> Option<Bare> {
        V4::try_new().map(Bare::Avx512)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Bare::Avx2(_) => "bare loop, AVX2",
            Bare::Avx512(_) => "bare loop, AVX-512",
        }
    }

    /// Masks `data`, which begins at a multiple of 4. The last octets that fill no vector stay as they are.
    pub(crate) fn mask(self, key: [u8; 4], data: &mut [u8]) {
        let key = u32::from_ne_bytes(key);
        let data = bytemuck::cast_slice_mut(data);
        match self {
            Bare::Avx2(simd) => Simd::vectorize(simd, Loop { key, data }),
            Bare::Avx512(simd) => Simd::vectorize(simd, Loop { key, data }),
        }
    }
}

struct Loop<'a> {
    key: u32,
    data: &'a mut [u32],
}

impl WithSimd for Loop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let key = simd.splat_u32s(self.key);
        let (vectors, _) = S::as_mut_simd_u32s(self.data);
        let (fours, rest) = vectors.as_chunks_mut::<4>();
        for [a, b, c, d] in fours {
            *a = simd.xor_u32s(*a, key);
            *b = simd.xor_u32s(*b, key);
            *c = simd.xor_u32s(*c, key);
            *d = simd.xor_u32s(*d, key);
        }
        for vector in rest {
            *vector = simd.xor_u32s(*vector, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;

    #[test]
    fn a_bare_loop_masks_what_fills_its_vectors() {
        for bare in [Bare::avx2(), Bare::avx512()].into_iter().flatten() {
            for len in [64, 128, 320, 1024] {
                let mut data = Buffer::new(len, 8);
                bare.mask([1, 2, 3, 4], &mut data);
                let expected: Vec<u8> = (0..len).map(|i| b'a' ^ [1, 2, 3, 4][i % 4]).collect();
                assert_eq!(&data[..], expected, "{} {len}", bare.name());
            }
        }
    }
}
