//! Alternating rounds: every contender runs a short batch in each round, so that a disturbance hits all alike.
//! It never averages: minima, medians and medians of paired ratios only.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// One way to do the group's work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Does the operation at least so often; returns how often it did.
    pub(crate) run: Box<dyn FnMut(u64) -> u64>,
}

impl Contender {
    pub(crate) fn new(name: &'static str, run: impl FnMut(u64) -> u64 + 'static) -> Contender {
        Contender {
            name,
            run: Box::new(run),
        }
    }
}

/// What was measured of one group; the first contender is ours.
pub(crate) struct Rounds {
    names: Vec<&'static str>,
    /// Nanoseconds an operation, by contender, then by round.
    samples: Vec<Vec<f64>>,
}

impl Rounds {
    pub(crate) fn run(contenders: &mut [Contender], rounds: usize) -> Rounds {
        let batches: Vec<u64> = contenders.iter_mut().map(calibrate).collect();
        let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
        for round in 0..rounds {
            // The order turns, so that nobody always follows the same neighbour.
            for step in 0..contenders.len() {
                let at = (round + step) % contenders.len();
                samples[at].push(batch(&mut contenders[at], batches[at]));
            }
        }
        Rounds {
            names: contenders.iter().map(|c| c.name).collect(),
            samples,
        }
    }

    /// Nanoseconds an operation in the best round.
    fn least(&self, at: usize) -> f64 {
        self.samples[at]
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
    }

    fn median(&self, at: usize) -> f64 {
        median(self.samples[at].clone())
    }

    /// How many times as long as ours it took: the median over the rounds.
    fn ratio(&self, at: usize) -> f64 {
        let pairs = self.samples[at].iter().zip(&self.samples[0]);
        median(pairs.map(|(other, ours)| other / ours).collect())
    }

    pub(crate) fn table(&self, group: &str, bytes: usize) -> String {
        let mut text = format!("{group}\n");
        for (at, name) in self.names.iter().enumerate() {
            let least = self.least(at);
            let _ = writeln!(
                text,
                "  {name:<28} {least:>11.1} ns min {:>11.1} ns median {:>7.2} GB/s  x{:.2} min, x{:.2} paired",
                self.median(at),
                bytes as f64 / least,
                least / self.least(0),
                self.ratio(at),
            );
        }
        text
    }

    pub(crate) fn json(&self, group: &str, bytes: usize) -> Value {
        let contenders: Vec<Value> = (0..self.names.len())
            .map(|at| {
                json!({
                    "name": self.names[at],
                    "ns_min": round(self.least(at)),
                    "ns_median": round(self.median(at)),
                    "times_ours_of_minima": round(self.least(at) / self.least(0)),
                    "times_ours_paired_median": round(self.ratio(at)),
                })
            })
            .collect();
        json!({ "group": group, "bytes": bytes, "contenders": contenders })
    }
}

/// How many operations last about as long as a batch should.
fn calibrate(contender: &mut Contender) -> u64 {
    let mut ops = 1;
    loop {
        let took = (0..3).map(|_| {
            let start = Instant::now();
            let done = (contender.run)(ops);
            start.elapsed().div_f64(done as f64 / ops as f64)
        });
        let took = took.min().expect("three tries");
        if took >= BATCH / 2 {
            return (ops as f64 * BATCH.as_secs_f64() / took.as_secs_f64()).ceil() as u64;
        }
        ops *= 2;
    }
}

fn batch(contender: &mut Contender, ops: u64) -> f64 {
    let start = Instant::now();
    let done = (contender.run)(ops);
    start.elapsed().as_nanos() as f64 / done as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Short enough that many batches run without being preempted.
const BATCH: Duration = Duration::from_micros(100);
