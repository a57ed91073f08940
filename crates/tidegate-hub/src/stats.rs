//! What the hub tells about itself: sizes, counts, channels, clients; and what it is told to distrust. It
//! holds no payload and no token.

use crate::token::Stamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tidegate_proto::Time;

/// What every worker holds and has done since its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HubStats {
    /// By number of the worker.
    pub workers: Vec<WorkerStats>,
}

impl HubStats {
    /// All workers together.
    pub fn total(&self) -> WorkerStats {
        let mut sum = WorkerStats::default();
        for worker in &self.workers {
            sum.add(worker);
        }
        sum
    }
}

macro_rules! worker_stats {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// What one worker holds now, and how often something has happened on it since its start.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct WorkerStats {
            /// Its number.
            pub worker: u16,
            $($(#[$doc])* pub $name: u64,)*
            /// Commands, by their name in the protocol.
            pub commands: BTreeMap<&'static str, u64>,
            /// Error replies, by code.
            pub errors: BTreeMap<u16, u64>,
            /// Connections that the hub closed, by close code.
            pub disconnects: BTreeMap<u16, u64>,
            /// Subscriptions that the hub ended, by code.
            pub unsubscribes: BTreeMap<u16, u64>,
        }

        impl WorkerStats {
            fn add(&mut self, other: &WorkerStats) {
                $(self.$name += other.$name;)*
                let add = |sum: &mut BTreeMap<u16, u64>, more: &BTreeMap<u16, u64>| {
                    for (code, count) in more {
                        *sum.entry(*code).or_default() += count;
                    }
                };
                for (name, count) in &other.commands {
                    *self.commands.entry(name).or_default() += count;
                }
                add(&mut self.errors, &other.errors);
                add(&mut self.disconnects, &other.disconnects);
                add(&mut self.unsubscribes, &other.unsubscribes);
            }
        }
    };
}

worker_stats! {
    /// Now: clients that have shaken hands.
    clients;
    /// Now: different users with a name among them.
    users;
    /// Now: subscriptions of its clients.
    subscriptions;
    /// Now: subscriptions of its clients that are conflated.
    conflated;
    /// Now: channels with members among its clients.
    local_channels;
    /// Now: channels with members anywhere, whose home it is.
    home_channels;
    /// Now: channels with a position, whose home it is.
    streams;
    /// Now: bytes of history.
    history_bytes;
    /// Now: commands of its clients that wait for another worker.
    in_flight;
    /// Now: mail that waits for room in other workers' mailboxes.
    spooled;
    /// Since the start: clients that connected.
    connects;
    /// Since the start: publications taken as home.
    publications;
    /// Since the start: publications queued for one client each.
    deliveries;
    /// Since the start: publications that a conflated subscriber was told it did not get.
    skipped;
    /// Since the start: subscriptions of slow clients that were moved down to conflated.
    moved_down;
    /// Since the start: joins and leaves that nobody was told, because more than
    /// [`crate::Namespace::join_leave_limit`] wanted to know.
    untold;
    /// Since the start: recoveries in which everything missed was sent.
    recovered;
    /// Since the start: recoveries in which something was gone.
    unrecovered;
}

/// A channel that has subscribers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelInfo {
    /// Its name.
    pub channel: String,
    /// How many clients are subscribed.
    pub clients: usize,
}

/// One connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSummary {
    /// Its client id.
    pub client: String,
    /// Its user; empty for an anonymous one.
    pub user: String,
    /// Where its session lives.
    pub worker: u16,
    /// When it connected.
    pub since: Time,
    /// `json` or `protobuf`.
    pub form: &'static str,
    /// Its channels, with the delivery mode of each: `full`, `conflate` or `latest`.
    pub channels: Vec<(String, &'static str)>,
    /// Bytes that wait to be written to it.
    pub queued: usize,
    /// For how long its outbox has been above the high mark; `None` if it is not.
    pub slow_for: Option<Duration>,
}

/// Tokens that are not believed any more. All that is given must fit; at least one of the first three
/// must be given, or nothing fits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Revocation {
    /// Tokens of this user (`sub`).
    pub user: Option<String>,
    /// The token with this id (`jti`).
    pub token: Option<String>,
    /// Tokens issued (`iat`) before then, and those that do not say when.
    pub issued_before: Option<Time>,
    /// Until when this is remembered: when the last such token has expired by itself. `None`: for ever.
    pub until: Option<Time>,
}

impl Revocation {
    /// Whether a token of this user with this stamp is meant.
    pub(crate) fn fits(&self, user: &str, stamp: &Stamp) -> bool {
        let given = self.user.is_some() || self.token.is_some() || self.issued_before.is_some();
        let of_user = self.user.as_deref().is_none_or(|wanted| wanted == user);
        let this = self
            .token
            .as_deref()
            .is_none_or(|wanted| stamp.id.as_deref() == Some(wanted));
        let old = self
            .issued_before
            .is_none_or(|end| stamp.issued.is_none_or(|at| at < end));
        given && of_user && this && old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up() {
        let one = WorkerStats {
            worker: 1,
            clients: 3,
            errors: BTreeMap::from([(103, 1)]),
            ..WorkerStats::default()
        };
        let two = WorkerStats {
            clients: 4,
            errors: BTreeMap::from([(103, 2), (111, 1)]),
            ..WorkerStats::default()
        };
        let total = HubStats {
            workers: vec![one, two],
        }
        .total();
        assert_eq!(total.clients, 7);
        assert_eq!(total.errors, BTreeMap::from([(103, 3), (111, 1)]));
    }

    #[test]
    fn a_revocation_fits_what_it_names_and_nothing_else() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let stamp = |id: &str, issued| Stamp {
            id: Some(id.into()),
            issued: Some(at(issued)),
        };
        let none = Revocation::default();
        assert!(!none.fits("ann", &Stamp::default()));
        let ann = Revocation {
            user: Some("ann".into()),
            ..none.clone()
        };
        assert!(ann.fits("ann", &stamp("1", 5)) && !ann.fits("bob", &stamp("1", 5)));
        let one = Revocation {
            token: Some("1".into()),
            ..none.clone()
        };
        assert!(one.fits("bob", &stamp("1", 5)));
        assert!(!one.fits("bob", &stamp("2", 5)) && !one.fits("bob", &Stamp::default()));
        let old = Revocation {
            user: Some("ann".into()),
            issued_before: Some(at(5)),
            ..none
        };
        assert!(old.fits("ann", &stamp("1", 4)) && old.fits("ann", &Stamp::default()));
        assert!(!old.fits("ann", &stamp("1", 5)));
    }
}
