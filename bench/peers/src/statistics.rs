//! What is said of rounds taken on a machine that others use too: medians of ratios within a round, how sure they are,
//! and which rounds do not count. It measures nothing but the others.

use crate::Result;
use std::fs;

/// A third of a core: who used more beside us has spoilt the round.
pub(crate) const MOST_BY_OTHERS: f64 = 1.0 / 3.0;

/// The median; of an even number of values the upper one of the two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[values.len() / 2]
}

/// What the median of all rounds there could be lies below, with 95 % certainty: the order statistic that the
/// binomial distribution of "above or below the median" names. With fewer than five values nothing can be said, and
/// this is their greatest.
pub(crate) fn upper_bound(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    let n = values.len();
    // P(at most k of n values lie below the median) = sum of C(n, i) / 2^n.
    let (mut term, mut sum) = (0.5f64.powi(n as i32), 0.0);
    for (k, value) in values.iter().enumerate() {
        sum += term;
        if sum >= 0.95 {
            return *value;
        }
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    values[n - 1]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// CPU time of the whole system, to be compared with our own.
pub(crate) struct Others {
    all: f64,
    ours: f64,
    at: std::time::Instant,
}

impl Others {
    /// Begins to watch. `ours`: seconds of CPU time that belong to the measurement, so far.
    pub(crate) fn watch(ours: f64) -> Result<Others> {
        Ok(Others {
            all: whole_system()?,
            ours,
            at: std::time::Instant::now(),
        })
    }

    /// How many cores others have kept busy since.
    pub(crate) fn cores(&self, ours: f64) -> Result<f64> {
        let elapsed = self.at.elapsed().as_secs_f64();
        let all = whole_system()? - self.all;
        Ok(((all - (ours - self.ours)) / elapsed).max(0.0))
    }
}

/// Seconds that any CPU was busy: user, nice, system, interrupts, and what the hypervisor took.
fn whole_system() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("an empty /proc/stat")?;
    let ticks = line.split_whitespace().skip(1).map(str::parse::<u64>);
    let ticks = ticks.collect::<std::result::Result<Vec<_>, _>>()?;
    let [user, nice, system, _idle, _waiting, irq, softirq, steal, ..] = ticks[..] else {
        return Err("a /proc/stat without its columns".into());
    };
    Ok((user + nice + system + irq + softirq + steal) as f64 / TICKS_A_SECOND)
}

/// Of `/proc`, on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_order_statistic_that_the_binomial_table_names() {
        // n, the rank of the value that the median lies below with 95 %: from any table of the sign test.
        for (n, rank) in [(5, 5), (7, 7), (8, 7), (11, 9), (15, 12), (21, 15)] {
            let values = (1..=n).map(f64::from);
            assert_eq!(upper_bound(values), f64::from(rank), "of {n}");
        }
        assert_eq!(upper_bound([3.0, 1.0].into_iter()), 3.0);
    }

    #[test]
    fn the_median_does_not_care_about_order_or_outliers() {
        assert_eq!(median([9.0, 1.0, 2.0, 1_000.0, 3.0].into_iter()), 3.0);
    }
}
