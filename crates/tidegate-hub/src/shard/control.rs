//! What a shard does for the control plane: it publishes, tells, and carries out orders about clients.

use super::{Out, Shard};
use crate::home::How;
use crate::hub::{Outgoing, Refreshed, Target};
use crate::mail::{Control, Delivered, Order};
use crate::publication::{Draft, Position};
use crate::reply::{ClientError, Disconnect, Unsubscribed};
use crate::stats::{ClientSummary, Revocation, WorkerStats};
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::{PeerId, Time};

impl Shard {
    pub(super) fn control(&mut self, control: Control, out: Out<'_, '_>) {
        let (now, random) = (out.now(), out.random());
        match control {
            Control::Publish {
                topic,
                publication,
                reply,
            } => reply.call(self.control_publish(&topic, &publication, out)),
            Control::History {
                topic,
                epoch,
                page,
                reply,
            } => reply.call(
                self.home
                    .history(&topic, epoch.as_deref(), page, now, random),
            ),
            Control::HistoryRemove { topic, reply } => {
                reply.call(self.home.history_remove(&topic, now));
            }
            Control::Presence { topic, reply } => reply.call(self.home.presence(&topic)),
            Control::PresenceStats { topic, reply } => {
                reply.call(self.home.presence_stats(&topic));
            }
            Control::Channels {
                pattern,
                limit,
                reply,
            } => reply.call(Ok(self.home.channels(pattern.as_deref(), limit))),
            Control::Order {
                target,
                order,
                reply,
            } => reply.call(self.order(&target, &order, out)),
            Control::Revoke { revocation, reply } => reply.call(Ok(self.revoke(revocation, out))),
            Control::Clients {
                user,
                only_slow,
                limit,
                reply,
            } => reply.call(Ok(self.clients(user.as_deref(), only_slow, limit, out))),
            Control::Stats { reply } => reply.call(Ok(self.stats())),
            Control::Reconfigure { config, reply } => {
                self.home.reconfigure(&config);
                self.config = config;
                reply.call(Ok(()));
            }
        }
    }

    fn control_publish(
        &mut self,
        topic: &TopicName,
        publication: &Outgoing,
        out: Out<'_, '_>,
    ) -> Result<Position, ClientError> {
        let (now, random) = (out.now(), out.random());
        let draft = Draft {
            data: &publication.data,
            info: None,
            tags: &publication.tags,
        };
        let how = How {
            keep: !publication.skip_history,
            key: publication.idempotency_key.as_deref(),
        };
        let (publication, position) = self.home.publish(topic, draft, how, now, random)?;
        self.fan_out(topic, publication.map(Delivered::Publication), out);
        Ok(position)
    }

    /// The connections that are meant.
    fn meant(&mut self, target: &Target) -> Vec<PeerId> {
        let mut peers = Vec::new();
        let mut add = |session: &crate::session::Session| {
            if session.info.as_ref().is_some_and(|info| target.means(info)) {
                peers.push(session.peer);
            }
        };
        if target.user.is_empty() {
            self.sessions.iter().for_each(&mut add);
        } else {
            for slot in self.users.get(target.user.as_str()).into_iter().flatten() {
                if let Some(session) = self.sessions.in_slot(*slot) {
                    add(session);
                }
            }
        }
        peers
    }

    /// Carries out an order; the answer is how many connections it was about.
    fn order(
        &mut self,
        target: &Target,
        order: &Order,
        out: Out<'_, '_>,
    ) -> Result<usize, ClientError> {
        let mut count = 0;
        for peer in self.meant(target) {
            let done = match order {
                Order::Subscribe { topic, options } => {
                    self.subscribe_by_server(peer, topic, options, out)?
                }
                Order::Unsubscribe { topic, code } => {
                    let session = self.sessions.get(peer);
                    let is_in = session.is_some_and(|session| session.sub(topic).is_some());
                    self.end(peer, topic, Unsubscribed::by_server(*code), out);
                    is_in
                }
                Order::Disconnect(why) => {
                    self.disconnect(peer, why, out);
                    true
                }
                Order::Refresh(refreshed) => {
                    self.refreshed(peer, *refreshed, out);
                    true
                }
            };
            count += usize::from(done);
        }
        Ok(count)
    }

    fn refreshed(&mut self, peer: PeerId, refreshed: Refreshed, out: Out<'_, '_>) {
        let expires = match refreshed {
            Refreshed::Expired => return self.disconnect(peer, &Disconnect::EXPIRED, out),
            Refreshed::Until(at) => Some(at),
            Refreshed::Forever => None,
        };
        if let Some(session) = self.sessions.get_mut(peer) {
            session.extra().expires = expires;
            self.watch(peer, out);
        }
    }

    /// Remembers a revocation, and closes who came with such a token.
    fn revoke(&mut self, revocation: Arc<Revocation>, out: Out<'_, '_>) -> usize {
        let now = out.now();
        let over = |until: Option<Time>| until.is_some_and(|until| until <= now);
        self.revoked.retain(|one| !over(one.until));
        let stamped = |session: &&crate::session::Session| {
            let info = session.info.as_ref().filter(|info| !info.user().is_empty());
            let none = crate::token::Stamp::default();
            let stamp = session.extra.as_ref().map_or(&none, |extra| &extra.stamp);
            info.is_some_and(|info| revocation.fits(info.user(), stamp))
        };
        let meant: Vec<_> = self
            .sessions
            .iter()
            .filter(stamped)
            .map(|s| s.peer)
            .collect();
        for peer in &meant {
            self.disconnect(*peer, &Disconnect::INVALID_TOKEN, out);
        }
        self.revoked.push_back(revocation);
        while self.revoked.len() > self.config.limits.revocations {
            self.revoked.pop_front();
        }
        meant.len()
    }

    fn clients(
        &mut self,
        user: Option<&str>,
        only_slow: bool,
        limit: usize,
        out: Out<'_, '_>,
    ) -> Vec<ClientSummary> {
        let now = out.now();
        let mut list = Vec::new();
        for session in self.sessions.iter() {
            let Some(info) = &session.info else { continue };
            let slow_for = Shard::slow_since(session).map(|since| now.since(since));
            let wanted = user.is_none_or(|user| **info.user() == *user);
            if !wanted || (only_slow && slow_for.is_none()) {
                continue;
            }
            if list.len() >= limit {
                break;
            }
            let subs = session.subs.iter();
            list.push(ClientSummary {
                client: info.client(),
                user: info.user().to_string(),
                worker: self.worker.0,
                since: session.since,
                form: session.form.name(),
                channels: subs
                    .map(|sub| (sub.topic.as_str().to_owned(), sub.wish.mode()))
                    .collect(),
                queued: out.queued(session.peer),
                slow_for,
            });
        }
        list
    }

    /// Counts and sizes as they are now.
    pub fn stats(&self) -> WorkerStats {
        let size = self.size();
        let subs = || self.sessions.iter().flat_map(|session| &session.subs);
        WorkerStats {
            clients: size.sessions as u64,
            users: self.users.len() as u64,
            subscriptions: subs().count() as u64,
            conflated: subs().filter(|sub| sub.wish.hz > 0).count() as u64,
            local_channels: size.local_topics as u64,
            home_channels: size.home_topics as u64,
            streams: size.streams as u64,
            history_bytes: size.history as u64,
            in_flight: u64::from(size.in_flight),
            spooled: size.spooled as u64,
            untold: self.home.untold(),
            ..self.stats.clone()
        }
    }
}
