//! The path and query of the channel routes, decoded; knows nothing of channels themselves.

/// What of a channel is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// `/channels/{name}/latest`.
    Latest,
    /// `/channels/{name}/history`.
    History,
}

/// Takes `/channels/{name}/latest` or `/history` apart. The name is one segment, so a `/` in it comes as
/// `%2F`. `None` when it is no such path; the name is `None` when it does not decode to text.
pub(super) fn channel_route(path: &str) -> Option<(Option<String>, Wanted)> {
    let (name, what) = path.strip_prefix("/channels/")?.split_once('/')?;
    let wanted = match what {
        "latest" => Wanted::Latest,
        "history" => Wanted::History,
        _ => return None,
    };
    Some((percent_decode(name, false), wanted))
}

/// What part of a history is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HistoryQuery {
    /// Only what is newer than this offset.
    pub(super) since: Option<u64>,
    /// The epoch that offset belongs to.
    pub(super) epoch: Option<String>,
    /// At most so many, from the oldest on.
    pub(super) limit: usize,
}

impl HistoryQuery {
    /// Reads `since`, `epoch` and `limit`; other names are passed over.
    ///
    /// # Errors
    /// A line for the client.
    pub(super) fn parse(query: Option<&str>) -> Result<HistoryQuery, &'static str> {
        let mut asked = HistoryQuery {
            since: None,
            epoch: None,
            limit: DEFAULT_LIMIT,
        };
        for pair in query.unwrap_or("").split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value =
                percent_decode(value, true).ok_or("the query is not UTF-8 in percent-encoding")?;
            match name {
                "since" => asked.since = Some(value.parse().map_err(|_| BAD_SINCE)?),
                "epoch" => asked.epoch = Some(value),
                "limit" => asked.limit = limit(&value).ok_or(BAD_LIMIT)?,
                _ => {}
            }
        }
        match (&asked.since, &asked.epoch) {
            (None, Some(_)) => Err("epoch says which offsets are meant; it needs since"),
            _ => Ok(asked),
        }
    }
}

fn limit(text: &str) -> Option<usize> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
}

/// `None` for a broken `%` or bytes that are not UTF-8. In queries a `+` is a space.
pub(super) fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high << 4 | low) as u8
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 300;
const BAD_SINCE: &str = "since must be an offset, a whole number";
const BAD_LIMIT: &str = "limit must be a number from 1 to 300";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_paths_are_taken_apart() {
        let rows = [
            (
                "/channels/market:BTC-USD/latest",
                Some((Some("market:BTC-USD"), Wanted::Latest)),
            ),
            (
                "/channels/market%3ABTC/history",
                Some((Some("market:BTC"), Wanted::History)),
            ),
            (
                "/channels/a%2Fb+c/latest",
                Some((Some("a/b+c"), Wanted::Latest)),
            ),
            ("/channels/%C3%A9/latest", Some((Some("é"), Wanted::Latest))),
            ("/channels/%ff/latest", Some((None, Wanted::Latest))),
            ("/channels/%4/latest", Some((None, Wanted::Latest))),
            ("/channels/%+1/latest", Some((None, Wanted::Latest))),
            ("/channels//latest", Some((Some(""), Wanted::Latest))),
            ("/channels/a/b/latest", None),
            ("/channels/a/latest/", None),
            ("/channels/a/presence", None),
            ("/channels/a", None),
            ("/channel/a/latest", None),
        ];
        for (path, expected) in rows {
            let expected = expected.map(|(name, wanted)| (name.map(String::from), wanted));
            assert_eq!(channel_route(path), expected, "{path}");
        }
    }

    #[test]
    fn history_queries_are_read_or_refused() {
        let asked = |since, epoch: Option<&str>, limit| {
            Ok(HistoryQuery {
                since,
                epoch: epoch.map(String::from),
                limit,
            })
        };
        let rows = [
            (None, asked(None, None, 100)),
            (Some(""), asked(None, None, 100)),
            (Some("limit=300"), asked(None, None, 300)),
            (
                Some("since=7&epoch=a%2Bb+c&limit=1"),
                asked(Some(7), Some("a+b c"), 1),
            ),
            (Some("since=7&other=x"), asked(Some(7), None, 100)),
            (Some("since="), Err(BAD_SINCE)),
            (Some("since=-1"), Err(BAD_SINCE)),
            (Some("limit=0"), Err(BAD_LIMIT)),
            (Some("limit=301"), Err(BAD_LIMIT)),
        ];
        for (query, expected) in rows {
            assert_eq!(HistoryQuery::parse(query), expected, "{query:?}");
        }
        assert!(HistoryQuery::parse(Some("epoch=x")).is_err());
        assert!(HistoryQuery::parse(Some("epoch=%zz&since=1")).is_err());
    }
}
