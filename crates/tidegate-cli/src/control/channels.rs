//! What a channel remembers, over plain HTTP: for old and one-time data, where a WebSocket is the wrong
//! tool. The same locks as at the WebSocket's door; it never publishes.

use super::answer::{self, Answer};
use super::query::{HistoryQuery, Wanted};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde_json::json;
use std::time::Duration;
use tidegate_hub::{Access, ClientError, Hub, HubError, Page, Publication, Slice, TopicName};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The hub, seen from HTTP.
pub(crate) struct Channels {
    hub: Hub,
}

impl Channels {
    /// What this hub remembers.
    pub(crate) fn new(hub: Hub) -> Channels {
        Channels { hub }
    }

    /// The hub itself.
    pub(super) fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// Answers a GET for a channel.
    pub(super) async fn answer(
        &self,
        name: &str,
        wanted: Wanted,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Answer {
        let topic = match TopicName::parse(name) {
            Ok(topic) => topic,
            Err(error) => return answer::line(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        if let Err(error) = self.hub.config().allow(&topic, Access::History) {
            return refused(HubError::Refused(error));
        }
        match wanted {
            Wanted::Latest => self.latest(name, headers).await,
            Wanted::History => match HistoryQuery::parse(query) {
                Ok(query) => self.history(name, query).await,
                Err(line) => answer::line(StatusCode::BAD_REQUEST, line),
            },
        }
    }

    async fn latest(&self, name: &str, headers: &HeaderMap) -> Answer {
        let page = Page {
            since: None,
            limit: Some(1),
            reverse: true,
        };
        let slice = match self.ask(name, None, page).await {
            Ok(slice) => slice,
            Err(error) => return refused(error),
        };
        match slice.publications.first() {
            Some(newest) => {
                let epoch = slice.position.epoch;
                let etag = format!("\"{epoch}-{}\"", newest.offset());
                answer::with_etag(
                    answer::json(latest_json(name, &slice, newest)),
                    &etag,
                    headers,
                )
            }
            None => answer::line(StatusCode::NOT_FOUND, "nothing is kept in this channel"),
        }
    }

    async fn history(&self, name: &str, query: HistoryQuery) -> Answer {
        let page = Page {
            since: query.since,
            limit: Some(query.limit),
            reverse: false,
        };
        match self.ask(name, query.epoch.as_deref(), page).await {
            Ok(slice) => answer::json(history_json(name, &slice)),
            Err(error) => refused(error),
        }
    }

    async fn ask(&self, name: &str, epoch: Option<&str>, page: Page) -> Result<Slice, HubError> {
        let (reply, answer) = oneshot::channel();
        self.hub.history(name, epoch, page, move |result| {
            // Nobody may wait any more.
            let _ = reply.send(result);
        });
        match timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            _ => Err(HubError::Busy),
        }
    }
}

/// Names are quoted by serde; data and publications are JSON already and are put in as they are.
fn latest_json(name: &str, slice: &Slice, newest: &Publication) -> String {
    format!(
        r#"{{"channel":{},"offset":{},"epoch":"{}","time":{},"data":{}}}"#,
        json!(name),
        newest.offset(),
        slice.position.epoch,
        newest.at().unix_millis(),
        newest.data(),
    )
}

fn history_json(name: &str, slice: &Slice) -> String {
    let publications: Vec<String> = slice
        .publications
        .iter()
        .map(Publication::dated_json)
        .collect();
    format!(
        r#"{{"channel":{},"offset":{},"epoch":"{}","publications":[{}]}}"#,
        json!(name),
        slice.position.offset,
        slice.position.epoch,
        publications.join(","),
    )
}

/// The hub's refusal in the words of HTTP.
fn refused(error: HubError) -> Answer {
    let (status, line) = match error {
        HubError::Refused(ClientError::UNKNOWN_CHANNEL) => (404, "unknown channel"),
        HubError::Refused(ClientError::NOT_AVAILABLE) => (404, "this channel keeps no history"),
        HubError::Refused(ClientError::PERMISSION_DENIED) => (403, "permission denied"),
        HubError::Refused(ClientError::UNRECOVERABLE_POSITION) => (
            409,
            "this epoch is over, its offsets mean nothing now; ask again without since",
        ),
        HubError::Refused(ClientError {
            temporary: true, ..
        })
        | HubError::Busy => (503, "the hub is busy; try again later"),
        HubError::Refused(error) => (500, error.message),
        HubError::BadName | HubError::TooBig => (400, "bad request"),
    };
    answer::line(StatusCode::from_u16(status).unwrap_or_default(), line)
}

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_http_status() {
        let rows = [
            (HubError::Refused(ClientError::UNKNOWN_CHANNEL), 404),
            (HubError::Refused(ClientError::NOT_AVAILABLE), 404),
            (HubError::Refused(ClientError::PERMISSION_DENIED), 403),
            (HubError::Refused(ClientError::UNRECOVERABLE_POSITION), 409),
            (HubError::Refused(ClientError::TOO_MANY_REQUESTS), 503),
            (HubError::Refused(ClientError::LIMIT_EXCEEDED), 500),
            (HubError::Busy, 503),
            (HubError::BadName, 400),
        ];
        for (error, status) in rows {
            assert_eq!(refused(error).status(), status, "{error:?}");
        }
    }
}
