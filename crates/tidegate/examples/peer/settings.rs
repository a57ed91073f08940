//! What both ends have in common: limits as large as suites need, compression whenever it is offered. It opens nothing.

use crate::Result;
use std::path::Path;
use tidegate::tidegate_proto::{Deflate, DeflateConfig};
use tidegate::{Client, Config, Limits, Timeouts, Tls};

/// Messages as large as the suites send, compressed even when they are short, with all the context there is; no ping
/// of ours between a suite's octets.
pub(crate) fn config(deflate: bool) -> Config {
    let mode = match deflate {
        true => Deflate::Dedicated {
            bits: 15,
            mem_level: 8,
        },
        false => Deflate::Off,
    };
    Config {
        limits: Limits::large(),
        timeouts: Timeouts {
            ping_interval: None,
            ..Timeouts::default()
        },
        deflate: DeflateConfig {
            mode,
            threshold: 1,
            // What repeats itself is no bomb where the message limit holds.
            max_ratio: u32::MAX,
            ..DeflateConfig::default()
        },
    }
}

/// A client that trusts the certificate in the file `root` and no other.
pub(crate) fn trusting(client: Client, root: Option<&Path>) -> Result<Client> {
    Ok(match root {
        None => client,
        Some(root) => client.tls(Tls::builder().root_pem(&std::fs::read(root)?)?.build()?),
    })
}
