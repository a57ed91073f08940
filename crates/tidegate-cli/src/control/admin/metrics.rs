//! `/metrics` for Prometheus, made anew for each scrape. Labels are few and known beforehand: never a channel,
//! a user or an address.

use super::monitor::Snapshot;
use crate::counts::{Count, Counts, WorkerCounts};
use crate::guard::evidence::Evidence;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The text of a scrape, in OpenMetrics.
pub(super) fn write(
    snapshot: Arc<Snapshot>,
    counts: Arc<Counts>,
    guard: Option<Arc<Evidence>>,
) -> String {
    let all = Scrape { snapshot, counts };
    scrape(move |out| {
        all.write(out)?;
        guard.as_ref().map_or(Ok(()), |guard| guard.write(out))
    })
}

/// The text that `write` writes, in OpenMetrics.
pub(crate) fn scrape(
    write: impl Fn(&mut Out<'_, '_>) -> fmt::Result + Send + Sync + 'static,
) -> String {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Collected(write)));
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// What `Content-Type` says of it.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Scrape {
    snapshot: Arc<Snapshot>,
    counts: Arc<Counts>,
}

/// What writes the families of a scrape.
struct Collected<F>(F);

impl<F> fmt::Debug for Collected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

/// The labels of a number.
pub(crate) type Labels = Vec<(&'static str, String)>;
/// The numbers of a family.
pub(crate) type Rows = Vec<(Labels, u64)>;

impl<F> Collector for Collected<F>
where
    F: Fn(&mut Out<'_, '_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Out(&mut encoder))
    }
}

impl Scrape {
    fn write(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        self.connections(out)?;
        self.hub(out)?;
        self.process(out)
    }

    fn sum(&self, pick: impl Fn(&WorkerCounts) -> &Count) -> u64 {
        self.counts.sum(pick)
    }

    fn connections(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let route = |name: &str| vec![("route", name.to_owned())];
        let opened = [
            self.sum(|w| &w.opened.hub),
            self.sum(|w| &w.opened.echo),
            self.sum(|w| &w.opened.wire),
        ];
        let closed = [
            self.sum(|w| &w.closed.hub),
            self.sum(|w| &w.closed.echo),
            self.sum(|w| &w.closed.wire),
        ];
        let by_route = |values: [u64; 3]| -> Rows {
            let names = ["hub", "echo", "wire"];
            names
                .iter()
                .zip(values)
                .map(|(name, n)| (route(name), n))
                .collect()
        };
        let now = std::array::from_fn(|n| opened[n].saturating_sub(closed[n]));
        out.gauges("connections", "WebSockets open now", by_route(now))?;
        out.counters(
            "connections_opened",
            "WebSockets accepted",
            by_route(opened),
        )?;
        let cause = |name: &str| vec![("cause", name.to_owned())];
        out.counters(
            "connections_closed",
            "WebSockets ended",
            vec![
                (cause("normal"), self.sum(|w| &w.ends.normal)),
                (cause("lost"), self.sum(|w| &w.ends.lost)),
                (cause("slow"), self.sum(|w| &w.ends.slow)),
                (cause("silent"), self.sum(|w| &w.ends.silent)),
                (cause("limit"), self.sum(|w| &w.ends.limit)),
                (cause("protocol"), self.sum(|w| &w.ends.protocol)),
                (cause("drain"), self.sum(|w| &w.ends.drain)),
                (cause("other"), self.sum(|w| &w.ends.other)),
            ],
        )?;
        out.counters(
            "handshakes_refused",
            "Requests for a WebSocket that were refused",
            vec![
                (cause("address"), self.sum(|w| &w.refused_address)),
                (cause("origin"), self.sum(|w| &w.refused_origin)),
                (cause("crowded"), self.sum(|w| &w.refused_crowded)),
                (cause("other"), self.sum(|w| &w.refused_other)),
            ],
        )?;
        let messages = [
            self.sum(|w| &w.messages.hub),
            self.sum(|w| &w.messages.echo),
            self.sum(|w| &w.messages.wire),
        ];
        out.counters(
            "messages_received",
            "Messages from clients",
            by_route(messages),
        )?;
        let bytes = [
            self.sum(|w| &w.bytes.hub),
            self.sum(|w| &w.bytes.echo),
            self.sum(|w| &w.bytes.wire),
        ];
        out.counters(
            "received_payload_bytes",
            "Payloads of these messages",
            by_route(bytes),
        )
    }

    fn hub(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let total = self.snapshot.hub.total();
        let gauges = [
            ("hub_clients", "Clients that have connected", total.clients),
            (
                "hub_subscriptions",
                "Subscriptions of clients",
                total.subscriptions,
            ),
            (
                "hub_conflated_subscriptions",
                "Of these, conflated",
                total.conflated,
            ),
            (
                "hub_channels",
                "Channels with subscribers",
                total.home_channels,
            ),
            ("hub_streams", "Channels with a position", total.streams),
            (
                "hub_history_bytes",
                "Bytes of history kept",
                total.history_bytes,
            ),
            (
                "hub_commands_in_flight",
                "Commands that wait for another worker",
                total.in_flight,
            ),
            (
                "hub_spooled",
                "Mail that waits for room in a mailbox",
                total.spooled,
            ),
        ];
        for (name, help, value) in gauges {
            out.gauges(name, help, vec![(vec![], value)])?;
        }
        let counters = [
            ("hub_connects", "Clients that connected", total.connects),
            ("hub_publications", "Publications taken", total.publications),
            (
                "hub_deliveries",
                "Publications queued for one client each",
                total.deliveries,
            ),
            (
                "hub_skipped",
                "Publications that conflated subscribers were told they did not get",
                total.skipped,
            ),
            (
                "hub_moved_down",
                "Subscriptions of slow clients moved down to conflated",
                total.moved_down,
            ),
            (
                "hub_untold",
                "Joins and leaves that nobody was told, because too many wanted to know",
                total.untold,
            ),
        ];
        for (name, help, value) in counters {
            out.counters(name, help, vec![(vec![], value)])?;
        }
        let result = |name: &str| vec![("recovered", name.to_owned())];
        out.counters(
            "hub_recoveries",
            "Subscribers that came back",
            vec![
                (result("yes"), total.recovered),
                (result("no"), total.unrecovered),
            ],
        )?;
        let named = |map: &BTreeMap<&'static str, u64>| -> Rows {
            map.iter()
                .map(|(name, n)| (vec![("command", (*name).to_owned())], *n))
                .collect()
        };
        out.counters(
            "hub_commands",
            "Commands of clients",
            named(&total.commands),
        )?;
        out.counters("hub_errors", "Error replies", coded(&total.errors))?;
        out.counters(
            "hub_disconnects",
            "Connections that the hub closed",
            coded(&total.disconnects),
        )?;
        out.counters(
            "hub_unsubscribes",
            "Subscriptions that the hub ended",
            coded(&total.unsubscribes),
        )?;
        let worker = |n: u16| vec![("worker", n.to_string())];
        let clients = self.snapshot.hub.workers.iter();
        out.gauges(
            "worker_clients",
            "Clients of each worker",
            clients
                .map(|one| (worker(one.worker), one.clients))
                .collect(),
        )?;
        let turns = &self.snapshot.turns;
        let metric = out.0.encode_descriptor(
            "worker_turn",
            "From a question to all workers to the last answer: how late a worker's loop is",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let mut metric = metric;
        metric.encode_histogram::<Labels>(turns.sum, turns.count, &turns.buckets(), None)
    }

    fn process(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let process = &self.snapshot.process;
        out.gauges(
            "up",
            "1 while it serves, 0 while it drains",
            vec![(vec![], u64::from(!process.draining))],
        )?;
        out.gauges(
            "resident_memory_bytes",
            "Memory",
            vec![(vec![], process.memory)],
        )?;
        out.gauges(
            "open_files",
            "Open files",
            vec![(vec![], process.open_files)],
        )?;
        let cpu = ConstCounter::new(process.cpu.as_secs_f64());
        let metric = out.0.encode_descriptor(
            "cpu",
            "Processor time of all threads",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?;
        cpu.encode(metric)?;
        let began = ConstGauge::new(process.began.as_secs_f64());
        let metric = out.0.encode_descriptor(
            "start_time",
            "When it began, since the Unix epoch",
            Some(&Unit::Seconds),
            began.metric_type(),
        )?;
        began.encode(metric)?;
        out.counters(
            "reloads",
            "Reloads of the configuration",
            vec![
                (vec![("result", "taken".into())], process.reloads.0),
                (vec![("result", "refused".into())], process.reloads.1),
            ],
        )?;
        let mut metric = out
            .0
            .encode_descriptor("build", "The version", None, MetricType::Info)?;
        metric.encode_info(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())])
    }
}

fn coded(map: &BTreeMap<u16, u64>) -> Rows {
    map.iter()
        .map(|(code, n)| (vec![("code", code.to_string())], *n))
        .collect()
}

/// Writes families of numbers.
pub(crate) struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Out<'_, '_> {
    /// A family of what goes up and down.
    pub(crate) fn gauges(&mut self, name: &str, help: &str, rows: Rows) -> fmt::Result {
        let gauge = |n: u64| ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX));
        self.family(name, help, MetricType::Gauge, rows, gauge)
    }

    /// A family of sums since the start.
    pub(crate) fn counters(&mut self, name: &str, help: &str, rows: Rows) -> fmt::Result {
        self.family(name, help, MetricType::Counter, rows, ConstCounter::new)
    }

    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: Rows,
        make: impl Fn(u64) -> M,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        if let [(labels, value)] = rows.as_slice() {
            if labels.is_empty() {
                return make(*value).encode(family);
            }
        }
        for (labels, value) in rows {
            make(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_hub::{HubStats, WorkerStats};

    fn scrape() -> String {
        let counts = Counts::new(2);
        counts.worker(0).opened.hub.add(5);
        counts.worker(1).opened.hub.add(4);
        counts.worker(1).closed.hub.add(2);
        counts.worker(1).ends.of(Some(3008)).add(2);
        counts.worker(0).refused_crowded.add(7);
        let worker = WorkerStats {
            worker: 1,
            clients: 7,
            publications: 11,
            errors: BTreeMap::from([(103, 3)]),
            commands: BTreeMap::from([("publish", 12)]),
            ..WorkerStats::default()
        };
        let mut snapshot = Snapshot {
            hub: HubStats {
                workers: vec![worker],
            },
            ..Snapshot::default()
        };
        snapshot.turns.add(0.000_2);
        snapshot.turns.add(0.03);
        write(Arc::new(snapshot), Arc::new(counts), None)
    }

    #[test]
    fn numbers_stand_under_their_names() {
        let text = scrape();
        for line in [
            "tidegate_connections{route=\"hub\"} 7",
            "tidegate_connections_opened_total{route=\"hub\"} 9",
            "tidegate_connections_closed_total{cause=\"slow\"} 2",
            "tidegate_handshakes_refused_total{cause=\"crowded\"} 7",
            "tidegate_hub_clients 7",
            "tidegate_hub_publications_total 11",
            "tidegate_hub_errors_total{code=\"103\"} 3",
            "tidegate_hub_commands_total{command=\"publish\"} 12",
            "tidegate_worker_clients{worker=\"1\"} 7",
            "tidegate_worker_turn_seconds_count 2",
            "tidegate_worker_turn_seconds_bucket{le=\"0.01\"} 1",
            "tidegate_worker_turn_seconds_bucket{le=\"+Inf\"} 2",
            "tidegate_up 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no {line} in\n{text}"
            );
        }
        assert!(text.contains(concat!(
            "tidegate_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        )));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_family_has_a_help_and_no_label_grows_without_bound() {
        let text = scrape();
        let allowed = [
            "route",
            "cause",
            "code",
            "command",
            "worker",
            "recovered",
            "result",
            "le",
            "version",
        ];
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let labels = line
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'));
            for label in labels
                .map_or("", |(labels, _)| labels)
                .split(',')
                .filter(|l| !l.is_empty())
            {
                let name = label.split('=').next().unwrap_or("");
                assert!(allowed.contains(&name), "{line}");
            }
        }
        let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
        assert_eq!(count("# TYPE"), count("# HELP"));
    }
}
