//! What a run showed: one JSON document with stable names, or a table for people. docs/guide/bench.md says what each
//! field means; a field that is not known is left out, never made up.

use super::measure::Latencies;
use super::plan::Plan;
use crate::error::Failure;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::Write as _;

/// The document.
#[derive(Serialize)]
pub(crate) struct Report {
    schema: u8,
    tidegate: &'static str,
    mode: &'static str,
    url: String,
    /// How it ended: `done`, or what went wrong.
    outcome: String,
    exit: u8,
    tls: bool,
    connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deflate: Option<&'static str>,
    warmup_seconds: f64,
    seconds: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshakes: Option<u64>,
    /// Everything wrong: connections lost, contents that differ, doubled messages.
    pub(crate) errors: u64,
    /// What was due and never came.
    pub(crate) lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_received: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    server_pids: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_ns_per_unit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_open: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_held: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_per_connection: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_cpu_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_cpu_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) other_cpu_ns: Option<u64>,
    #[serde(skip)]
    pub(crate) histogram: Option<Histogram<u64>>,
    #[serde(skip)]
    measured: bool,
}

/// Microseconds.
#[derive(Serialize)]
pub(crate) struct Latency {
    min: f64,
    mean: f64,
    pub(crate) p50: f64,
    p90: f64,
    pub(crate) p99: f64,
    p999: f64,
    max: f64,
    count: u64,
}

impl Latency {
    /// Of latencies in nanoseconds; `None` when there are none.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Latency {
            min: micros(histogram.min()),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
            count: histogram.len(),
        })
    }
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Message,
    Delivery,
    Handshake,
    Connection,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Message => "message",
            Unit::Delivery => "delivery",
            Unit::Handshake => "handshake",
            Unit::Connection => "connection",
        }
    }
}

impl Report {
    /// What is known before anything ran.
    pub(crate) fn new(plan: &Plan, unit: Unit) -> Report {
        let sends = unit != Unit::Handshake;
        Report {
            schema: 1,
            tidegate: env!("CARGO_PKG_VERSION"),
            mode: plan.mode,
            url: plan.url.clone(),
            outcome: "done".into(),
            exit: 0,
            tls: plan.target.secure.is_some(),
            connections: plan.connections,
            size: sends.then_some(plan.size),
            depth: sends.then_some(plan.depth),
            kind: sends.then_some(if plan.binary { "binary" } else { "text" }),
            rate: plan.rate,
            dialect: plan.dialect.map(|dialect| dialect.as_str()),
            deflate: plan.deflate.map(|how| how.as_str()),
            warmup_seconds: plan.warmup as f64 / 1e9,
            seconds: 0.0,
            unit: unit.name(),
            messages: (unit == Unit::Message).then_some(0),
            deliveries: (unit == Unit::Delivery).then_some(0),
            handshakes: (unit == Unit::Handshake).then_some(0),
            errors: 0,
            lost: 0,
            per_second: None,
            published: None,
            delivered: None,
            late: None,
            latency_us: None,
            bytes_sent: None,
            bytes_received: None,
            server_pids: plan.pids.clone(),
            server_cpu_ns: None,
            server_cpu_ns_per_unit: None,
            server_cpu_share: None,
            rss_before: None,
            rss_open: None,
            rss_held: None,
            rss_per_connection: None,
            open_seconds: None,
            load_cpu_ns: None,
            load_cpu_share: None,
            other_cpu_ns: None,
            histogram: None,
            measured: false,
        }
    }

    /// The window was so long and showed so many units.
    pub(crate) fn window(&mut self, nanos: u64, units: u64) {
        self.measured = true;
        self.seconds = nanos as f64 / 1e9;
        for counter in [
            &mut self.messages,
            &mut self.deliveries,
            &mut self.handshakes,
        ] {
            *counter = counter.map(|_| units);
        }
        if self.unit != Unit::Connection.name() {
            self.per_second = Some(units as f64 / self.seconds);
        }
    }

    /// Units in the window; connections where nothing else is counted.
    fn units(&self) -> u64 {
        let counted = self.messages.or(self.deliveries).or(self.handshakes);
        counted.unwrap_or(self.connections as u64)
    }

    /// What the server used in the window.
    pub(crate) fn server_cpu(&mut self, nanos: Option<u64>) {
        self.server_cpu_ns = nanos;
        let nanos = nanos.map(|nanos| nanos as f64);
        self.server_cpu_ns_per_unit = nanos
            .map(|n| n / self.units() as f64)
            .filter(|n| n.is_finite());
        self.server_cpu_share = nanos.map(|n| n / 1e9 / self.seconds);
    }

    /// The latencies of the window.
    pub(crate) fn latencies(&mut self, latencies: &mut Latencies) {
        let histogram = latencies.histogram();
        self.latency_us = Latency::of(histogram);
        self.histogram = Some(histogram.clone());
    }

    /// How it ended. Returns what the process ends with: a run that lost something has failed.
    pub(crate) fn conclude(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        self.load_cpu_share = self
            .load_cpu_ns
            .filter(|_| self.seconds > 0.0)
            .map(|nanos| nanos as f64 / 1e9 / self.seconds);
        let result = result.and_then(|()| match (self.errors, self.lost) {
            (0, 0) => Ok(()),
            (0, lost) => Err(Failure::failed(format!("{lost} never came"))),
            (errors, _) => Err(super::driver::protocol(format!(
                "{errors} errors: connections lost, or contents that are not what was sent"
            ))),
        });
        if let Err(failure) = &result {
            self.outcome = failure.line.clone();
            self.exit = failure.exit as u8;
        }
        result
    }

    /// Something was measured, so there is something to show.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured
    }

    /// One document.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is JSON")
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.rows() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:>18}  {value}");
        }
        text
    }

    /// Names and values, for people.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![(self.mode, self.url.clone()), ("load", self.load())];
        let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
        row("window", Some(format!("{:.2} s", self.seconds)));
        row(
            "throughput",
            self.per_second.map(|rate| {
                let units = match self.unit {
                    "delivery" => "deliveries",
                    "handshake" => "handshakes",
                    _ => "messages",
                };
                format!(
                    "{} {units} a second ({} in all)",
                    grouped(rate),
                    grouped(self.units() as f64)
                )
            }),
        );
        row(
            "opened",
            self.open_seconds.map(|s| {
                format!(
                    "{} connections a second",
                    grouped(self.connections as f64 / s)
                )
            }),
        );
        row(
            "latency",
            self.latency_us.as_ref().map(|l| {
                format!(
                    "p50 {} · p90 {} · p99 {} · p99.9 {} · max {}",
                    span(l.p50),
                    span(l.p90),
                    span(l.p99),
                    span(l.p999),
                    span(l.max)
                )
            }),
        );
        row(
            "on the wire",
            self.bytes_sent
                .zip(self.bytes_received)
                .map(|(sent, received)| {
                    format!("{} MiB sent, {} MiB received", mebi(sent), mebi(received))
                }),
        );
        row(
            "server CPU",
            self.server_cpu_ns.map(|_| {
                let each = self
                    .server_cpu_ns_per_unit
                    .map_or("-".into(), |n| span(n / 1e3));
                let share = self.server_cpu_share.unwrap_or(0.0) * 100.0;
                format!("{each} a {} ({share:.0} % of a core)", self.unit)
            }),
        );
        row(
            "server memory",
            self.rss_per_connection.map(|each| {
                format!(
                    "{} bytes a connection ({} KiB before, {} KiB with all open)",
                    grouped(each),
                    grouped(self.rss_before.unwrap_or(0) as f64 / 1024.0),
                    grouped(self.rss_held.unwrap_or(0) as f64 / 1024.0)
                )
            }),
        );
        row(
            "load CPU",
            self.load_cpu_share
                .map(|share| format!("{:.0} % of a core", share * 100.0)),
        );
        row(
            "others' CPU",
            self.other_cpu_ns
                .map(|nanos| format!("{:.0} % of a core", nanos as f64 / 1e7 / self.seconds)),
        );
        row(
            "late",
            self.late.filter(|late| *late > 0).map(|late| {
                format!(
                    "{} times no connection was free at its time",
                    grouped(late as f64)
                )
            }),
        );
        row("lost", (self.lost > 0).then(|| grouped(self.lost as f64)));
        row(
            "errors",
            (self.errors > 0).then(|| grouped(self.errors as f64)),
        );
        row("ended", (self.exit != 0).then(|| self.outcome.clone()));
        rows
    }

    fn load(&self) -> String {
        let mut text = format!("{} connections", grouped(self.connections as f64));
        if let (Some(size), Some(kind)) = (self.size, self.kind) {
            let _ = write!(text, ", {} bytes {kind}", grouped(size as f64));
        }
        if let Some(depth) = self
            .depth
            .filter(|_| self.mode != "idle" && self.mode != "flood")
        {
            let _ = write!(text, ", {depth} under way");
        }
        if let Some(rate) = self.rate {
            let _ = write!(text, ", {} a second", grouped(rate));
        }
        let words = [
            self.dialect,
            self.deflate.map(|_| "deflate"),
            self.tls.then_some("TLS"),
        ];
        for word in words.into_iter().flatten() {
            let _ = write!(text, ", {word}");
        }
        text
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    if number < -0.5 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds, in the unit that reads best.
pub(crate) fn span(micros: f64) -> String {
    match micros {
        m if m < 1.0 => format!("{:.0} ns", m * 1e3),
        m if m < 100.0 => format!("{m:.1} µs"),
        m if m < 1e3 => format!("{m:.0} µs"),
        m if m < 1e6 => format!("{:.2} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

fn mebi(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let rows = [
            (0.0, "0"),
            (999.4, "999"),
            (1_000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-12_345.0, "-12,345"),
        ];
        for (number, text) in rows {
            assert_eq!(grouped(number), text);
        }
        let rows = [
            (0.5, "500 ns"),
            (12.34, "12.3 µs"),
            (345.6, "346 µs"),
            (1_500.0, "1.50 ms"),
            (2e6, "2.00 s"),
        ];
        for (micros, text) in rows {
            assert_eq!(span(micros), text);
        }
    }
}
