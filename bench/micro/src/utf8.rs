//! UTF-8 validation: our streaming decoder beside std and the simdutf8 it stands on.

use crate::measure::Contender;
use std::hint::black_box;
use tidegate_proto::utf8::Utf8Decoder;

/// `len` octets of text, of characters of one octet or three.
pub(crate) fn text(kind: &str, len: usize) -> Vec<u8> {
    let character = match kind {
        "ascii" => "a",
        "three-octet" => "語",
        _ => unreachable!("the kinds are those of `cases`"),
    };
    let mut text = character.repeat(len / character.len());
    text.extend(std::iter::repeat_n('.', len - text.len()));
    text.into_bytes()
}

pub(crate) fn contenders(kind: &str, len: usize) -> Vec<Contender> {
    let text = text(kind, len);
    vec![
        contender("tidegate Utf8Decoder", &text, |text| {
            let mut decoder = Utf8Decoder::default();
            decoder.feed(text).is_ok() && decoder.finish().is_ok()
        }),
        contender("simdutf8 basic", &text, |text| {
            simdutf8::basic::from_utf8(text).is_ok()
        }),
        contender("std", &text, |text| std::str::from_utf8(text).is_ok()),
    ]
}

fn contender(name: &'static str, text: &[u8], valid: fn(&[u8]) -> bool) -> Contender {
    let text = text.to_vec();
    Contender::new(name, move |ops| {
        for _ in 0..ops {
            assert!(valid(black_box(&text)));
        }
        ops
    })
}
