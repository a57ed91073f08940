//! Limits and timeouts of a connection: what each means, its default and what it costs.

use crate::deflate::DeflateConfig;
use std::time::Duration;

/// What a connection may take and how long it may wait. Shared by all connections of a kind (`Arc`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Sizes and counts.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
    /// Compression. Default: off.
    pub deflate: DeflateConfig,
}

/// Sizes and counts; each is enforced before memory is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message we assemble, in bytes; beyond it we close with 1009, at the header that announces
    /// it. Each fragment counts 64 bytes more. Default: 1 MiB.
    /// Cost: at most this much for each connection that is mid-message.
    pub max_message_size: usize,
    /// Longest frame, in bytes on the wire; beyond it we close with 1009, at its header. Default: none, a frame may be
    /// as long as a message.
    pub max_frame_size: usize,
    /// Most frames in one message; beyond it we close with 1008. Default: 1,024.
    pub max_fragments: u32,
    /// Most frames without payload in one message, the last one not counted; beyond it we close with 1008.
    /// Default: as many as there may be fragments.
    pub max_empty_fragments: u32,
    /// Most bytes that wait for one peer; a message that would exceed it is not queued, and the peer is
    /// closed with 1013. A single message may exceed it when nothing waits. Default: 1 MiB.
    pub outbox: usize,
    /// From here on the outbox counts as high: the peer is not read until it has drained. Default: 256 KiB.
    pub outbox_high: usize,
    /// Below this a high outbox counts as drained. Default: 64 KiB.
    pub outbox_low: usize,
    /// Control frames a peer may send in a burst; beyond it we close with 1008. Default: 1,000.
    pub control_burst: u16,
    /// Control frames a second that a peer may send for ever. Default: 200.
    pub control_per_second: u16,
}

/// What a fragment costs beside its payload when it is charged against the message limit.
pub(crate) const FRAGMENT_OVERHEAD: usize = 64;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_message_size: 1 << 20,
            max_frame_size: usize::MAX,
            max_fragments: 1_024,
            max_empty_fragments: u32::MAX,
            outbox: 1 << 20,
            outbox_high: 256 << 10,
            outbox_low: 64 << 10,
            control_burst: 1_000,
            control_per_second: 200,
        }
    }
}

impl Limits {
    /// For conformance suites and benches: messages of 16 MiB in up to 131,072 fragments (the
    /// reference suite cuts one message into 65,537).
    pub fn large() -> Limits {
        Limits {
            max_message_size: (16 << 20) + 131_072 * FRAGMENT_OVERHEAD,
            max_fragments: 131_072,
            outbox: 32 << 20,
            ..Limits::default()
        }
    }

    /// For hub and guard: messages of 64 KiB.
    pub fn hub() -> Limits {
        Limits {
            max_message_size: 64 << 10,
            ..Limits::default()
        }
    }
}

/// Waits; all are measured with the time the driver passes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Silence after which we ping; `None` sends none. Default: 25 s.
    pub ping_interval: Option<Duration>,
    /// Further silence after our ping, after which the peer counts as gone. Any byte is a sign of life.
    /// Default: 10 s.
    pub pong: Duration,
    /// From the first octets of a message that came incomplete to its last; then we close with 1008. Default:
    /// `None`, as long as it takes.
    pub message: Option<Duration>,
    /// How long the peer may take to answer our Close. Default: 5 s.
    pub close: Duration,
    /// How long the transport stays half open after the last Close, so that the peer can read it.
    /// Default: 1 s.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            ping_interval: Some(Duration::from_secs(25)),
            pong: Duration::from_secs(10),
            message: None,
            close: Duration::from_secs(5),
            linger: Duration::from_secs(1),
        }
    }
}

/// Limits of the opening handshake's HTTP head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most header fields; more are answered 431. Default: 100.
    pub max_fields: usize,
    /// Longest line in bytes; a longer one is answered 431 (414 for the request line). Default: 8 KiB.
    pub max_line: usize,
    /// Longest head in bytes; a longer one is answered 431. Default: 16 KiB.
    /// Cost: at most this much for each connection whose head is incomplete.
    pub max_size: usize,
    /// From the accepted connection, TLS included, to the head's last byte; then 408. Default: 10 s.
    pub timeout: Duration,
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits {
            max_fields: 100,
            max_line: 8 << 10,
            max_size: 16 << 10,
            timeout: Duration::from_secs(10),
        }
    }
}
