//! Centrifuge's client protocol in protobuf: messages with their length in front. Only the fields that a load needs are
//! read; the rest is skipped.

use super::{Frame, Heard};

/// A client.
pub(crate) struct Protobuf {
    channel: String,
    commands: u64,
}

impl Protobuf {
    pub(super) fn new(channel: String) -> Protobuf {
        Protobuf {
            channel,
            commands: 2,
        }
    }

    pub(super) fn hello(&self) -> Frame {
        let mut octets = command(1, COMMAND_CONNECT, &[]);
        let mut subscribe = Vec::new();
        field(&mut subscribe, CHANNEL, self.channel.as_bytes());
        octets.extend(command(2, COMMAND_SUBSCRIBE, &subscribe));
        Frame::Binary(octets)
    }

    /// The data is a JSON string, which a server may insist on.
    pub(super) fn publish(&mut self, payload: &str) -> Frame {
        self.commands += 1;
        let mut publish = Vec::with_capacity(payload.len() + 64);
        field(&mut publish, CHANNEL, self.channel.as_bytes());
        field(&mut publish, DATA, format!("\"{payload}\"").as_bytes());
        Frame::Binary(command(self.commands, COMMAND_PUBLISH, &publish))
    }
}

pub(super) fn hear(mut message: &[u8], mut each: impl FnMut(Heard<'_>)) {
    while let Some(len) = varint(&mut message) {
        let Some((reply, rest)) = message.split_at_checked(len as usize) else {
            return each(Heard::Refused("a message is cut short".into()));
        };
        message = rest;
        if let Some(heard) = self::reply(reply) {
            each(heard);
        }
    }
}

fn reply(reply: &[u8]) -> Option<Heard<'_>> {
    if reply.is_empty() {
        return Some(Heard::Answer(Frame::Binary(vec![0])));
    }
    if let Some(push) = find(reply, REPLY_PUSH) {
        let data = find(find(push, PUSH_PUBLICATION)?, PUBLICATION_DATA)?;
        let payload = data
            .strip_prefix(b"\"")
            .and_then(|data| data.strip_suffix(b"\""));
        return Some(Heard::Payload(payload.unwrap_or(data)));
    }
    if let Some(error) = find(reply, REPLY_ERROR) {
        let text = find(error, ERROR_MESSAGE).unwrap_or_default();
        return Some(Heard::Refused(String::from_utf8_lossy(text).into_owned()));
    }
    find(reply, REPLY_SUBSCRIBE).map(|_| Heard::Ready)
}

/// The octets of the first field with this number that has any.
fn find(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while let Some(key) = varint(&mut message) {
        let len = match key & 7 {
            0 => {
                varint(&mut message)?;
                0
            }
            1 => 8,
            2 => varint(&mut message)? as usize,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = message.split_at_checked(len)?;
        if key == wanted << 3 | 2 {
            return Some(value);
        }
        message = rest;
    }
    None
}

fn varint(octets: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = octets.split_first()?;
        *octets = rest;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

fn push_varint(octets: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        octets.push(value as u8 | 128);
        value >>= 7;
    }
    octets.push(value as u8);
}

fn field(octets: &mut Vec<u8>, number: u64, value: &[u8]) {
    push_varint(octets, number << 3 | 2);
    push_varint(octets, value.len() as u64);
    octets.extend_from_slice(value);
}

/// A command with its length in front.
fn command(id: u64, number: u64, body: &[u8]) -> Vec<u8> {
    let mut command = vec![1 << 3];
    push_varint(&mut command, id);
    field(&mut command, number, body);
    let mut octets = Vec::with_capacity(command.len() + 2);
    push_varint(&mut octets, command.len() as u64);
    octets.extend(command);
    octets
}

// Field numbers of the protocol's schema.
const COMMAND_CONNECT: u64 = 4;
const COMMAND_SUBSCRIBE: u64 = 5;
const COMMAND_PUBLISH: u64 = 7;
const CHANNEL: u64 = 1;
const DATA: u64 = 2;
const REPLY_ERROR: u64 = 2;
const ERROR_MESSAGE: u64 = 2;
const REPLY_PUSH: u64 = 4;
const REPLY_SUBSCRIBE: u64 = 6;
const PUSH_PUBLICATION: u64 = 4;
const PUBLICATION_DATA: u64 = 4;

#[cfg(test)]
mod tests {
    use super::super::{Dialect, heard};
    use super::*;

    fn framed(number: u64, value: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        field(&mut reply, number, value);
        let mut octets = Vec::new();
        push_varint(&mut octets, reply.len() as u64);
        [octets, reply].concat()
    }

    #[test]
    fn replies_are_told_apart() {
        let mut publication = Vec::new();
        field(&mut publication, PUBLICATION_DATA, b"\"payload\"");
        let mut push = Vec::new();
        field(&mut push, CHANNEL + 1, b"a");
        field(&mut push, PUSH_PUBLICATION, &publication);
        let message = [
            framed(5, b"\x0a\x01x"),
            framed(REPLY_SUBSCRIBE, b""),
            vec![0],
            framed(REPLY_PUSH, &push),
            framed(REPLY_ERROR, b"\x08\x67\x12\x02no"),
            vec![9, 1],
        ];
        let mut dialect = Dialect::CentrifugeProtobuf(Protobuf::new("a".into()));
        assert_eq!(
            heard(&mut dialect, &message.concat()),
            [
                "Ready",
                "Answer(Binary([0]))",
                "payload",
                "Refused(\"no\")",
                "Refused(\"a message is cut short\")"
            ]
        );
    }

    #[test]
    fn long_payloads_have_long_lengths() {
        let payload = "x".repeat(300);
        let Frame::Binary(octets) = Protobuf::new("a".into()).publish(&payload) else {
            panic!("binary")
        };
        let mut rest = &octets[..];
        assert_eq!(varint(&mut rest), Some(rest.len() as u64));
        let publish = find(rest, COMMAND_PUBLISH).unwrap();
        assert_eq!(find(publish, DATA).unwrap().len(), 302);
    }
}
