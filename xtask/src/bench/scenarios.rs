//! What is measured against the peers: for each scenario the words of `tidegate bench`, who takes part, and what must be
//! reached. It runs nothing.

use super::contenders::Contender::{self, *};

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Of the job too, before the first slash.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) what: &'static str,
    /// After `tidegate bench`, before the URL.
    pub(crate) words: &'static [&'static str],
    pub(crate) place: Place,
    /// Ours first.
    pub(crate) who: &'static [Contender],
    pub(crate) bars: &'static [Bar],
}

/// What the servers do with the messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Echo,
    /// The same, compressed.
    Deflate,
    /// What comes goes to all, without a protocol of its own.
    Room,
    /// The same as far as theirs go, but a channel of ours.
    Hub,
    Sink,
}

/// Ours over theirs, the upper bound of the median, may be at most so much.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bar {
    pub(crate) beside: Beside,
    pub(crate) most: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beside {
    One(Contender),
    /// The cheapest library in Rust.
    BestRust,
}

impl Scenario {
    /// All rows of a job: `echo`, `fanout` and so on.
    pub(crate) fn of(job: &str) -> Vec<Scenario> {
        let mine = |scenario: &&Scenario| scenario.name.split('/').next() == Some(job);
        SCENARIOS.iter().filter(mine).copied().collect()
    }

    /// Where a contender is loaded, and the words it needs beside.
    pub(crate) fn target(&self, contender: Contender) -> (&'static str, &'static [&'static str]) {
        match (self.place, contender) {
            (Place::Echo | Place::Sink, Tidegate) => ("/echo?deflate=off", &[]),
            (Place::Deflate, Tidegate) => ("/echo?deflate=shared", &[]),
            // The level at which the loads' messages become as short as the peers make them.
            (Place::Deflate, Engine) => ("/echo?level=5", &[]),
            (Place::Echo | Place::Deflate, _) => ("/echo", &[]),
            (Place::Sink, _) => ("/sink", &[]),
            (Place::Hub, Tidegate) => (
                CHANNELS,
                &["--dialect", "centrifuge-json", "--channel", CHANNEL],
            ),
            (Place::Hub, TidegateProtobuf) => (
                CHANNELS,
                &["--dialect", "centrifuge-protobuf", "--channel", CHANNEL],
            ),
            (_, SocketIo) => (
                "/socket.io/?EIO=4&transport=websocket",
                &["--dialect", "socketio"],
            ),
            (_, Nats) => ("/", &["--dialect", "nats", "--channel", "bench"]),
            (_, _) => ("/broadcast", &[]),
        }
    }
}

const CHANNELS: &str = "/connection/websocket";
/// Of a namespace without history and presence, as those have none that it is compared with.
const CHANNEL: &str = "bench:room";

const fn bun(most: f64) -> Bar {
    Bar {
        beside: Beside::One(Bun),
        most,
    }
}

const fn rust(most: f64) -> Bar {
    Bar {
        beside: Beside::BestRust,
        most,
    }
}

const fn beside(contender: Contender, most: f64) -> Bar {
    Bar {
        beside: Beside::One(contender),
        most,
    }
}

const ECHO: &[Contender] = &[
    Tidegate,
    Bun,
    SockudoWs,
    TokioWebsockets,
    Fastwebsockets,
    Yawc,
    TokioTungstenite,
    Ws,
];
const ROOM: &[Contender] = &[
    Engine,
    Bun,
    SockudoWs,
    TokioWebsockets,
    Fastwebsockets,
    Yawc,
    TokioTungstenite,
    Ws,
];
const HUB: &[Contender] = &[Tidegate, TidegateProtobuf, Bun, Ws, SocketIo, Nats];
const SINK: &[Contender] = &[
    Engine,
    Bun,
    SockudoWs,
    TokioWebsockets,
    Fastwebsockets,
    Yawc,
    TokioTungstenite,
    Ws,
];
const DEFLATE: &[Contender] = &[Tidegate, Engine, Bun, Yawc, SockudoWs, Ws];
/// A delivery through the hub: a third of npm ws, and what Bun's bare publish costs.
const HUB_BARS: &[Bar] = &[bun(1.05), beside(Ws, 0.333)];

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "echo/1/125",
        what: "echo, 100 connections, 125 B, one in flight each",
        words: &["echo", "-c", "100", "-s", "125"],
        place: Place::Echo,
        who: ECHO,
        bars: &[bun(1.0), rust(1.05)],
    },
    Scenario {
        name: "echo/64/125",
        what: "echo, 100 connections, 125 B, 64 in flight each",
        words: &["echo", "-c", "100", "-s", "125", "--depth", "64"],
        place: Place::Echo,
        who: ECHO,
        bars: &[bun(0.9), rust(0.6)],
    },
    Scenario {
        name: "echo/1/16K",
        what: "echo, 10 connections, 16 KiB, binary",
        words: &["echo", "-c", "10", "-s", "16384", "--binary"],
        place: Place::Echo,
        who: ECHO,
        bars: &[bun(1.05), rust(1.0)],
    },
    Scenario {
        name: "echo/1/1M",
        what: "echo, 4 connections, 1 MiB, binary",
        words: &["echo", "-c", "4", "-s", "1048576", "--binary"],
        place: Place::Echo,
        who: ECHO,
        bars: &[bun(1.0), rust(1.0)],
    },
    Scenario {
        name: "fanout/room/1/64",
        what: "broadcast to 1,000, 64 B, one at a time",
        words: &["fanout", "-c", "1000", "-s", "64"],
        place: Place::Room,
        who: ROOM,
        bars: &[bun(1.05), rust(0.9)],
    },
    Scenario {
        name: "fanout/room/16/64",
        what: "broadcast to 1,000, 64 B, 16 in flight",
        words: &["fanout", "-c", "1000", "-s", "64", "--depth", "16"],
        place: Place::Room,
        who: ROOM,
        bars: &[bun(1.05), rust(0.6)],
    },
    Scenario {
        name: "fanout/hub/1000/128",
        what: "a channel with 1,000 subscribers, 128 B",
        words: &["fanout", "-c", "1000", "-s", "128"],
        place: Place::Hub,
        who: HUB,
        bars: HUB_BARS,
    },
    Scenario {
        name: "fanout/hub/1000/1K",
        what: "a channel with 1,000 subscribers, 1 KiB",
        words: &["fanout", "-c", "1000", "-s", "1024"],
        place: Place::Hub,
        who: HUB,
        bars: HUB_BARS,
    },
    Scenario {
        name: "fanout/hub/10000/128",
        what: "a channel with 10,000 subscribers, 128 B",
        words: &["fanout", "-c", "10000", "-s", "128"],
        place: Place::Hub,
        who: HUB,
        bars: HUB_BARS,
    },
    Scenario {
        name: "fanout/hub/10000/1K",
        what: "a channel with 10,000 subscribers, 1 KiB",
        words: &["fanout", "-c", "10000", "-s", "1024"],
        place: Place::Hub,
        who: HUB,
        bars: HUB_BARS,
    },
    Scenario {
        name: "fanout/hub/16/1000/128",
        what: "a channel with 1,000 subscribers, 128 B, 16 in flight",
        words: &["fanout", "-c", "1000", "-s", "128", "--depth", "16"],
        place: Place::Hub,
        who: HUB,
        bars: HUB_BARS,
    },
    Scenario {
        name: "handshake",
        what: "connections opened and closed, 32 at once",
        words: &["handshake", "-c", "32"],
        place: Place::Echo,
        who: ECHO,
        bars: &[bun(1.0), rust(0.87)], // 1.15 handshakes for one of theirs
    },
    Scenario {
        name: "flood/8/32",
        what: "one way, 8 connections, 32 B",
        words: &["flood", "-c", "8", "-s", "32"],
        place: Place::Sink,
        who: SINK,
        bars: &[],
    },
    Scenario {
        name: "deflate/1K",
        what: "echo, 50 connections, 1 KiB, permessage-deflate without context takeover",
        words: &["echo", "-c", "50", "-s", "1024", "--deflate"],
        place: Place::Deflate,
        who: DEFLATE,
        bars: &[bun(1.05), beside(Yawc, 0.8)],
    },
    Scenario {
        name: "memory/10000",
        what: "10,000 connections that say nothing after one echo of 125 B",
        words: &["idle", "-c", "10000"],
        place: Place::Echo,
        who: ECHO,
        bars: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::{Contender, SCENARIOS, Scenario};

    #[test]
    fn ours_comes_first_and_once_and_names_are_unlike() {
        for scenario in SCENARIOS {
            assert!(scenario.who[0].is_ours(), "{}", scenario.name);
            let same = |name: &str| SCENARIOS.iter().filter(|other| other.name == name).count();
            assert_eq!(same(scenario.name), 1);
        }
        assert_eq!(Scenario::of("echo").len(), 4);
        assert_eq!(Scenario::of("fan").len(), 0);
        assert_eq!(Contender::named("bun").ok(), Some(Contender::Bun));
    }
}
