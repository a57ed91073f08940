//! permessage-deflate (RFC 7692): what is agreed on, and the codecs; it never sees a frame or a socket.
//!
//! ```text
//!   offers ─► accept ─► Negotiated + answer          a server
//!   offer ─► (the server) ─► judge ─► Negotiated     a client
//!   Negotiated ─► Connection::set_deflate            from then on messages go through the codecs
//! ```

mod codecs;
mod compress;
mod inflate;
mod negotiate;
mod quirks;
#[cfg(all(test, feature = "deflate"))]
pub(crate) mod testing;
#[cfg(not(feature = "deflate"))]
#[path = "absent.rs"]
mod zlib;

#[cfg(feature = "deflate")]
use zlib_rs as zlib;

pub use codecs::CodecPool;
pub(crate) use codecs::Codecs;
pub(crate) use compress::{CodecKey, Compressor, compressor_bytes};
pub(crate) use inflate::{Bounds, INFLATER_BYTES, Inflater, Inflating};
pub use negotiate::{Accepted, BadAnswer, accept, judge, offer};
pub use quirks::{Example, QUIRKS, Quirk};

/// The extension's name in `Sec-WebSocket-Extensions`.
pub const NAME: &str = "permessage-deflate";

/// Smallest window our compressor can use. RFC 7692 allows 8, but no zlib can keep raw deflate to it.
pub const MIN_COMPRESS_BITS: u8 = 9;

/// How messages are compressed, where the peer agrees. Without the cargo feature `deflate`: not at all.
///
/// Compressing secrets together with text that an attacker chooses tells the secrets by the length (the
/// BREACH class of attacks): send such messages with [`crate::Encoded::uncompressed`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Deflate {
    /// Not at all: the extension is neither offered nor accepted.
    #[default]
    Off,
    /// Each message by itself (no context takeover, both ways), with codecs that the worker's connections
    /// share. Cost: nothing while a connection is idle; 48 KiB while a compressed message has come in part.
    #[cfg(feature = "deflate")]
    Shared,
    /// Messages refer back to earlier ones, which shortens small ones most. Cost: for each connection that
    /// sends, a compressor of 132 KiB + 4 · 2^`bits` + 448 · 2^`mem_level` bytes (372 KiB at 15 and 8,
    /// 162 KiB at 12 and 5); for each that receives, 48 KiB and at most twice the peer's window. While the
    /// peer is quiet only its window is left. [`DeflateConfig::context_budget`] bounds the sum.
    #[cfg(feature = "deflate")]
    Dedicated {
        /// log2 of our window in bytes, 9 to 15; others are taken as the nearest.
        bits: u8,
        /// Memory for the compressor's symbols, 1 to 9; others are taken as the nearest.
        mem_level: u8,
    },
}

/// Settings of permessage-deflate. Default: off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeflateConfig {
    /// Whether and how.
    pub mode: Deflate,
    /// 1 (fast) to 9 (small). Default: 1, which costs a sixth of the time of 6.
    pub level: u8,
    /// Messages of fewer bytes go uncompressed. By itself such a message hardly shrinks, and the CPU time
    /// is worth more than the bytes; with a context of its own a connection may gain from 64 on. Messages
    /// sent in parts are compressed whatever they hold. Default: 256.
    pub threshold: usize,
    /// Most bytes that one received byte may inflate to, judged from 64 KiB of a message on; beyond it we
    /// close with 1009. Default: 100. Real data stay below 20; a bomb reaches 1,030.
    pub max_ratio: u32,
    /// Most bytes that all [`Deflate::Dedicated`] contexts of a worker, or of a [`CodecPool`] that several
    /// threads share, may hold. When it is used up,
    /// further connections compress each message by itself, and inflate with codecs from the pool.
    /// Default: 64 MiB.
    pub context_budget: usize,
    /// With [`Deflate::Dedicated`]: the server compresses each message by itself (RFC 7692 §7.1.1.1). A server
    /// says so in its answer and keeps no compressor for the connection; a client asks for it, and keeps no
    /// window of the server's where it is granted. Default: false. [`Deflate::Shared`] is this both ways.
    pub server_no_context_takeover: bool,
    /// With [`Deflate::Dedicated`]: the client compresses each message by itself (§7.1.1.2). A client says so
    /// in its offer, holds to it whatever the answer, and keeps no compressor; a server demands it in its answer,
    /// asked or not, and keeps no window of the client's. Default: false.
    pub client_no_context_takeover: bool,
}

impl Default for DeflateConfig {
    fn default() -> DeflateConfig {
        DeflateConfig {
            mode: Deflate::Off,
            level: 1,
            threshold: 256,
            max_ratio: 100,
            context_budget: 64 << 20,
            server_no_context_takeover: false,
            client_no_context_takeover: false,
        }
    }
}

impl From<Deflate> for DeflateConfig {
    /// The defaults with this mode.
    fn from(mode: Deflate) -> DeflateConfig {
        DeflateConfig {
            mode,
            ..DeflateConfig::default()
        }
    }
}

impl DeflateConfig {
    /// Window and memory level of [`Deflate::Dedicated`], in their ranges.
    pub(crate) fn dedicated(&self) -> Option<(u8, u8)> {
        #[cfg(feature = "deflate")]
        if let Deflate::Dedicated { bits, mem_level } = self.mode {
            return Some((bits.clamp(MIN_COMPRESS_BITS, 15), mem_level.clamp(1, 9)));
        }
        None
    }

    /// The same, without contexts that a connection keeps.
    #[cfg_attr(
        not(feature = "deflate"),
        expect(unused_mut, reason = "there is no mode to change to")
    )]
    pub(crate) fn frugal(&self) -> DeflateConfig {
        let mut frugal = self.clone();
        #[cfg(feature = "deflate")]
        if frugal.mode != Deflate::Off {
            frugal.mode = Deflate::Shared;
        }
        frugal
    }

    /// log2 of the largest window we compress with.
    pub(crate) fn bits(&self) -> u8 {
        self.dedicated().map_or(15, |(bits, _)| bits)
    }

    /// The compressor for a window of at most `bits`; `None` when there is none so small.
    pub(crate) fn codec(&self, bits: u8) -> Option<CodecKey> {
        let mem_level = self.dedicated().map_or(8, |(_, mem_level)| mem_level);
        let key = CodecKey {
            level: self.level.clamp(1, 9),
            bits: bits.min(self.bits()),
            mem_level,
        };
        (bits >= MIN_COMPRESS_BITS).then_some(key)
    }
}

/// What both ends have agreed on (RFC 7692 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Negotiated {
    /// The server compresses each message by itself.
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself.
    pub client_no_context_takeover: bool,
    /// log2 of the server's window, 8 to 15.
    pub server_max_window_bits: u8,
    /// log2 of the client's window, 8 to 15.
    pub client_max_window_bits: u8,
}

impl Default for Negotiated {
    /// What holds when no parameter is given: takeover both ways, windows of 32 KiB.
    fn default() -> Negotiated {
        Negotiated {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        }
    }
}

/// What a server keeps for what the client may refer to, in bytes; it is entered in the budget.
pub(crate) fn context_bytes(negotiated: &Negotiated) -> usize {
    match negotiated.client_no_context_takeover {
        true => 0,
        false => 2 << negotiated.client_max_window_bits.max(9),
    }
}
