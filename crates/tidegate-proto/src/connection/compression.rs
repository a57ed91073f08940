//! permessage-deflate of one connection (RFC 7692): which codec serves which message, and what is kept
//! between two; it never touches a frame.

use super::Role;
use super::resources::Resources;
use crate::deflate::{
    CodecKey, Compressor, DeflateConfig, INFLATER_BYTES, Inflater, Inflating, Negotiated,
    compressor_bytes,
};

/// What was agreed, and the contexts kept. Without context takeover there are none.
pub(super) struct Compression {
    negotiated: Negotiated,
    /// How we deflate; `None` when the window agreed on is too small for any codec of ours.
    key: Option<CodecKey>,
    /// Our messages may refer to earlier ones of ours.
    sends_context: bool,
    sender: Option<Box<Compressor>>,
    /// What the peer may refer to; there only if it may.
    history: Option<History>,
    /// Kept beside the history while the peer is busy: it holds the same, ready to go on.
    inflater: Option<Box<Inflater>>,
    /// The inflater is entered in the budget, be it here or at work.
    keeps_inflater: bool,
    /// A codec was used since the last look.
    used: bool,
}

impl Compression {
    pub(super) fn new(
        negotiated: Negotiated,
        role: Role,
        config: &DeflateConfig,
        resources: &mut Resources,
    ) -> Compression {
        let Negotiated {
            server_no_context_takeover: server_alone,
            client_no_context_takeover: client_alone,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
        } = negotiated;
        let (own_alone, own_bits, peer_alone, peer_bits) = match role {
            Role::Server => (server_alone, server_bits, client_alone, client_bits),
            Role::Client => (client_alone, client_bits, server_alone, server_bits),
        };
        //= rfc7692#7.1.1.2  a client that offered not to take over does not, whatever the answer.
        let said_so = role == Role::Client && config.client_no_context_takeover;
        let own_alone = own_alone || said_so;
        let history = (!peer_alone).then(|| History::new(peer_bits));
        if let Some(history) = &history {
            resources.codecs.must_keep(history.budget());
        }
        //= rfc7692#7.1.1.2  not taking over is always allowed, even where taking over was agreed.
        let dedicated = config.dedicated().is_some();
        Compression {
            negotiated,
            key: config.codec(own_bits),
            sends_context: dedicated && !own_alone,
            sender: None,
            history,
            inflater: None,
            keeps_inflater: false,
            used: false,
        }
    }

    pub(super) fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// The parameters of our compressor, if messages of `len` bytes are to be compressed at all.
    pub(super) fn key_for(&self, len: usize, config: &DeflateConfig) -> Option<CodecKey> {
        self.key.filter(|_| len >= config.threshold.max(1))
    }

    /// The parameters of our compressor.
    pub(super) fn key(&self) -> Option<CodecKey> {
        self.key
    }

    /// The next message will be deflated in this connection's own context.
    pub(super) fn has_own_context(&self, config: &DeflateConfig, resources: &Resources) -> bool {
        let Some(key) = self.key.filter(|_| self.sends_context) else {
            return false;
        };
        let cost = compressor_bytes(key);
        self.sender.is_some() || resources.codecs.fits(cost, config.context_budget)
    }

    /// Deflates a message that is not empty, in the connection's own context if it has one.
    pub(super) fn deflate(
        &mut self,
        key: CodecKey,
        payload: &[u8],
        own_context: bool,
        config: &DeflateConfig,
        resources: &mut Resources,
    ) -> Vec<u8> {
        let mut out = resources.take_buffer(payload.len() / 4);
        let kept = self.sender.take_if(|_| own_context);
        let is_kept = kept.is_some();
        let mut sender = kept.unwrap_or_else(|| resources.codecs.take_compressor(key));
        sender.message(payload, &mut out);
        resources.codecs.deflated += 1;
        let cost = compressor_bytes(key);
        let keep = own_context && (is_kept || resources.codecs.keep(cost, config.context_budget));
        if keep {
            self.used = true;
            self.sender = Some(sender);
        } else {
            resources.codecs.recycle_compressor(sender);
        }
        out
    }

    /// Forgets our context: the next message refers to nothing before it, which is always allowed.
    pub(super) fn forget_sender(&mut self, resources: &mut Resources) {
        if let Some(sender) = self.sender.take() {
            resources.codecs.let_go(compressor_bytes(sender.key()));
            resources.codecs.recycle_compressor(sender);
        }
    }

    /// A compressed message begins.
    pub(super) fn begin(&mut self, resources: &mut Resources) -> Inflating {
        if let Some(inflater) = self.inflater.take() {
            return Inflating::new(inflater);
        }
        let mut inflater = resources.codecs.take_inflater();
        if let Some(history) = self.history.as_ref().filter(|h| !h.last().is_empty()) {
            inflater.prime(history.last());
        }
        Inflating::new(inflater)
    }

    /// These are the next octets of the message.
    pub(super) fn inflated(&mut self, octets: &[u8]) {
        if let Some(history) = &mut self.history {
            history.push(octets);
        }
    }

    /// The message is complete, and all of it was passed to [`Compression::inflated`].
    pub(super) fn end(
        &mut self,
        inflating: Inflating,
        config: &DeflateConfig,
        resources: &mut Resources,
    ) {
        let window_left = inflating.window_left();
        let inflater = inflating.into_inflater();
        let Some(history) = &mut self.history else {
            return resources.codecs.recycle_inflater(inflater);
        };
        if let Some(left) = window_left {
            history.keep_last(left);
        }
        self.keeps_inflater =
            self.keeps_inflater || resources.codecs.keep(INFLATER_BYTES, config.context_budget);
        if self.keeps_inflater {
            self.used = true;
            self.inflater = Some(inflater);
        } else {
            resources.codecs.recycle_inflater(inflater);
        }
    }

    /// A while has passed: gives the codecs back if they were not used since the last call.
    pub(super) fn passed(&mut self, resources: &mut Resources) {
        if !std::mem::take(&mut self.used) {
            self.release(resources);
        }
    }

    /// Gives the codecs back. What the peer may refer to stays, as plain octets.
    pub(super) fn release(&mut self, resources: &mut Resources) {
        self.forget_sender(resources);
        if let Some(inflater) = self.inflater.take() {
            resources.codecs.recycle_inflater(inflater);
            resources.codecs.let_go(INFLATER_BYTES);
            self.keeps_inflater = false;
        }
        if let Some(history) = &mut self.history {
            history.shrink();
        }
    }

    /// It owns no codec now.
    #[cfg(test)]
    pub(super) fn holds_no_codec(&self) -> bool {
        self.sender.is_none() && self.inflater.is_none()
    }

    /// No message will come or go any more: gives everything back.
    pub(super) fn close(&mut self, resources: &mut Resources) {
        self.release(resources);
        if std::mem::take(&mut self.keeps_inflater) {
            resources.codecs.let_go(INFLATER_BYTES);
        }
        if let Some(history) = self.history.take() {
            resources.codecs.let_go(history.budget());
        }
        self.key = None;
    }
}

/// The last octets the peer has sent compressed, up to its window.
struct History {
    octets: Vec<u8>,
    window: usize,
}

impl History {
    /// Old zlibs that promise 8 bits use 9.
    fn new(bits: u8) -> History {
        History {
            octets: Vec::new(),
            window: 1 << bits.max(9),
        }
    }

    /// What it may grow to, in bytes.
    fn budget(&self) -> usize {
        2 * self.window
    }

    fn push(&mut self, octets: &[u8]) {
        let fresh = &octets[octets.len().saturating_sub(self.window)..];
        if self.octets.len() + fresh.len() > 2 * self.window {
            let keep = self.window - fresh.len();
            self.keep_last(keep as u64);
        }
        if self.octets.capacity() < self.octets.len() + fresh.len() {
            // Grows as a vector does, but never beyond the budget.
            let capacity = (2 * self.octets.len()).max(self.octets.len() + fresh.len());
            let capacity = capacity.min(2 * self.window);
            self.octets.reserve_exact(capacity - self.octets.len());
        }
        self.octets.extend_from_slice(fresh);
    }

    fn keep_last(&mut self, octets: u64) {
        let keep = usize::try_from(octets).unwrap_or(usize::MAX);
        let drop = self.octets.len().saturating_sub(keep);
        self.octets.drain(..drop);
    }

    fn last(&self) -> &[u8] {
        &self.octets[self.octets.len().saturating_sub(self.window)..]
    }

    fn shrink(&mut self) {
        self.keep_last(self.window as u64);
        self.octets.shrink_to_fit();
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::deflate::testing::Words;

    #[test]
    fn a_history_is_the_last_window_and_never_more_than_two() {
        let mut words = Words::new(1);
        let mut history = History::new(9);
        let mut all = Vec::new();
        for _ in 0..2_000 {
            let len = words.below(700);
            let octets = words.bytes(len);
            history.push(&octets);
            all.extend_from_slice(&octets);
            assert_eq!(history.last(), &all[all.len().saturating_sub(512)..]);
            assert!(history.octets.capacity() <= 1_024);
        }
        history.shrink();
        assert_eq!(history.last(), &all[all.len() - 512..]);
        assert!(history.octets.capacity() <= 512);
        history.keep_last(3);
        assert_eq!(history.last(), &all[all.len() - 3..]);
    }
}
