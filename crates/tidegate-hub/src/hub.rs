//! The handle by which the rest of the program publishes, asks and orders. It only writes mail to workers.

use crate::config::HubConfig;
use crate::history::{Page, Slice};
use crate::mail::{Control, Mail, Order, ShardMail};
use crate::presence::PresenceStats;
use crate::publication::{ClientInfo, Payload, Position, Publication, RawJson, Tags};
use crate::reply::{ClientError, Disconnect};
use crate::stats::{ChannelInfo, ClientSummary, HubStats, Revocation};
use crate::topic::TopicName;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tidegate_proto::{MailboxFull, Time, WorkerId};

/// Longest data that the control plane may publish, in bytes: what a client may.
pub const MAX_DATA: usize = 64 << 10;

/// Publishes, asks and orders from outside the workers; a clone is the same hub.
///
/// It is trusted: what clients may do is not checked here. An HTTP route that serves strangers asks
/// [`HubConfig::allow`] first.
///
/// Each `reply` is called once, on a worker's thread: it must not block; send the result on. If a
/// worker's mailbox is full, or the hub has ended, it is called with [`HubError::Busy`].
///
/// What is about a channel goes to the channel's home. What is about a user goes to all workers, for each
/// may have connections of that user; when one of them is busy the others have done it nevertheless, and
/// it may be asked for again.
#[derive(Clone)]
pub struct Hub {
    config: Arc<RwLock<Arc<HubConfig>>>,
    workers: usize,
    post: Arc<Poster>,
}

type Poster = dyn Fn(WorkerId, ShardMail) -> Result<(), MailboxFull> + Send + Sync;

/// What is published.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The data, at most [`MAX_DATA`] bytes. Anything but JSON is only for namespaces with
    /// [`crate::Namespace::binary`].
    pub data: Payload,
    /// Read by subscribers beside the data. The tag `key` says which value it is; see
    /// [`crate::Delivery`].
    pub tags: Tags,
    /// Deliver it, but do not keep it; it then has no offset.
    pub skip_history: bool,
    /// A second publication with the same key in the same channel, within
    /// [`crate::HubLimits::idempotency_ttl`], is not published; it is answered as the first was.
    pub idempotency_key: Option<String>,
}

impl From<RawJson> for Outgoing {
    fn from(data: RawJson) -> Outgoing {
        Payload::Json(data).into()
    }
}

impl From<Payload> for Outgoing {
    fn from(data: Payload) -> Outgoing {
        Outgoing {
            data,
            tags: Tags::new(),
            skip_history: false,
            idempotency_key: None,
        }
    }
}

/// Which connections are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Of this user; empty means the anonymous ones, and then `client` must be given.
    pub user: String,
    /// Only the connection with this client id.
    pub client: Option<String>,
    /// But not the connections with these client ids.
    pub except: Vec<String>,
}

impl Target {
    /// All connections of a user.
    pub fn user(user: &str) -> Target {
        Target {
            user: user.to_owned(),
            ..Target::default()
        }
    }

    /// Whether this connection is meant.
    pub(crate) fn means(&self, info: &ClientInfo) -> bool {
        let name = || info.client();
        let one = self.client.as_ref().is_none_or(|wanted| *wanted == name());
        let named = self.client.is_some() || !self.user.is_empty();
        named
            && **info.user() == *self.user
            && one
            && (self.except.is_empty() || !self.except.contains(&name()))
    }
}

/// How the server subscribes a client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerSubscribe {
    /// What others see of the client in this channel.
    pub info: Option<RawJson>,
    /// For the client: the `data` of the subscribe push.
    pub data: Option<RawJson>,
    /// When the subscription ends, unless it is renewed; `None` for never.
    pub expire_at: Option<Time>,
    /// Send what was published since this offset in this epoch.
    pub recover_since: Option<(u64, String)>,
}

/// What becomes of a connection whose token is refreshed by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It is closed with 3005; the client comes back with a new token.
    Expired,
    /// It expires then.
    Until(Time),
    /// It never expires.
    Forever,
}

/// A request to the hub failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HubError {
    /// The name of the channel is none; see [`TopicName::parse`].
    BadName,
    /// The data are longer than [`MAX_DATA`].
    TooBig,
    /// A worker's mailbox is full, or the hub has ended. Try again later.
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
            config: Arc::new(RwLock::new(config)),
            workers,
            post: Arc::new(post),
        }
    }

    /// What this hub was told at its start, or last.
    pub fn config(&self) -> Arc<HubConfig> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Publishes in a channel; the reply comes when its home has taken the publication, and tells its
    /// position (zero where the channel keeps no history).
    pub fn publish(
        &self,
        channel: &str,
        publication: impl Into<Outgoing>,
        reply: impl FnOnce(Result<Position, HubError>) + Send + 'static,
    ) {
        let publication = publication.into();
        let reply = Callback::new(reply);
        if publication.data.as_bytes().len() > MAX_DATA {
            return reply.fail(HubError::TooBig);
        }
        self.send(channel, reply, |topic, reply| Control::Publish {
            topic,
            publication,
            reply,
        });
    }

    /// Publishes the same in several channels; the reply has one result for each, in the order given.
    pub fn broadcast(
        &self,
        channels: &[String],
        publication: impl Into<Outgoing>,
        reply: impl FnOnce(Vec<Result<Position, HubError>>) + Send + 'static,
    ) {
        let publication = publication.into();
        let none = channels.iter().map(|_| Err(HubError::Busy)).collect();
        let all = Gather::new(channels.len(), none, move |results: Result<_, _>| {
            reply(results.unwrap_or_default());
        });
        for (n, channel) in channels.iter().enumerate() {
            let all = Arc::clone(&all);
            self.publish(channel, publication.clone(), move |result| {
                all.add(Ok(()), |results: &mut Vec<_>, ()| results[n] = result);
            });
        }
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

    /// Drops the publications that a channel keeps. Its position stays: who comes back from before it is
    /// told truly that something is gone.
    pub fn history_remove(
        &self,
        channel: &str,
        reply: impl FnOnce(Result<(), HubError>) + Send + 'static,
    ) {
        self.send(channel, Callback::new(reply), |topic, reply| {
            Control::HistoryRemove { topic, reply }
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

    /// The channels that have subscribers now and whose names fit `pattern`, by name, at most `limit` of
    /// them for each worker. In a pattern `*` stands for any characters; `None` fits all.
    pub fn channels(
        &self,
        pattern: Option<&str>,
        limit: usize,
        reply: impl FnOnce(Result<Vec<ChannelInfo>, HubError>) + Send + 'static,
    ) {
        let pattern: Option<Arc<str>> = pattern.map(Into::into);
        let reply = move |all: Result<Vec<ChannelInfo>, HubError>| {
            reply(all.map(|mut all| {
                all.sort_by(|a, b| a.channel.cmp(&b.channel));
                all
            }));
        };
        self.ask_all(Vec::new(), reply, Vec::extend, |reply| Control::Channels {
            pattern: pattern.clone(),
            limit,
            reply,
        });
    }

    /// Subscribes connections of a user to a channel, from the server's side. The reply counts them.
    pub fn subscribe(
        &self,
        target: Target,
        channel: &str,
        options: ServerSubscribe,
        reply: impl FnOnce(Result<usize, HubError>) + Send + 'static,
    ) {
        self.order(
            target,
            reply,
            |topic| Order::Subscribe { topic, options },
            channel,
        );
    }

    /// Ends subscriptions of a user's connections to a channel, whoever began them. With a code from 2500
    /// on clients subscribe again; the usual one is 2000.
    pub fn unsubscribe(
        &self,
        target: Target,
        channel: &str,
        code: u16,
        reply: impl FnOnce(Result<usize, HubError>) + Send + 'static,
    ) {
        self.order(
            target,
            reply,
            |topic| Order::Unsubscribe { topic, code },
            channel,
        );
    }

    /// Closes connections of a user. The reply counts them.
    pub fn disconnect(
        &self,
        target: Target,
        why: Disconnect,
        reply: impl FnOnce(Result<usize, HubError>) + Send + 'static,
    ) {
        self.order_all(target, reply, Order::Disconnect(why));
    }

    /// Says when connections of a user expire. The reply counts them.
    pub fn refresh(
        &self,
        target: Target,
        refreshed: Refreshed,
        reply: impl FnOnce(Result<usize, HubError>) + Send + 'static,
    ) {
        self.order_all(target, reply, Order::Refresh(refreshed));
    }

    /// From now on tokens that fit are refused (3500), and connections made with them are closed with
    /// 3500. The reply counts those.
    pub fn revoke(
        &self,
        revocation: Revocation,
        reply: impl FnOnce(Result<usize, HubError>) + Send + 'static,
    ) {
        let revocation = Arc::new(revocation);
        let add = |sum: &mut usize, more: usize| *sum += more;
        self.ask_all(0, reply, add, |reply| Control::Revoke {
            revocation: Arc::clone(&revocation),
            reply,
        });
    }

    /// Connections, at most `limit` of each worker: those of a user, or all; those that lag, or all.
    pub fn clients(
        &self,
        user: Option<&str>,
        only_slow: bool,
        limit: usize,
        reply: impl FnOnce(Result<Vec<ClientSummary>, HubError>) + Send + 'static,
    ) {
        let user: Option<Arc<str>> = user.map(Into::into);
        self.ask_all(Vec::new(), reply, Vec::extend, |reply| Control::Clients {
            user: user.clone(),
            only_slow,
            limit,
            reply,
        });
    }

    /// What every worker holds and has done since its start.
    pub fn stats(&self, reply: impl FnOnce(Result<HubStats, HubError>) + Send + 'static) {
        let add = |all: &mut HubStats, one| {
            all.workers.push(one);
            all.workers.sort_by_key(|worker| worker.worker);
        };
        self.ask_all(HubStats::default(), reply, add, |reply| Control::Stats {
            reply,
        });
    }

    /// Puts another configuration in force, on all workers or (if one is busy) on some; ask again then.
    /// Sessions and histories stay. Rights are checked by the new one from the next command on; waits
    /// count from their next start.
    pub fn reconfigure(
        &self,
        config: Arc<HubConfig>,
        reply: impl FnOnce(Result<(), HubError>) + Send + 'static,
    ) {
        let mut held = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::clone(&config);
        drop(held);
        self.ask_all(
            (),
            reply,
            |(), ()| (),
            |reply| Control::Reconfigure {
                config: Arc::clone(&config),
                reply,
            },
        );
    }

    fn order(
        &self,
        target: Target,
        reply: impl FnOnce(Result<usize, HubError>) + Send + 'static,
        order: impl FnOnce(TopicName) -> Order,
        channel: &str,
    ) {
        match TopicName::parse(channel) {
            Err(_) => reply(Err(HubError::BadName)),
            Ok(topic) => self.order_all(target, reply, order(topic)),
        }
    }

    fn order_all(
        &self,
        target: Target,
        reply: impl FnOnce(Result<usize, HubError>) + Send + 'static,
        order: Order,
    ) {
        let (target, order) = (Arc::new(target), Arc::new(order));
        let add = |sum: &mut usize, more: usize| *sum += more;
        self.ask_all(0, reply, add, |reply| Control::Order {
            target: Arc::clone(&target),
            order: Arc::clone(&order),
            reply,
        });
    }

    /// Sends mail to a channel's home.
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

    /// Sends mail to all workers; their answers are put together.
    fn ask_all<T: Send + 'static, U: Send + 'static>(
        &self,
        start: T,
        reply: impl FnOnce(Result<T, HubError>) + Send + 'static,
        add: fn(&mut T, U),
        make: impl Fn(Callback<U>) -> Control,
    ) {
        let all = Gather::new(self.workers, start, reply);
        for worker in 0..self.workers {
            let all = Arc::clone(&all);
            let part = Callback::new(move |part| all.add(part, add));
            let worker = WorkerId(u16::try_from(worker).unwrap_or(u16::MAX));
            let _ = (self.post)(worker, ShardMail(Mail::Control(make(part))));
        }
    }
}

/// Answers of several workers, until the last has come. The lock is held for a few instructions, by
/// workers that answer the control plane; no frame waits for it.
struct Gather<T>(Mutex<Gathered<T>>);

struct Gathered<T> {
    missing: usize,
    sum: Result<T, HubError>,
    reply: Option<Reply<T>>,
}

impl<T: Send + 'static> Gather<T> {
    fn new(
        parts: usize,
        start: T,
        reply: impl FnOnce(Result<T, HubError>) + Send + 'static,
    ) -> Arc<Gather<T>> {
        let reply: Reply<T> = Box::new(reply);
        if parts == 0 {
            reply(Ok(start));
            return Arc::new(Gather(Mutex::new(Gathered {
                missing: 0,
                sum: Err(HubError::Busy),
                reply: None,
            })));
        }
        Arc::new(Gather(Mutex::new(Gathered {
            missing: parts,
            sum: Ok(start),
            reply: Some(reply),
        })))
    }

    fn add<U>(&self, part: Result<U, HubError>, add: impl FnOnce(&mut T, U)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut all.sum, part) {
            (Ok(sum), Ok(part)) => add(sum, part),
            (Ok(_), Err(error)) => all.sum = Err(error),
            (Err(_), _) => {}
        }
        all.missing = all.missing.saturating_sub(1);
        if all.missing > 0 {
            return;
        }
        let sum = std::mem::replace(&mut all.sum, Err(HubError::Busy));
        let reply = all.reply.take();
        drop(all);
        if let Some(reply) = reply {
            reply(sum);
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
        let ordered = send.clone();
        full.disconnect(Target::user("ann"), Disconnect::FORCED, move |result| {
            ordered.send(result.map(|_| ())).unwrap();
        });
        let listed = send.clone();
        full.stats(move |result| listed.send(result.map(|_| ())).unwrap());
        let names = ["a".to_owned(), String::new()];
        full.broadcast(&names, one(), move |results| {
            for result in results {
                send.send(result.map(|_| ())).unwrap();
            }
        });
        let got: Vec<_> = answers.iter().collect();
        use HubError::*;
        let wanted = [Busy, BadName, TooBig, Busy, Busy, Busy, Busy, BadName];
        assert_eq!(got, wanted.map(Err));
    }

    #[test]
    fn a_target_means_the_connections_of_its_user() {
        let info = |id, user: &str| ClientInfo::new(id, user, None);
        let (ann, bob, nobody) = (info(1, "ann"), info(2, "bob"), info(3, ""));
        let all = Target::user("ann");
        assert!(all.means(&ann) && !all.means(&bob) && !all.means(&nobody));
        assert!(
            !Target::default().means(&nobody),
            "never all anonymous ones"
        );
        let one = Target {
            client: Some(nobody.client()),
            ..Target::default()
        };
        assert!(one.means(&nobody) && !one.means(&ann));
        let except = Target {
            except: vec![ann.client()],
            ..Target::user("ann")
        };
        assert!(!except.means(&ann) && except.means(&info(4, "ann")));
    }
}
