//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 §1.3, §4); it never makes a key of its own.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// The base64 form of a client's key of 16 octets. Draw the octets from a CSPRNG, anew for each
/// connection (RFC 6455 §4.1).
pub fn encode(key: [u8; 16]) -> [u8; 24] {
    let mut text = [0; 24];
    let length = STANDARD.encode_slice(key, &mut text);
    debug_assert_eq!(length, Ok(24));
    text
}

/// The accept value for a key as it stands in the header, white space removed (RFC 6455 §4.2.2).
pub fn accept_for(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let mut text = [0; 28];
    let length = STANDARD.encode_slice(digest, &mut text);
    debug_assert_eq!(length, Ok(28));
    text
}

/// Whether this is the base64 form of 16 octets: alphabet, length and padding are judged. The four bits
/// that say nothing may be set: nobody decodes them, and real clients send such keys.
pub fn is_valid(key: &[u8]) -> bool {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(alphabet) && key.ends_with(b"==")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_values_are_as_published() {
        let rows = [
            ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), // RFC 6455 §1.3
            ("b6gjhT32u488lpuRwKaOWs==", "5ve17g5QZPLmIlvOfHgI1HwZ4iI="), // non-zero trailing bits
        ];
        for (key, accept) in rows {
            assert!(is_valid(key.as_bytes()));
            assert_eq!(accept_for(key.as_bytes()), accept.as_bytes());
        }
    }

    #[test]
    fn keys_are_encoded_as_in_the_rfc_and_are_valid() {
        assert_eq!(&encode(*b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
        for fill in 0..=255 {
            assert!(is_valid(&encode([fill; 16])));
        }
    }

    #[test]
    fn keys_of_another_length_alphabet_or_padding_are_not_valid() {
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhlIHNhbXBsZSBub25jZQA=",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25j=Q==",
            "dGhlIHNhbXBsZSBub25jZ-==",
            "dGhlIHNhbXBsZSBub25jZ_==",
            "dGhlIHNhbXBsZSBub25j Q==",
            "dGhlIHNhbXBsZSBub25jZ\u{e9}=",
            "dGhlIHNhbXBsZSBub24=",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
