//! The client that Autobahn's fuzzing server examines: asks how many cases there are, echoes in each, asks for the
//! report. It knows nothing of what a case wants.

use crate::connect::Dialer;
use crate::tls;
use std::error::Error;
use std::path::Path;
use tidegate_proto::{
    Config, Connection, Deflate, DeflateConfig, Incoming, Level, Limits, Message, Resources,
    Timeouts,
};

/// Runs every case of the fuzzing server at `url`; `root` is the certificate to trust when it is `wss`.
pub(crate) fn run(url: &str, agent: &str, root: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let (authority, tls) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
        (Some(authority), _) => (authority, None),
        (_, Some(authority)) => {
            let root = root.ok_or("wss needs the certificate to trust")?;
            (authority, Some(tls::client(root)?))
        }
        _ => return Err("the URL must begin with ws:// or wss://".into()),
    };
    let mut dialer = Dialer::new(authority.trim_end_matches('/'), tls, config());
    let cases = count(&mut dialer)?;
    for case in 1..=cases {
        // A case may end in any way, that is what it is for; the suite says whether it was the right one.
        match dialer.run(&format!("/runCase?case={case}&agent={agent}"), echo) {
            Ok(closed) => println!("{case}: {closed:?}"),
            Err(why) => println!("{case}: {why}"),
        }
    }
    dialer.run(&format!("/updateReports?agent={agent}"), |_, _, _| {
        Level::Low
    })?;
    Ok(())
}

fn count(dialer: &mut Dialer) -> Result<u32, Box<dyn Error>> {
    let mut said = None;
    dialer.run("/getCaseCount", |message, _, _| {
        said = Some(String::from_utf8_lossy(message.as_bytes()).into_owned());
        Level::Low
    })?;
    Ok(said
        .ok_or("the server did not say how many cases there are")?
        .trim()
        .parse()?)
}

fn echo(
    message: &mut Message<'_>,
    connection: &mut Connection,
    resources: &mut Resources,
) -> Level {
    match message.incoming() {
        Incoming::Text(text) => connection.send_text(text.as_str(), resources),
        Incoming::Binary(octets) => connection.send_binary(&octets, resources),
    }
}

/// Messages as large as the suite sends, compressed even when they are short, with all the context that the server grants;
/// no ping of ours between its octets.
fn config() -> Config {
    Config {
        limits: Limits::large(),
        timeouts: Timeouts {
            ping_interval: None,
            ..Timeouts::default()
        },
        deflate: DeflateConfig {
            mode: Deflate::Dedicated {
                bits: 15,
                mem_level: 8,
            },
            threshold: 1,
            // Through a guard 9.3 and 9.4 come compressed, 4 MiB of one octet: no bomb where the message limit holds.
            max_ratio: u32::MAX,
            ..DeflateConfig::default()
        },
    }
}
