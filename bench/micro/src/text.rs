//! A whole text frame through our connection, beside nothing but the two passes it needs: the bare loop, then the
//! validation. The key is zero, so that the same octets can be received again; ours does not look for that.

use crate::bare::Bare;
use crate::buffer::Buffer;
use crate::measure::Contender;
use crate::source;
use crate::stream::TEXT;
use crate::tide::Ours;
use crate::utf8;
use std::hint::black_box;

pub(crate) fn contenders(kind: &str, len: usize) -> Vec<Contender> {
    let mut contenders = vec![received(kind, len)];
    contenders.extend(Bare::avx2().map(|bare| two_passes(bare, kind, len)));
    contenders
}

fn received(kind: &str, len: usize) -> Contender {
    let frame = source::frame(TEXT, [0; 4], &utf8::text(kind, len));
    let mut buffer = Buffer::new(frame.len(), 0);
    buffer.copy_from_slice(&frame);
    let mut ours = Ours::new();
    Contender::new("tidegate Connection", move |ops| {
        let mut messages = 0;
        for _ in 0..ops {
            ours.receive(black_box(&mut buffer), |payload| {
                black_box(payload);
                messages += 1;
            });
        }
        assert_eq!(messages, ops);
        ops
    })
}

fn two_passes(bare: Bare, kind: &str, len: usize) -> Contender {
    let text = utf8::text(kind, len);
    // Where the payload of the frame lies, to the nearest place that the bare loop can begin at.
    let mut data = Buffer::new(len, 8);
    data.copy_from_slice(&text);
    Contender::new("bare loop + simdutf8", move |ops| {
        for _ in 0..ops {
            bare.mask(black_box([0; 4]), black_box(&mut data));
            assert!(simdutf8::basic::from_utf8(black_box(&data)).is_ok());
        }
        ops
    })
}
