//! What a `with` line changes for the rows below it: limits, Origins, subprotocols. It never changes what is
//! right or wrong by the RFC.

use tidegate_proto::deflate::{self, Deflate, DeflateConfig, Negotiated};
use tidegate_proto::handshake::parse_offers;
use tidegate_proto::{Config, EndpointConfig, Limits, OriginPolicy, Timeouts};

/// Settings of a row, as they stand in the table and in the query of a live server's URL.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Settings(Vec<(String, String)>);

/// Settings that a connection's [`Config`] is made of.
const LIMITS: [&str; 5] = [
    "message",
    "fragments",
    "control_burst",
    "control_rate",
    "deflate",
];
/// Settings of the handshake.
const OTHERS: [&str; 3] = ["origins", "protocols", "offer"];

impl Settings {
    /// Reads `key=value` words.
    ///
    /// # Errors
    /// The word that is none, or whose key nobody knows.
    pub fn parse(words: &str) -> Result<Settings, String> {
        Settings::collect(words.split_whitespace())
    }

    /// Reads what [`Settings::query`] has written.
    ///
    /// # Errors
    /// As [`Settings::parse`].
    pub fn from_query(query: &str) -> Result<Settings, String> {
        Settings::collect(query.split('&').filter(|pair| !pair.is_empty()))
    }

    fn collect<'a>(pairs: impl Iterator<Item = &'a str>) -> Result<Settings, String> {
        let known = |key: &&str| LIMITS.contains(key) || OTHERS.contains(key);
        let pair = |text: &str| {
            let (key, value) = text
                .split_once('=')
                .ok_or(format!("{text:?} is no setting"))?;
            known(&key)
                .then_some(())
                .ok_or(format!("no setting is called {key:?}"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        pairs.map(pair).collect::<Result<_, String>>().map(Settings)
    }

    /// The settings as a query, without `?`.
    pub fn query(&self) -> String {
        let pairs = self.0.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    }

    /// Any server keeps to rows without settings.
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }

    fn value(&self, key: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(name, _)| name == key)?;
        Some(&pair.1)
    }

    fn number(&self, key: &str, default: usize) -> usize {
        match self.value(key) {
            Some(text) => text.parse().expect("settings of limits are numbers"),
            None => default,
        }
    }

    /// Limits and timeouts of a connection.
    pub fn config(&self) -> Config {
        let standard = Limits::default();
        Config {
            limits: Limits {
                max_message_size: self.number("message", standard.max_message_size),
                max_fragments: self.number("fragments", 1_024) as u32,
                control_burst: self.number("control_burst", 1_000) as u16,
                control_per_second: self.number("control_rate", 200) as u16,
                // An echo of the longest message, and of a few more in the same read.
                outbox: 4 << 20,
                ..standard
            },
            deflate: self.deflate(),
            timeouts: Timeouts::default(),
        }
    }

    /// `deflate=shared`, `deflate=dedicated`, `deflate=10` (dedicated with so many bits); off without.
    fn deflate(&self) -> DeflateConfig {
        let dedicated = |bits| Deflate::Dedicated { bits, mem_level: 5 };
        let mode = match self.value("deflate") {
            None => Deflate::Off,
            Some("shared") => Deflate::Shared,
            Some("dedicated") => dedicated(15),
            Some(bits) => dedicated(bits.parse().expect("a mode or a number of bits")),
        };
        DeflateConfig {
            threshold: 32,
            ..mode.into()
        }
    }

    /// What holds between a client that offers [`Settings::offer`] and a server with these settings.
    pub fn negotiated(&self) -> Option<Negotiated> {
        let offers =
            parse_offers(self.offer()?.as_bytes()).expect("the table offers by the grammar");
        let accepted = deflate::accept(&offers, &self.deflate(), None)?;
        Some(accepted.negotiated)
    }

    /// What a worker with these settings lets in: `origins=any`, or a comma list; same-origin without.
    pub fn endpoint(&self) -> EndpointConfig {
        let origins = match self.value("origins") {
            None => OriginPolicy::SameOrigin,
            Some("any") => OriginPolicy::Any,
            Some(list) => {
                let origin = |text: &str| text.parse().expect("the table lists good origins");
                OriginPolicy::Listed(list.split(',').map(origin).collect())
            }
        };
        EndpointConfig {
            origins,
            ..EndpointConfig::default()
        }
    }

    /// Subprotocols that a server takes and a client offers.
    pub fn protocols(&self) -> Vec<&str> {
        let list = self.value("protocols").unwrap_or("chat,superchat");
        list.split(',').filter(|name| !name.is_empty()).collect()
    }

    /// Extensions that a client offers: `offer=…`, and where `deflate` is on what fits it.
    pub fn offer(&self) -> Option<&str> {
        let fitting = self.value("deflate").map(|_| "permessage-deflate");
        self.value("offer").or(fitting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_query() {
        let settings = Settings::parse("message=1000 protocols=a,b").unwrap();
        assert_eq!(
            Settings::from_query(&settings.query()),
            Ok(settings.clone())
        );
        assert_eq!(settings.config().limits.max_message_size, 1_000);
        assert_eq!(settings.protocols(), ["a", "b"]);
        assert!(Settings::parse("mesage=1").is_err() && Settings::parse("message").is_err());
    }
}
