//! What the fuzzers run: each target takes any octets and panics when a promise is broken. They are plain
//! functions, so that the corpora replay as unit tests on any machine.

mod connection;
mod content;
mod deflate;
mod frame;
mod octets;

use tidegate_proto::handshake::fuzzing;

/// A fuzz target.
pub struct Target {
    /// As in `fuzz/fuzz_targets` and `fuzz/corpus`.
    pub name: &'static str,
    /// Takes any octets; panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "command",
        run: command,
    },
    Target {
        name: "command_protobuf",
        run: command_protobuf,
    },
    Target {
        name: "connection",
        run: connection,
    },
    Target {
        name: "content",
        run: content,
    },
    Target {
        name: "deflate",
        run: deflate,
    },
    Target {
        name: "extensions",
        run: extensions,
    },
    Target {
        name: "frame",
        run: frame,
    },
    Target {
        name: "handshake_request",
        run: handshake_request,
    },
    Target {
        name: "handshake_response",
        run: handshake_response,
    },
    Target {
        name: "mask",
        run: mask,
    },
    Target {
        name: "token",
        run: token,
    },
    Target {
        name: "utf8",
        run: utf8,
    },
];

/// The target of that name.
pub fn by_name(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// A hub's client speaks.
pub fn command(data: &[u8]) {
    let lines = data.split(|&octet| octet == b'\n').count();
    let count = tidegate_hub::codec::json::fuzz_commands(data);
    assert!(
        count <= data.len().div_ceil(2) + lines,
        "{count} commands in {} octets",
        data.len()
    );
}

/// A hub's client speaks protobuf.
pub fn command_protobuf(data: &[u8]) {
    let count = tidegate_hub::codec::protobuf::fuzz_commands(data);
    assert!(
        count <= data.len(),
        "{count} commands in {} octets",
        data.len()
    );
}

/// A client shows a token.
pub fn token(data: &[u8]) {
    tidegate_hub::fuzz_token(data);
}

/// Frames to either role in any pieces, and hostile I/O around them.
pub fn connection(data: &[u8]) {
    connection::run(data);
}

/// A message is judged: the strict walk, its layers, every rule, masks.
pub fn content(data: &[u8]) {
    content::run(data);
}

/// Compressed messages to either role, and what is sent compressed.
pub fn deflate(data: &[u8]) {
    deflate::run(data);
}

/// Values of `Sec-WebSocket-Extensions` and of `Origin`.
pub fn extensions(data: &[u8]) {
    fuzzing::extension_offers(data);
    fuzzing::origin(data);
}

/// Frame headers.
pub fn frame(data: &[u8]) {
    frame::run(data);
}

/// Heads that come to a server, and requests that a client is asked to send.
pub fn handshake_request(data: &[u8]) {
    fuzzing::server_head(data);
    fuzzing::client_request(data);
}

/// Answers to a client.
pub fn handshake_response(data: &[u8]) {
    fuzzing::client_response(data);
}

/// Masking against its definition.
pub fn mask(data: &[u8]) {
    octets::mask(data);
}

/// Validation in pieces against the standard library's.
pub fn utf8(data: &[u8]) {
    octets::utf8(data);
}
