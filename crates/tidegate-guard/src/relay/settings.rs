//! What a relay is told: the policy and the upstream, and what follows from both for each route, worked out
//! once. All workers share it; another one may take its place while they run.

use crate::policy::{Compression, Policy, Route};
use crate::upstream::Upstream;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{Config, Deflate, DeflateConfig, Limits, Timeouts};

/// Settings of a [`super::Relay`].
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// What may pass.
    pub policy: Arc<Policy>,
    /// The server behind us.
    pub upstream: Upstream,
    /// From a client's request to the upstream's verified 101. Default: 5 s.
    pub patience: Duration,
    ready: Vec<Ready>,
}

/// A route and the limits of its two ends.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) route: Arc<Route>,
    pub(super) client: Arc<Config>,
    pub(super) server: Arc<Config>,
}

impl RelaySettings {
    /// Puts a policy in front of an upstream.
    pub fn new(policy: Arc<Policy>, upstream: Upstream) -> RelaySettings {
        let ready = policy.routes().iter().map(Ready::new).collect();
        RelaySettings {
            policy,
            upstream,
            patience: Duration::from_secs(5),
            ready,
        }
    }

    pub(super) fn ready(&self, route: &Arc<Route>) -> Ready {
        let same = |ready: &&Ready| Arc::ptr_eq(&ready.route, route);
        let found = self.ready.iter().find(same);
        found.cloned().unwrap_or_else(|| Ready::new(route))
    }
}

impl Ready {
    fn new(route: &Arc<Route>) -> Ready {
        let limits = roomy(route.limits.protocol.clone());
        let timeouts = Timeouts {
            message: Some(route.limits.message_deadline),
            ..route.limits.timeouts.clone()
        };
        let mode = match route.compression {
            Compression::Declined => Deflate::Off,
            // Each message by itself: no secret of one helps to guess the next.
            Compression::On => Deflate::Shared,
        };
        let deflate = DeflateConfig {
            max_ratio: route.max_ratio.get(),
            ..DeflateConfig::from(mode)
        };
        let config = Arc::new(Config {
            limits,
            timeouts,
            deflate,
        });
        Ready {
            route: Arc::clone(route),
            client: Arc::clone(&config),
            server: config,
        }
    }
}

/// A peer whose outbox is high stops the other one after the message that made it so: that one must still fit.
fn roomy(limits: Limits) -> Limits {
    let needed = limits.outbox_high + limits.max_message_size + (64 << 10);
    Limits {
        outbox: limits.outbox.max(needed),
        ..limits
    }
}
