//! The handle by which the rest of the program publishes and asks. It only writes mail to home workers.

use crate::config::HubConfig;
use crate::history::{Page, Slice};
use crate::mail::{Control, Mail, ShardMail};
use crate::presence::PresenceStats;
use crate::publication::{ClientInfo, Position, Publication, RawJson};
use crate::reply::ClientError;
use crate::topic::TopicName;
use std::fmt;
use std::sync::Arc;
use tidegate_proto::{MailboxFull, WorkerId};

/// Longest data that the control plane may publish, in bytes: what a client may.
pub const MAX_DATA: usize = 64 << 10;

/// Publishes and asks from outside the workers; a clone is the same hub.
///
/// It is trusted: what clients may do is not checked here. An HTTP route that serves strangers asks
/// [`HubConfig::allow`] first.
///
/// Each `reply` is called once, on the home worker's thread: it must not block; send the result on. If the
/// worker's mailbox is full, or the hub has ended, it is called with [`HubError::Busy`].
#[derive(Clone)]
pub struct Hub {
    config: Arc<HubConfig>,
    workers: usize,
    post: Arc<Poster>,
}

type Poster = dyn Fn(WorkerId, ShardMail) -> Result<(), MailboxFull> + Send + Sync;

/// Why the hub did not do what the control plane asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HubError {
    /// The name of the channel is none; see [`TopicName::parse`].
    BadName,
    /// The data are longer than [`MAX_DATA`].
    TooBig,
    /// The home worker's mailbox is full, or the hub has ended. Try again later.
    Busy,
    /// As a client would be told.
    Refused(ClientError),
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubError::BadName => crate::topic::BadName.fmt(f),
            HubError::TooBig => write!(f, "the data are longer than {MAX_DATA} bytes"),
            HubError::Busy => f.write_str("the hub is busy; try again later"),
            HubError::Refused(error) => f.write_str(error.message),
        }
    }
}

impl std::error::Error for HubError {}

/// A reply that is owed: dropped unused, it says [`HubError::Busy`], so that nobody waits in vain.
pub(crate) struct Callback<T>(Option<Reply<T>>);

type Reply<T> = Box<dyn FnOnce(Result<T, HubError>) + Send>;

impl<T> Callback<T> {
    fn new(reply: impl FnOnce(Result<T, HubError>) + Send + 'static) -> Callback<T> {
        Callback(Some(Box::new(reply)))
    }

    pub(crate) fn call(mut self, result: Result<T, ClientError>) {
        if let Some(reply) = self.0.take() {
            reply(result.map_err(HubError::Refused));
        }
    }

    fn fail(mut self, error: HubError) {
        if let Some(reply) = self.0.take() {
            reply(Err(error));
        }
    }
}

impl<T> Drop for Callback<T> {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(Err(HubError::Busy));
        }
    }
}

impl Hub {
    /// A handle on the shards that `post` reaches: `workers` of them, made with the same `config`.
    pub fn new(
        config: Arc<HubConfig>,
        workers: usize,
        post: impl Fn(WorkerId, ShardMail) -> Result<(), MailboxFull> + Send + Sync + 'static,
    ) -> Hub {
        Hub {
            config,
            workers,
            post: Arc::new(post),
        }
    }

    /// What this hub was told at its start.
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Publishes in a channel; the reply comes when its home has taken the publication, and tells its
    /// position (zero where the channel keeps no history).
    pub fn publish(
        &self,
        channel: &str,
        data: RawJson,
        reply: impl FnOnce(Result<Position, HubError>) + Send + 'static,
    ) {
        let reply = Callback::new(reply);
        if data.as_str().len() > MAX_DATA {
            return reply.fail(HubError::TooBig);
        }
        self.send(channel, reply, |topic, reply| Control::Publish {
            topic,
            data,
            reply,
        });
    }

    /// A part of a channel's history. An `epoch` other than the channel's is refused with error 112.
    pub fn history(
        &self,
        channel: &str,
        epoch: Option<&str>,
        page: Page,
        reply: impl FnOnce(Result<Slice, HubError>) + Send + 'static,
    ) {
        let epoch = epoch.map(Box::from);
        self.send(channel, Callback::new(reply), |topic, reply| {
            Control::History {
                topic,
                epoch,
                page,
                reply,
            }
        });
    }

    /// The newest publication of a channel, if one is kept.
    pub fn latest(
        &self,
        channel: &str,
        reply: impl FnOnce(Result<Option<Publication>, HubError>) + Send + 'static,
    ) {
        let page = Page {
            since: None,
            limit: Some(1),
            reverse: true,
        };
        self.history(channel, None, page, |slice| {
            reply(slice.map(|mut slice| slice.publications.pop()));
        });
    }

    /// Who is in a channel.
    pub fn presence(
        &self,
        channel: &str,
        reply: impl FnOnce(Result<Vec<Arc<ClientInfo>>, HubError>) + Send + 'static,
    ) {
        self.send(channel, Callback::new(reply), |topic, reply| {
            Control::Presence { topic, reply }
        });
    }

    /// How many are in a channel.
    pub fn presence_stats(
        &self,
        channel: &str,
        reply: impl FnOnce(Result<PresenceStats, HubError>) + Send + 'static,
    ) {
        self.send(channel, Callback::new(reply), |topic, reply| {
            Control::PresenceStats { topic, reply }
        });
    }

    fn send<T>(
        &self,
        channel: &str,
        reply: Callback<T>,
        make: impl FnOnce(TopicName, Callback<T>) -> Control,
    ) {
        match TopicName::parse(channel) {
            Err(_) => reply.fail(HubError::BadName),
            Ok(topic) => {
                let home = topic.home(self.workers);
                // Mail that is not taken is dropped, and with it the callback, which then says "busy".
                let _ = (self.post)(home, ShardMail(Mail::Control(make(topic, reply))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn every_request_is_answered_even_if_it_is_not_taken() {
        let (send, answers) = mpsc::channel();
        let full = Hub::new(Arc::new(HubConfig::dev()), 4, |_, _| Err(MailboxFull));
        let one = || RawJson::parse("1").unwrap();
        let reply = |send: &mpsc::Sender<_>| {
            let send = send.clone();
            move |result: Result<Position, HubError>| send.send(result.map(|_| ())).unwrap()
        };
        full.publish("a", one(), reply(&send));
        full.publish("", one(), reply(&send));
        let long = RawJson::parse(&format!("\"{}\"", "x".repeat(MAX_DATA))).unwrap();
        full.publish("a", long, reply(&send));
        let latest = send.clone();
        full.latest("a", move |result| latest.send(result.map(|_| ())).unwrap());
        drop(send);
        let got: Vec<_> = answers.iter().collect();
        use HubError::*;
        assert_eq!(got, [Err(Busy), Err(BadName), Err(TooBig), Err(Busy)]);
    }
}
