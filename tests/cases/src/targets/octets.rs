//! Masking and UTF-8, in pieces, against what they are by definition.

use crate::random::Cuts;
use tidegate_proto::mask::{MaskKey, apply_mask};
use tidegate_proto::utf8::Utf8Decoder;

/// The first five octets are the key and a seed for the pieces.
pub(super) fn mask(data: &[u8]) {
    let Some((&[a, b, c, d, seed], payload)) = data.split_first_chunk::<5>() else {
        return;
    };
    let key = [a, b, c, d];
    let expected: Vec<u8> = payload
        .iter()
        .enumerate()
        .map(|(i, octet)| octet ^ key[i % 4])
        .collect();
    // Every alignment: the wide registers ask for none, and the pieces start anywhere.
    let start = usize::from(seed % 32);
    let mut buffer = vec![0xEE; start];
    buffer.extend_from_slice(payload);
    let next = apply_mask(MaskKey::new(key), &mut buffer[start..]);
    assert_eq!(buffer[start..], expected, "whole");
    assert!(
        buffer[..start].iter().all(|octet| *octet == 0xEE),
        "nothing before it"
    );
    assert_eq!(next, MaskKey::new(key).advanced(payload.len()));
    let mut pieces = Vec::new();
    let mut next = MaskKey::new(key);
    for mut piece in Cuts::Random(u64::from(seed)).pieces(payload) {
        next = apply_mask(next, &mut piece);
        pieces.extend(piece);
    }
    assert_eq!(pieces, expected, "in pieces");
}

/// The first octet is a seed for the pieces.
pub(super) fn utf8(data: &[u8]) {
    let Some((&seed, text)) = data.split_first() else {
        return;
    };
    for cuts in [Cuts::Whole, Cuts::Each, Cuts::Random(u64::from(seed))] {
        validate(text, cuts);
    }
}

fn validate(text: &[u8], cuts: Cuts) {
    let mut decoder = Utf8Decoder::default();
    let mut fed = 0;
    for piece in cuts.pieces(text) {
        fed += piece.len();
        let verdict = decoder.feed(&piece);
        // Hopeless: the standard library sees an error that more octets cannot mend.
        let hopeless = std::str::from_utf8(&text[..fed]).is_err_and(|e| e.error_len().is_some());
        assert_eq!(verdict.is_err(), hopeless, "after {fed} of {text:02x?}");
        if verdict.is_err() {
            return;
        }
    }
    assert_eq!(
        decoder.finish().is_ok(),
        std::str::from_utf8(text).is_ok(),
        "{text:02x?}"
    );
}
