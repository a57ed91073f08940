//! What a server's process occupies while messages far longer than memory pass through a
//! [`tidegate_proto::Handler`] over a real socket, while lengths are announced that never come, and while bombs are
//! sent. Memory and processor time are read from outside, never reckoned.
#![cfg(target_os = "linux")]

mod client;
mod hostile;
mod pattern;
mod server;

use client::Sending;
use server::Server;

const MIB: u64 = 1 << 20;

/// What the server's process may occupy, its own code included.
const MOST_RESIDENT: u64 = 64 * MIB;

/// Has a message of `total` octets echoed, and looks at the server's memory.
fn echoed(sending: Sending, total: u64) {
    let server = Server::start();
    let wire = client::echo(server.addr(), sending, total);
    let peak = server.peak();
    server.stop();
    println!(
        "{sending:?}, {} MiB each way: {} MiB sent and {} MiB received on the wire, the server's peak is {:.1} MiB",
        total / MIB,
        wire.sent / MIB,
        wire.received / MIB,
        peak as f64 / MIB as f64
    );
    assert!(peak < MOST_RESIDENT, "{peak} B were resident");
    if sending == Sending::DeflatedText {
        assert!(
            wire.sent < total / 2 && wire.received < total / 2,
            "{wire:?}"
        );
    }
}

#[test]
fn a_message_of_256_mib_in_one_frame_is_echoed_within_64_mib_of_memory() {
    echoed(Sending::OneBinaryFrame, 256 * MIB);
}

#[test]
fn a_text_of_128_mib_in_frames_that_cut_characters_is_echoed_within_64_mib_of_memory() {
    echoed(Sending::Text, 128 * MIB);
}

#[test]
fn a_compressed_text_of_64_mib_is_echoed_compressed_within_64_mib_of_memory() {
    echoed(Sending::DeflatedText, 64 * MIB);
}

#[test]
#[ignore = "takes a minute; a step of cargo xtask test --full"]
fn a_message_of_8_gib_in_one_frame_is_echoed_within_64_mib_of_memory() {
    echoed(Sending::OneBinaryFrame, 8_192 * MIB);
}

#[test]
#[ignore = "the server's own process, which the tests beside it start"]
fn the_servers_process() {
    server::serve();
}
