//! Frames as octets, right ones and wrong ones, and the reading of right ones.

use std::io::{self, Read};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame with its first octet as given.
pub(crate) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut octets = header(first, mask, payload.len() as u64);
    match mask {
        None => octets.extend_from_slice(payload),
        Some(key) => octets.extend(payload.iter().zip(key.iter().cycle()).map(|(o, k)| o ^ k)),
    }
    octets
}

/// A frame's header, the length in its shortest form.
pub(crate) fn header(first: u8, mask: Option<[u8; 4]>, length: u64) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut octets = vec![first];
    match length {
        0..=125 => octets.push(masked | length as u8),
        126..=0xFFFF => {
            octets.push(masked | 126);
            octets.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            octets.push(masked | 127);
            octets.extend_from_slice(&length.to_be_bytes());
        }
    }
    octets.extend(mask.into_iter().flatten());
    octets
}

pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A client's whole frame.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, Some(KEY), payload)
}

/// A server's whole frame.
pub(crate) fn plain(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, None, payload)
}

/// A frame as it was read; nothing about it is judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    /// A Close frame's code; 0 without one.
    pub(crate) fn code(&self) -> u16 {
        match self.payload.as_slice() {
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        }
    }
}

/// Reads a frame; `None` at the end of the stream.
pub(crate) fn read_frame(stream: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut start = [0; 2];
    if stream.read(&mut start[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut start[1..])?;
    let length = match start[1] & 0x7F {
        126 => {
            let mut field = [0; 2];
            stream.read_exact(&mut field)?;
            u64::from(u16::from_be_bytes(field))
        }
        127 => {
            let mut field = [0; 8];
            stream.read_exact(&mut field)?;
            u64::from_be_bytes(field)
        }
        short => u64::from(short),
    };
    let mut mask = None;
    if start[1] & 0x80 != 0 {
        let mut key = [0; 4];
        stream.read_exact(&mut key)?;
        mask = Some(key);
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    if let Some(key) = mask {
        payload
            .iter_mut()
            .zip(key.iter().cycle())
            .for_each(|(o, k)| *o ^= k);
    }
    Ok(Some(Frame {
        first: start[0],
        mask,
        payload,
    }))
}

/// Reads an HTTP head, no octet more; empty at the end of the stream.
pub(crate) fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut octet)? == 0 {
            break;
        }
        head.push(octet[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The value of a field of a head; the name in any case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
