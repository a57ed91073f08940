//! The demo's market: simulated prices that look alive. No price here has anything to do with a real one.

use crate::splitmix::SplitMix64;
use std::fmt::Write as _;

/// A market that walks at random from a seed; the same seed gives the same walk.
pub(crate) struct Market {
    random: SplitMix64,
    tickers: Vec<Ticker>,
    next: usize,
}

/// A new price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Where it is published: `market:` and the symbol.
    pub(crate) channel: String,
    /// `{"symbol":…,"price":…,"ts":…,"seq":…}`.
    pub(crate) json: String,
}

struct Ticker {
    symbol: &'static str,
    /// The price it is drawn back to.
    home: f64,
    /// Digits after the point.
    decimals: usize,
    /// Standard deviation of one step, as a part of the price.
    step: f64,
    /// The natural logarithm of price / home.
    distance: f64,
    seq: u64,
}

impl Market {
    /// Six symbols, all at their home price.
    pub(crate) fn new(seed: u64) -> Market {
        let tickers = SYMBOLS
            .iter()
            .map(|&(symbol, home, decimals, step)| Ticker {
                symbol,
                home,
                decimals,
                step,
                distance: 0.0,
                seq: 0,
            })
            .collect();
        Market {
            random: SplitMix64(seed),
            tickers,
            next: 0,
        }
    }

    /// How many symbols there are; as many ticks give each a new price.
    pub(crate) fn symbols(&self) -> usize {
        self.tickers.len()
    }

    /// The next symbol's new price, at `unix_millis`.
    pub(crate) fn tick(&mut self, unix_millis: u64) -> Tick {
        let chance = self.normal();
        let ticker = &mut self.tickers[self.next];
        self.next = (self.next + 1) % SYMBOLS.len();
        ticker.walk(chance);
        ticker.tick(unix_millis)
    }

    /// About normal, mean 0, deviation 1: twelve uniform numbers, less their mean.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// From 0 to below 1; good enough for a picture.
    fn uniform(&mut self) -> f64 {
        (self.random.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Ticker {
    /// A step, and a pull home: prices stay plausible however long the server runs.
    fn walk(&mut self, chance: f64) {
        self.distance += self.step * chance - self.distance * PULL;
        self.seq += 1;
    }

    fn tick(&self, unix_millis: u64) -> Tick {
        let price = self.home * self.distance.exp();
        let mut json = String::with_capacity(96);
        write!(
            json,
            r#"{{"symbol":"{}","price":{price:.*},"ts":{unix_millis},"seq":{}}}"#,
            self.symbol, self.decimals, self.seq
        )
        .expect("writing to a String cannot fail");
        Tick {
            channel: format!("market:{}", self.symbol),
            json,
        }
    }
}

/// Symbol, home price, decimals, step.
const SYMBOLS: [(&str, f64, usize, f64); 6] = [
    ("BTC-USD", 67_250.0, 2, 0.000_35),
    ("ETH-USD", 3_480.0, 2, 0.000_40),
    ("EUR-USD", 1.0842, 5, 0.000_06),
    ("GOLD", 2_392.4, 2, 0.000_12),
    ("OIL", 78.35, 2, 0.000_30),
    ("TIDE", 12.5, 3, 0.000_80),
];

/// How much of the way home each step takes back: half of it in 3,500 steps, some 12 minutes.
const PULL: f64 = 0.000_2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_market() {
        let walk = |seed| {
            let mut market = Market::new(seed);
            (0..600).map(|at| market.tick(at).json).collect::<Vec<_>>()
        };
        assert_eq!(walk(7), walk(7));
        assert_ne!(walk(7), walk(8));
    }

    #[test]
    fn every_symbol_has_its_turn_and_counts_up() {
        let mut market = Market::new(1);
        for round in 1..=3 {
            for (symbol, _, decimals, _) in SYMBOLS {
                let tick = market.tick(1_700_000_000_123);
                assert_eq!(tick.channel, format!("market:{symbol}"));
                let json: serde_json::Value = serde_json::from_str(&tick.json).expect("JSON");
                assert_eq!(json["symbol"], symbol);
                assert_eq!(json["seq"], round);
                assert_eq!(json["ts"], 1_700_000_000_123_u64);
                let price = tick
                    .json
                    .split("price\":")
                    .nth(1)
                    .and_then(|s| s.split(',').next());
                let digits = price
                    .and_then(|p| p.split_once('.'))
                    .map(|(_, digits)| digits.len());
                assert_eq!(digits, Some(decimals), "{}", tick.json);
            }
        }
    }

    #[test]
    fn prices_move_and_stay_plausible_for_a_day() {
        let mut market = Market::new(3);
        let rounds = 5 * 3_600 * 24;
        let (mut low, mut high) = ([f64::MAX; SYMBOLS.len()], [f64::MIN; SYMBOLS.len()]);
        for _ in 0..rounds {
            for i in 0..market.symbols() {
                market.tick(0);
                low[i] = low[i].min(market.tickers[i].distance);
                high[i] = high[i].max(market.tickers[i].distance);
            }
        }
        for i in 0..SYMBOLS.len() {
            assert!(
                low[i] > -0.5 && high[i] < 0.5,
                "{}: {} to {}",
                SYMBOLS[i].0,
                low[i],
                high[i]
            );
            assert!(high[i] - low[i] > 0.001, "{} hardly moves", SYMBOLS[i].0);
        }
    }
}
