//! Masking in place: ours beside memcpy, the bare loops and the one peer whose function is public. The functions of
//! tungstenite (the same loop as fastwebsockets') and tokio-websockets are private; `stream` shows what they cost.

use crate::bare::Bare;
use crate::buffer::Buffer;
use crate::measure::Contender;
use std::hint::black_box;
use tidegate_proto::mask::{MaskKey, apply_mask};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub(crate) fn contenders(len: usize, offset: usize) -> Vec<Contender> {
    let mut contenders = vec![in_place("tidegate", len, offset, |data| {
        apply_mask(MaskKey::new(KEY), data);
    })];
    if len % 32 == 0 {
        for bare in [Bare::avx2(), Bare::avx512()].into_iter().flatten() {
            let run = move |data: &mut [u8]| bare.mask(KEY, data);
            contenders.push(in_place(bare.name(), len, offset, run));
        }
    }
    contenders.push(memcpy(len, offset));
    contenders.push(in_place("fastwebsockets", len, offset, |data| {
        fastwebsockets::unmask(data, KEY);
    }));
    contenders
}

fn in_place(
    name: &'static str,
    len: usize,
    offset: usize,
    mask: impl Fn(&mut [u8]) + 'static,
) -> Contender {
    let stride = stride(len, offset);
    let mut data = Buffer::new(REGION.max(stride), 0);
    Contender::new(name, move |ops| {
        let mut done = 0;
        while done < ops {
            for place in data.chunks_exact_mut(stride) {
                mask(black_box(&mut place[offset..offset + len]));
                done += 1;
            }
        }
        done
    })
}

fn memcpy(len: usize, offset: usize) -> Contender {
    let stride = stride(len, offset);
    let from = Buffer::new(REGION.max(stride), 0);
    let mut to = Buffer::new(REGION.max(stride), 0);
    Contender::new("memcpy to a second buffer", move |ops| {
        let mut done = 0;
        while done < ops {
            for (to, from) in to.chunks_exact_mut(stride).zip(from.chunks_exact(stride)) {
                let place = offset..offset + len;
                black_box(&mut to[place.clone()]).copy_from_slice(black_box(&from[place]));
                done += 1;
            }
        }
        done
    })
}

/// Short data lie one behind the other in a region, as frames do in a read: who masked the same octets again and again
/// would wait for its own stores.
fn stride(len: usize, offset: usize) -> usize {
    (len + offset).next_multiple_of(64)
}

/// Fits the first-level cache.
const REGION: usize = 16 << 10;
