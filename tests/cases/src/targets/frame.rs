//! Frame headers: our reader against the plain one of [`crate::wire`], and against what it writes itself.

use crate::wire;
use tidegate_proto::frame::{FrameHeader, MAX_HEADER};

pub(super) fn run(data: &[u8]) {
    let whole = FrameHeader::parse(data);
    // More octets never change a verdict.
    for end in 0..data.len().min(MAX_HEADER) {
        match FrameHeader::parse(&data[..end]) {
            Ok(None) => {}
            early => assert_eq!(early, whole, "at {end}"),
        }
    }
    match whole {
        Ok(Some((header, len))) => {
            let mut octets = [0; MAX_HEADER];
            assert_eq!(header.encode(&mut octets), len);
            assert_eq!(
                octets[..len],
                data[..len],
                "the shortest form is the only one"
            );
            agree(data, header.mask.is_some(), true);
        }
        Ok(None) => assert!(data.len() < MAX_HEADER),
        Err(_) => {
            let masked = data.get(1).is_some_and(|octet| octet & 0x80 != 0);
            // RSV is a sender's business in the plain reader, so only the rest can be compared.
            agree(data, masked, data[0] & 0x30 != 0);
        }
    }
}

/// The plain reader finds a fault where ours does, as soon as it has seen enough.
fn agree(data: &[u8], masked: bool, good: bool) {
    let plain = wire::read_frame(data, masked);
    if good && data[0] & 0x30 == 0 {
        assert!(plain.is_ok(), "{plain:?} of {data:02x?}");
    }
    if let Ok(Some((_, len))) = plain {
        assert!(len <= data.len());
        assert!(
            good,
            "our reader refuses what the plain one takes: {:02x?}",
            &data[..len.min(20)]
        );
    }
}
