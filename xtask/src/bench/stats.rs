//! Medians, ratios within a round, and how far the median may be off. Never a mean: one disturbed round would move it.

/// The middle value; with an even number of them, between the two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Ours over theirs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ratio {
    /// Median over the rounds.
    pub(crate) median: f64,
    /// What the median is below with 95 % confidence, by bootstrap.
    pub(crate) upper: f64,
    /// Rounds in which both ran undisturbed.
    pub(crate) rounds: usize,
}

impl Ratio {
    /// Of rounds in which both have a value.
    pub(crate) fn of(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Ratio> {
        let both = ours
            .iter()
            .zip(theirs)
            .filter_map(|(a, b)| Some(a.as_ref()? / b.as_ref()?));
        let ratios: Vec<f64> = both.filter(|ratio| ratio.is_finite()).collect();
        Some(Ratio {
            median: median(&ratios)?,
            upper: upper_bound(&ratios)?,
            rounds: ratios.len(),
        })
    }
}

/// The 95th percentile of the medians of resampled rounds.
fn upper_bound(ratios: &[f64]) -> Option<f64> {
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sample: Vec<f64> = ratios
                .iter()
                .map(|_| ratios[chance.below(ratios.len())])
                .collect();
            median(&sample)
        })
        .collect::<Option<_>>()?;
    medians.sort_by(f64::total_cmp);
    Some(medians[RESAMPLES * 95 / 100])
}

/// Always the same chance, so that a kept run gives the same numbers again (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

const RESAMPLES: usize = 4_000;

#[cfg(test)]
mod tests {
    use super::{Ratio, median};

    #[test]
    fn the_middle_is_found() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn only_rounds_with_both_count() {
        let ours = [Some(1.0), None, Some(3.0), Some(2.0)];
        let theirs = [Some(2.0), Some(2.0), None, Some(4.0)];
        let ratio = Ratio::of(&ours, &theirs).expect("two rounds have both");
        assert_eq!(
            ratio,
            Ratio {
                median: 0.5,
                upper: 0.5,
                rounds: 2
            }
        );
        assert_eq!(Ratio::of(&[None], &[Some(1.0)]), None);
    }

    #[test]
    fn the_bound_lies_above_the_median_and_within_the_rounds() {
        let ours: Vec<Option<f64>> = (0..11).map(|n| Some(1.0 + f64::from(n) / 100.0)).collect();
        let ratio = Ratio::of(&ours, &[Some(1.0); 11]).expect("eleven rounds");
        assert_eq!(ratio.median, 1.05);
        assert!(ratio.upper > 1.05 && ratio.upper < 1.10, "{ratio:?}");
    }
}
