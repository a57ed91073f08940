//! Looks at the hub once a second and remembers the last minutes, so that the admin page has a past to show
//! when it is opened. It changes nothing.

use crate::control::api::ask;
use crate::control::process::Process;
use crate::counts::Counts;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_hub::{Hub, HubStats};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What was seen last, and the minutes before.
pub(crate) struct Monitor {
    hub: Hub,
    counts: Arc<Counts>,
    process: Arc<Process>,
    state: Arc<ServerState>,
    seen: Mutex<Seen>,
}

/// What the process does beside serving.
#[derive(Default)]
pub(crate) struct ServerState {
    draining: AtomicBool,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl ServerState {
    /// From now on it drains.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it drains.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The configuration was read again; was it taken?
    pub(crate) fn reloaded(&self, taken: bool) {
        let count = if taken { &self.taken } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Seen {
    last: Arc<Snapshot>,
    samples: VecDeque<Sample>,
}

/// All that was seen at one moment.
#[derive(Clone, Default)]
pub(super) struct Snapshot {
    pub(super) hub: HubStats,
    pub(super) turns: Turns,
    pub(super) process: ProcessSnapshot,
}

/// The process at that moment.
#[derive(Clone, Default)]
pub(super) struct ProcessSnapshot {
    pub(super) memory: u64,
    pub(super) cpu: Duration,
    pub(super) open_files: u64,
    pub(super) began: Duration,
    pub(super) draining: bool,
    /// Taken and refused.
    pub(super) reloads: (u64, u64),
}

/// How long turns took: a histogram.
#[derive(Clone, Default)]
pub(super) struct Turns {
    pub(super) sum: f64,
    pub(super) count: u64,
    counts: [u64; BOUNDS.len() + 1],
}

impl Turns {
    /// One more, in seconds.
    pub(super) fn add(&mut self, seconds: f64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.sum += seconds;
        self.count += 1;
    }

    /// Upper bounds and counts, as Prometheus wants them.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts).collect()
    }
}

/// One second of the past.
#[derive(Clone, Copy)]
struct Sample {
    /// Unix milliseconds.
    at: u64,
    connections: u64,
    channels: u64,
    /// Sums since the start; the page takes differences.
    received: u64,
    publications: u64,
    deliveries: u64,
    skipped: u64,
    opened: u64,
    /// How long all workers took to answer, in microseconds; none when they did not.
    turn: Option<u64>,
    memory: u64,
    /// Milliseconds since the start.
    cpu: u64,
}

impl Sample {
    fn json(&self) -> Value {
        json!([
            self.at,
            self.connections,
            self.channels,
            self.received,
            self.publications,
            self.deliveries,
            self.skipped,
            self.opened,
            self.turn,
            self.memory,
            self.cpu
        ])
    }
}

impl Monitor {
    /// Nothing was seen yet.
    pub(crate) fn new(
        hub: Hub,
        counts: Arc<Counts>,
        process: Arc<Process>,
        state: Arc<ServerState>,
    ) -> Monitor {
        Monitor {
            hub,
            counts,
            process,
            state,
            seen: Mutex::default(),
        }
    }

    /// Looks once a second, until it is dropped.
    pub(crate) async fn run(&self) {
        let mut beat = interval(Duration::from_secs(1));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let asked = Instant::now();
        let answer = ask(|reply| self.hub.stats(reply)).await;
        let turn = answer.is_ok().then(|| asked.elapsed());
        let process = ProcessSnapshot {
            memory: self.process.memory(),
            cpu: self.process.cpu_time(),
            open_files: self.process.open_files(),
            began: self.process.began(),
            draining: self.state.is_draining(),
            reloads: (
                self.state.taken.load(Ordering::Relaxed),
                self.state.refused.load(Ordering::Relaxed),
            ),
        };
        let mut seen = self.seen();
        let mut snapshot = (*seen.last).clone();
        if let Ok(hub) = answer {
            snapshot.hub = hub;
        }
        if let Some(turn) = turn {
            crate::service::alive();
            snapshot.turns.add(turn.as_secs_f64());
        }
        snapshot.process = process;
        let sample = self.sample(&snapshot, turn);
        if seen.samples.len() == KEPT {
            seen.samples.pop_front();
        }
        seen.samples.push_back(sample);
        seen.last = Arc::new(snapshot);
    }

    fn sample(&self, snapshot: &Snapshot, turn: Option<Duration>) -> Sample {
        let total = snapshot.hub.total();
        let counts = &self.counts;
        let opened = counts.sum(|w| &w.opened.hub) + counts.sum(|w| &w.opened.echo);
        let closed = counts.sum(|w| &w.closed.hub) + counts.sum(|w| &w.closed.echo);
        Sample {
            at: unix_millis(),
            connections: opened.saturating_sub(closed),
            channels: total.home_channels,
            received: counts.sum(|w| &w.messages.hub) + counts.sum(|w| &w.messages.echo),
            publications: total.publications,
            deliveries: total.deliveries,
            skipped: total.skipped,
            opened,
            turn: turn.map(|turn| turn.as_micros() as u64),
            memory: snapshot.process.memory,
            cpu: snapshot.process.cpu.as_millis() as u64,
        }
    }

    /// Looks now. The sample is one more point of the plots; they take its time from it.
    pub(super) async fn fresh(&self) -> Arc<Snapshot> {
        self.look().await;
        Arc::clone(&self.seen().last)
    }

    /// The page's document: what is now, and the samples after `since`.
    pub(super) fn overview(&self, since: u64) -> Value {
        let seen = self.seen();
        let samples: Vec<Value> = seen
            .samples
            .iter()
            .filter(|sample| sample.at > since)
            .map(Sample::json)
            .collect();
        let total = seen.last.hub.total();
        let workers: Vec<Value> = seen
            .last
            .hub
            .workers
            .iter()
            .map(|worker| {
                json!({
                    "worker": worker.worker,
                    "clients": worker.clients,
                    "subscriptions": worker.subscriptions,
                    "channels": worker.home_channels,
                    "history_bytes": worker.history_bytes,
                    "in_flight": worker.in_flight,
                    "spooled": worker.spooled,
                })
            })
            .collect();
        let counts = &self.counts;
        json!({
            "schema": 1,
            "fields": FIELDS,
            "samples": samples,
            "now": {
                "version": env!("CARGO_PKG_VERSION"),
                "node": self.hub.config().node,
                "uptime": self.process.uptime().as_secs(),
                "draining": self.state.is_draining(),
                "clients": total.clients,
                "users": total.users,
                "subscriptions": total.subscriptions,
                "conflated": total.conflated,
                "channels": total.home_channels,
                "streams": total.streams,
                "history_bytes": total.history_bytes,
                "recovered": total.recovered,
                "unrecovered": total.unrecovered,
                "moved_down": total.moved_down,
                "errors": total.errors,
                "disconnects": total.disconnects,
                "refused": {
                    "address": counts.sum(|w| &w.refused_address),
                    "origin": counts.sum(|w| &w.refused_origin),
                    "crowded": counts.sum(|w| &w.refused_crowded),
                    "other": counts.sum(|w| &w.refused_other),
                },
                "ends": {
                    "normal": counts.sum(|w| &w.ends.normal),
                    "lost": counts.sum(|w| &w.ends.lost),
                    "slow": counts.sum(|w| &w.ends.slow),
                    "silent": counts.sum(|w| &w.ends.silent),
                    "limit": counts.sum(|w| &w.ends.limit),
                    "protocol": counts.sum(|w| &w.ends.protocol),
                    "drain": counts.sum(|w| &w.ends.drain),
                    "other": counts.sum(|w| &w.ends.other),
                },
            },
            "workers": workers,
        })
    }

    /// The counts of the workers.
    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// What the process does beside serving.
    pub(super) fn state(&self) -> &ServerState {
        &self.state
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The order of a sample's numbers.
const FIELDS: [&str; 11] = [
    "at",
    "connections",
    "channels",
    "received",
    "publications",
    "deliveries",
    "skipped",
    "opened",
    "turn",
    "memory",
    "cpu",
];

/// Ten minutes.
const KEPT: usize = 600;

/// Upper bounds of the turns' histogram, in seconds.
const BOUNDS: [f64; 10] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_fall_into_their_buckets() {
        let mut turns = Turns::default();
        for seconds in [0.000_1, 0.000_2, 0.9, 3.0] {
            turns.add(seconds);
        }
        let filled: Vec<(f64, u64)> = turns
            .buckets()
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .collect();
        assert_eq!(
            filled,
            [(0.000_1, 1), (0.000_25, 1), (1.0, 1), (f64::INFINITY, 1)]
        );
        assert_eq!(turns.count, 4);
    }

    #[test]
    fn a_sample_has_a_number_for_each_field() {
        let sample = Sample {
            at: 1,
            connections: 2,
            channels: 3,
            received: 4,
            publications: 5,
            deliveries: 6,
            skipped: 7,
            opened: 8,
            turn: None,
            memory: 10,
            cpu: 11,
        };
        assert_eq!(sample.json().as_array().map(Vec::len), Some(FIELDS.len()));
    }
}
