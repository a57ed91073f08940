//! The list of what is measured; how, the other files know.

use crate::measure::Contender;
use crate::{echo, mask, stream, text, utf8};

/// Ways to do one thing, ours first.
pub(crate) struct Group {
    /// Octets of payload an operation.
    pub(crate) bytes: usize,
    pub(crate) contenders: Vec<Contender>,
}

/// Names of all groups, in the order they are measured.
pub(crate) fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| (*name).to_owned())
}

/// The group of that name.
pub(crate) fn group(name: &str) -> Option<Group> {
    let words: Vec<&str> = NAMES
        .iter()
        .find(|known| **known == name)?
        .split('/')
        .collect();
    let bytes: usize = words[words.len() - 1]
        .parse()
        .expect("a name ends with a size");
    let contenders = match words[..] {
        ["mask", place, _] => mask::contenders(bytes, if place == "payload" { 8 } else { 0 }),
        ["utf8", kind, _] => utf8::contenders(kind, bytes),
        ["frame", kind, _] => text::contenders(kind, bytes),
        ["stream", "binary", _] => stream::contenders(stream::BINARY, &utf8::text("ascii", bytes)),
        ["stream", kind, _] => stream::contenders(stream::TEXT, &utf8::text(kind, bytes)),
        ["echo", depth, _] => echo::contenders(bytes, depth.parse().expect("a depth is a number")),
        _ => return None,
    };
    Some(Group { bytes, contenders })
}

/// `mask/aligned`: the data begin at a page. `mask/payload`: eight octets behind it, as a payload does.
const NAMES: [&str; 29] = [
    "mask/aligned/32",
    "mask/aligned/125",
    "mask/aligned/1024",
    "mask/aligned/16384",
    "mask/aligned/65536",
    "mask/aligned/1048576",
    "mask/payload/32",
    "mask/payload/125",
    "mask/payload/1024",
    "mask/payload/16384",
    "mask/payload/65536",
    "mask/payload/1048576",
    "utf8/ascii/125",
    "utf8/ascii/16384",
    "utf8/three-octet/125",
    "utf8/three-octet/16384",
    "frame/ascii/1024",
    "frame/ascii/16384",
    "frame/ascii/65536",
    "frame/three-octet/16384",
    "stream/binary/125",
    "stream/ascii/125",
    "stream/three-octet/125",
    "stream/ascii/32",
    "stream/ascii/1024",
    "stream/binary/16384",
    "stream/ascii/16384",
    "echo/1/125",
    "echo/64/125",
];
