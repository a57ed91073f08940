//! Octets as clients send them: request heads and masked frames. The masking key is fixed; nothing stands between.

/// A request for a WebSocket at `path`, with more lines of the head (each ended by CRLF).
pub(crate) fn request(path: &str, more: &str) -> Vec<u8> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    );
    head.into_bytes()
}

/// A whole text message.
pub(crate) fn text(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(octet, key)| octet ^ key),
    );
    frame
}

/// Any key will do.
pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
/// A key that changes nothing, so that octets unmasked in place can be received again.
pub(crate) const NO_KEY: [u8; 4] = [0; 4];
