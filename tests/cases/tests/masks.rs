//! The quality of a client's masking keys (RFC 6455 §5.3, §10.3; threat F8), seen on the wire.

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;
use tidegate::OsRandom;
use tidegate_proto::{Config, Connection, Outbox, Resources, Role, Time};

const FRAMES: usize = 100_000;

/// The keys of so many frames of a client whose driver gives it the system's random source.
fn keys() -> Vec<[u8; 4]> {
    let mut resources = Resources::new(Box::new(OsRandom::new()));
    let config = Arc::new(Config::default());
    let mut client = Connection::new(Role::Client, config, Outbox::default(), Time::ZERO);
    let mut keys = Vec::with_capacity(FRAMES);
    for _ in 0..FRAMES {
        client.send_binary(b"", &mut resources);
        let mut slices = [IoSlice::new(&[])];
        assert_eq!(client.poll_transmit(&mut slices), 1);
        let [0x82, 0x80, key @ ..] = &slices[0][..] else {
            panic!("an empty masked frame: {:?}", &slices[0][..]);
        };
        keys.push(key.try_into().expect("four octets"));
        client.handle_sent(Time::ZERO, 6, &mut resources);
    }
    keys
}

#[test]
fn each_of_a_hundred_thousand_frames_has_a_key_of_its_own() {
    let mut seen: HashMap<[u8; 4], usize> = HashMap::new();
    for key in keys() {
        *seen.entry(key).or_default() += 1;
    }
    // By chance alone some 1.2 pairs are equal; 30 never happen.
    let repeated = FRAMES - seen.len();
    assert!(repeated < 30, "{repeated} keys came again");
}

#[test]
fn keys_of_the_systems_source_are_evenly_spread() {
    let mut counts = [0usize; 256];
    let keys = keys();
    keys.iter()
        .flatten()
        .for_each(|octet| counts[usize::from(*octet)] += 1);
    let expected = (4 * FRAMES) as f64 / 256.0;
    let chi: f64 = counts
        .iter()
        .map(|n| (*n as f64 - expected).powi(2) / expected)
        .sum();
    // 255 degrees of freedom: mean 255, deviation 22.6; six deviations are one run in a thousand million.
    assert!((120.0..391.0).contains(&chi), "chi-square {chi}");
    // Neighbours have nothing in common: half of their bits are equal.
    let pairs = keys
        .windows(2)
        .map(|w| u32::from_be_bytes(w[0]) ^ u32::from_be_bytes(w[1]));
    let differing: u64 = pairs.map(|bits| u64::from(bits.count_ones())).sum();
    let share = differing as f64 / (32 * (FRAMES - 1)) as f64;
    assert!((share - 0.5).abs() < 0.002, "{share} of the bits differ");
}
