//! What a shard does with publications and news of a channel: it gives them to the members here, each in
//! its mode. Who is a member is not decided here.

use super::{Out, Shard, TIMER_PACE};
use crate::codec::{Form, Shared};
use crate::config::Slow;
use crate::pace::{self, When};
use crate::publication::{Position, Publication};
use crate::reply::{Disconnect, Push, Unsubscribed};
use crate::session::Wish;
use crate::topic::TopicName;
use tidegate_proto::{Level, PeerId, Time, TimerId};

impl Shard {
    /// Gives a publication to the members here.
    pub(super) fn deliver(
        &mut self,
        topic: &TopicName,
        publication: &Publication,
        out: Out<'_, '_>,
    ) {
        let offset = publication.offset();
        if offset > 0 && !self.local.advance(topic, offset) {
            return self.resync(topic, out);
        }
        // Nothing in this loop changes the list: clients that are closed leave it in `settle`.
        let conflates = self.conflates(topic);
        let members = self.local.lend(topic);
        let (mut behind, mut lagging) = (Vec::new(), Vec::new());
        for member in &members {
            if conflates && self.is_slow(member.peer) {
                // It lags already, by another channel: it is owed this one, and gets it at its pace.
                behind.push(member.peer);
                continue;
            }
            let Some(frame) = publication.frame(member.form) else {
                continue; // a namespace that has become binary; see `subscribed`
            };
            self.stats.deliveries += 1;
            if self.push(member.peer, frame, out) == Level::High {
                lagging.push(member.peer);
            }
        }
        self.local.restore(topic, members);
        for peer in behind {
            self.move_down(peer, topic);
        }
        self.publish_paced(topic, publication, out);
        for peer in lagging {
            self.move_down(peer, topic);
        }
    }

    fn is_slow(&mut self, peer: PeerId) -> bool {
        let session = self.sessions.get_mut(peer);
        session.is_some_and(|session| session.slow().is_some())
    }

    /// Whether clients that lag in this channel are moved down.
    fn conflates(&self, topic: &TopicName) -> bool {
        let options = self.config.namespaces.options(topic);
        options.is_some_and(|options| matches!(options.delivery.slow, Slow::Conflate { .. }))
    }

    /// A client that lags gets this channel conflated from now on, if the channel's options say so.
    fn move_down(&mut self, peer: PeerId, topic: &TopicName) {
        let options = self.config.namespaces.options(topic);
        let Some(Slow::Conflate { hz }) = options.map(|options| options.delivery.slow) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let form = session.form;
        let Some(sub) = session.sub_mut(topic).filter(|sub| sub.member.is_some()) else {
            return;
        };
        let Some(at) = sub.member.take() else { return };
        sub.wish.hz = u16::try_from(hz.max(1)).unwrap_or(u16::MAX);
        let wish = sub.wish;
        // First in, then out, so that the channel is never without members here.
        let there = self.local.add(topic, peer, form, wish);
        self.local.remove(topic, at, &mut self.sessions);
        if let Some(sub) = self.sessions.get_mut(peer).and_then(|s| s.sub_mut(topic)) {
            sub.member = Some(there);
        }
        self.stats.moved_down += 1;
    }

    /// Keeps a publication for the paced members, and serves those whose time it is.
    fn publish_paced(&mut self, topic: &TopicName, publication: &Publication, out: Out<'_, '_>) {
        let Some(pace) = self
            .local
            .get_mut(topic)
            .and_then(|local| local.pace.as_mut())
        else {
            return;
        };
        let options = self.config.namespaces.options(topic);
        let pointer = options.and_then(|options| options.delivery.key.as_deref());
        let key = pace::key(publication, pointer);
        pace.publish(key, publication, self.config.limits.keys);
        for hz in pace.rates() {
            self.pace(topic, hz, out);
        }
    }

    /// Serves the members of one rate, now or when their time has come.
    fn pace(&mut self, topic: &TopicName, hz: u16, out: Out<'_, '_>) {
        let now = out.now();
        let Some(pace) = self
            .local
            .get_mut(topic)
            .and_then(|local| local.pace.as_mut())
        else {
            return;
        };
        match pace.when(hz, now) {
            When::Later => {}
            When::Now => self.tick(topic, hz, out),
            When::At(due) => {
                let number = (pace.number as u64) << 16;
                out.timer(TimerId(TIMER_PACE | number | u64::from(hz)), due);
            }
        }
    }

    pub(super) fn pace_rings(&mut self, timer: u64, out: Out<'_, '_>) {
        let number = usize::try_from(timer >> 16).unwrap_or(usize::MAX);
        let hz = u16::try_from(timer & 0xffff).unwrap_or(0);
        let now = out.now();
        let Some(topic) = self.local.paced(number).cloned() else {
            return;
        };
        let pace = self
            .local
            .get_mut(&topic)
            .and_then(|local| local.pace.as_mut());
        if pace.is_some_and(|pace| pace.rings(hz, now)) {
            self.tick(&topic, hz, out);
        }
    }

    /// Gives the members of one rate what they are owed. One whose outbox has not drained, or is
    /// half way to its high mark, gets nothing,
    /// and is owed more at the next tick; so what waits for it is bounded.
    fn tick(&mut self, topic: &TopicName, hz: u16, out: Out<'_, '_>) {
        let now = out.now();
        let Some(mut pace) = self
            .local
            .get_mut(topic)
            .and_then(|local| local.pace.take())
        else {
            return;
        };
        let most = self.config.connection.limits.outbox_high / 2;
        let (mut owing, mut made) = (false, Vec::new());
        for n in 0..pace.members.len() {
            let member = pace.members[n];
            if member.hz != hz || !pace.owes(&member) {
                continue;
            }
            let Some(session) = self.sessions.in_slot(member.slot) else {
                continue;
            };
            let (peer, form) = (session.peer, session.form);
            if session.slow().is_some() || out.queued(peer) > most {
                owing = true;
                continue;
            }
            let Some(batch) = shared_batch(&mut made, &pace, member.served, form) else {
                continue;
            };
            pace.members[n].served = batch.served;
            owing |= pace.owes(&pace.members[n]);
            self.stats.deliveries += batch.publications;
            self.stats.skipped += batch.skipped;
            self.push(peer, &batch.frame, out);
        }
        pace.ticked(hz, now);
        if let Some(local) = self.local.get_mut(topic) {
            local.pace = Some(pace);
        }
        if owing {
            self.pace(topic, hz, out);
        }
    }

    /// Gives joins and leaves to the members that want to know.
    pub(super) fn deliver_news(&mut self, topic: &TopicName, news: &Shared, out: Out<'_, '_>) {
        let Some(local) = self.local.get_mut(topic) else {
            return;
        };
        let full = local
            .full
            .iter()
            .map(|member| (member.peer.slot(), member.join_leave));
        let paced = local.pace.iter().flat_map(|pace| &pace.members);
        let paced = paced.map(|member| (member.slot, member.join_leave));
        let wanting = full.chain(paced).filter(|(_, join_leave)| *join_leave);
        let slots: Vec<u32> = wanting.map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(session) = self.sessions.in_slot(slot) {
                let (peer, form) = (session.peer, session.form);
                self.push(peer, news.frame(form), out);
            }
        }
    }

    /// The home says how far this worker should have come in a channel.
    pub(super) fn stands(&mut self, topic: &TopicName, position: Position, out: Out<'_, '_>) {
        if !self.local.stands(topic, position) {
            self.resync(topic, out);
        }
    }

    /// Something did not reach this worker: its members of the channel must recover. Those that the server
    /// has subscribed would not come back to the channel by themselves, so they come back as a whole.
    pub(super) fn resync(&mut self, topic: &TopicName, out: Out<'_, '_>) {
        for slot in self.local.take(topic) {
            let Some(session) = self.sessions.in_slot(slot) else {
                continue;
            };
            let peer = session.peer;
            let Some(sub) = session.sub_mut(topic) else {
                continue;
            };
            sub.member = None; // it stands nowhere any more
            if sub.wish.server {
                self.disconnect(peer, &Disconnect::INSUFFICIENT_STATE, out);
            } else {
                self.end(peer, topic, Unsubscribed::INSUFFICIENT_STATE, out);
            }
        }
    }

    /// Ends a subscription by the hub's will, and says so.
    pub(super) fn end(
        &mut self,
        peer: PeerId,
        topic: &TopicName,
        why: Unsubscribed,
        out: Out<'_, '_>,
    ) {
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let (form, info) = (session.form, session.info.clone());
        let Some(sub) = session.remove(topic) else {
            return;
        };
        if let Some(at) = sub.member {
            self.local.remove(topic, at, &mut self.sessions);
        }
        *self.stats.unsubscribes.entry(why.code).or_default() += 1;
        let push = form.pushes(topic.as_str(), &[Push::Unsubscribed(why)]);
        self.push(peer, &push, out);
        if let Some(info) = info {
            let home = topic.home(self.workers);
            self.leave(home, vec![sub.departs(&info)], out);
        }
    }

    /// Makes a client a member of a channel here.
    pub(super) fn admit(&mut self, peer: PeerId, topic: &TopicName, wish: Wish) {
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let form = session.form;
        if let Some(sub) = session.sub_mut(topic) {
            sub.member = Some(self.local.add(topic, peer, form, wish));
        }
    }

    /// Since when a client has not taken what it is sent.
    pub(super) fn slow_since(session: &crate::session::Session) -> Option<Time> {
        Some(session.extra.as_ref()?.slow.as_ref()?.since)
    }
}

type Made = Vec<((u64, Form), pace::Batch)>;

/// The frame for members that stand there, made for the first of them.
fn shared_batch(made: &mut Made, pace: &pace::Pace, from: u64, form: Form) -> Option<pace::Batch> {
    if let Some((_, batch)) = made.iter().find(|(key, _)| *key == (from, form)) {
        return Some(batch.clone());
    }
    let batch = pace.batch(from, form)?;
    made.push(((from, form), batch.clone()));
    Some(batch)
}
