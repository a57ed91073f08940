//! The hub on one worker: a [`Handler`] for its clients, and the home of its share of the channels.

mod commands;
mod homing;

use crate::codec::json;
use crate::config::HubConfig;
use crate::home::Home;
use crate::local::LocalMembers;
use crate::mail::{Answer, Asker, Mail, ShardMail, WorkerMail};
use crate::publication::ClientInfo;
use crate::reply::{Disconnect, Reply, Unsubscribed};
use crate::seed::Seed;
use crate::session::{Awaits, Session, Sessions};
use crate::spool::Spool;
use crate::topic::TopicName;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{
    Accept, CloseCode, Closed, Encoded, Handler, Incoming, Level, Opening, Outboxes, PeerId,
    Rejection, Request, Time, TimerId, WorkerId,
};

type Out<'a, 'b> = &'a mut Outboxes<'b, ShardMail>;

/// The hub's part on one worker.
///
/// # When something is full
///
/// | what                          | becomes of it                                                    |
/// |-------------------------------|------------------------------------------------------------------|
/// | a client's outbox             | it is closed with 3008; it comes back and recovers               |
/// | the home's mailbox            | the command is answered error 111; subscribes are retried by SDKs|
/// | a member worker's mailbox     | its members get an unsubscribe with code 2500: they subscribe again and recover |
///
/// For the last the home needs no mailbox: it stops sending that channel to that worker at once, and
/// keeps the order "make them recover" in memory, in front of whatever it has to say later, until the
/// mailbox takes mail again. There is at most one such order for each channel and worker until another
/// member subscribes there.
///
/// # Timers
/// The top byte of each [`TimerId`] is 0; bits 48 to 55 tell what it is for.
pub struct Shard {
    config: Arc<HubConfig>,
    worker: WorkerId,
    workers: usize,
    sessions: Sessions,
    local: LocalMembers,
    home: Home,
    spool: Spool,
    /// The message that is being answered.
    batch: Batch,
    /// Clients that were closed during this call and whose session is still to be ended.
    doomed: Vec<PeerId>,
    /// Commands of this worker's clients that wait for another worker.
    in_flight: u32,
    ping: Encoded,
    seeded: bool,
    draining: bool,
    retrying: bool,
    expires: Option<Time>,
}

/// Replies to one message are collected, so that they go out in one frame.
#[derive(Default)]
struct Batch {
    peer: Option<PeerId>,
    text: String,
}

/// How much a shard holds; for tests and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardSize {
    /// Clients.
    pub sessions: usize,
    /// Channels with members among them.
    pub local_topics: usize,
    /// Channels with members anywhere, whose home is here.
    pub home_topics: usize,
    /// Channels with a position, whose home is here.
    pub streams: usize,
    /// Bytes of history.
    pub history: usize,
    /// Commands that wait for another worker.
    pub in_flight: u32,
    /// Mail that waits for room in other workers' mailboxes.
    pub spooled: usize,
}

const TIMER_SESSION: u64 = 1 << 48;
const TIMER_RETRY: u64 = 2 << 48;
const TIMER_EXPIRE: u64 = 3 << 48;

/// How soon mail is tried again that found a mailbox full.
const RETRY: Duration = Duration::from_millis(10);

/// A batch of replies is sent early when it is this long.
const BATCH: usize = 32 << 10;

impl Shard {
    /// The hub's part on `worker`, one of `workers`, which all get the same `config`.
    pub fn new(config: Arc<HubConfig>, worker: WorkerId, workers: usize) -> Shard {
        let seed = Seed::default();
        Shard {
            home: Home::new(Arc::clone(&config), seed),
            local: LocalMembers::new(seed),
            sessions: Sessions::default(),
            spool: Spool::new(workers),
            batch: Batch::default(),
            doomed: Vec::new(),
            in_flight: 0,
            ping: Encoded::text(json::PING),
            seeded: false,
            draining: false,
            retrying: false,
            expires: None,
            config,
            worker,
            workers,
        }
    }

    /// How much it holds.
    pub fn size(&self) -> ShardSize {
        let (home_topics, streams, history) = self.home.size();
        ShardSize {
            sessions: self.sessions.len(),
            local_topics: self.local.len(),
            home_topics,
            streams,
            history,
            in_flight: self.in_flight,
            spooled: self.spool.len(),
        }
    }

    /// The maps get their secret before the first stranger's name comes in.
    fn wake(&mut self, out: Out<'_, '_>) {
        if !self.seeded {
            self.seeded = true;
            let seed = Seed::new(out.random(), out.random());
            self.home = Home::new(Arc::clone(&self.config), seed);
            self.local = LocalMembers::new(seed);
        }
    }

    /// Queues a reply; the replies to one message share a frame.
    fn reply(&mut self, peer: PeerId, id: u32, reply: &Reply<'_>, out: Out<'_, '_>) {
        if self.batch.peer == Some(peer) {
            if !self.batch.text.is_empty() {
                self.batch.text.push('\n');
            }
            json::write_reply(&mut self.batch.text, id, reply);
            if self.batch.text.len() >= BATCH {
                self.flush(out);
            }
        } else {
            let mut text = String::new();
            json::write_reply(&mut text, id, reply);
            let level = out.send_text(peer, &text);
            self.mind(peer, level, out);
        }
    }

    /// Sends the replies that were collected.
    fn flush(&mut self, out: Out<'_, '_>) {
        let Some(peer) = self.batch.peer else { return };
        if !self.batch.text.is_empty() {
            let level = out.send_text(peer, &self.batch.text);
            self.batch.text.clear();
            self.mind(peer, level, out);
        }
    }

    /// Sends a frame to one client, after the replies that were collected for it.
    fn push(&mut self, peer: PeerId, frame: &Encoded, out: Out<'_, '_>) {
        if self.batch.peer == Some(peer) {
            self.flush(out);
        }
        let level = out.send(peer, frame);
        self.mind(peer, level, out);
    }

    /// A frame that found no room must be the last: one behind it would hide the gap.
    fn mind(&mut self, peer: PeerId, level: Level, out: Out<'_, '_>) {
        if level == Level::Full {
            self.disconnect(peer, Disconnect::SLOW, out);
        }
    }

    /// Closes a client. Its session ends when this call of the handler does.
    fn disconnect(&mut self, peer: PeerId, why: Disconnect, out: Out<'_, '_>) {
        let code = CloseCode::new(why.code).unwrap_or(CloseCode::INTERNAL);
        out.close(peer, code, why.reason);
        self.doomed.push(peer);
    }

    /// Ends the sessions of closed clients; that may close others, whose outbox gets full of departures.
    fn settle(&mut self, out: Out<'_, '_>) {
        while let Some(peer) = self.doomed.pop() {
            self.retire(peer, out);
        }
        self.arm_expiry(out);
    }

    /// Ends a session: its channels are left.
    fn retire(&mut self, peer: PeerId, out: Out<'_, '_>) {
        let Some(session) = self.sessions.remove(peer) else {
            return;
        };
        let Some(info) = session.info else { return };
        let mut by_home: Vec<Vec<_>> = vec![Vec::new(); self.workers];
        for sub in session.subs {
            if let Some(index) = sub.member {
                self.local.remove(&sub.topic, index, &mut self.sessions);
            }
            let home = sub.topic.home(self.workers);
            by_home[usize::from(home.0)].push((sub.topic, Arc::clone(&info)));
        }
        for (home, members) in by_home.into_iter().enumerate() {
            if !members.is_empty() {
                self.leave(WorkerId(u16::try_from(home).unwrap_or(0)), members, out);
            }
        }
    }

    /// Tells a home that members are gone.
    fn leave(
        &mut self,
        home: WorkerId,
        members: Vec<(TopicName, Arc<ClientInfo>)>,
        out: Out<'_, '_>,
    ) {
        if home == self.worker {
            self.left(self.worker, &members, out);
        } else {
            let from = self.worker;
            self.send(home, WorkerMail::Leave { from, members }, out);
        }
    }

    /// Sends mail that must arrive.
    fn send(&mut self, to: WorkerId, mail: WorkerMail, out: Out<'_, '_>) {
        if self.spool.send(to, mail, out) && !self.retrying {
            self.retrying = true;
            let at = out.now() + RETRY;
            out.timer(TimerId(TIMER_RETRY), at);
        }
    }

    /// Gives a frame to the members here.
    fn deliver(&mut self, topic: &TopicName, frame: &Encoded, out: Out<'_, '_>) {
        // Nothing in this loop changes the list: clients that are closed leave it in `settle`.
        let members = self.local.lend(topic);
        for slot in &members {
            if let Some(peer) = self.sessions.in_slot(*slot).map(|session| session.peer) {
                self.push(peer, frame, out);
            }
        }
        self.local.restore(topic, members);
    }

    /// Something did not reach this worker: its members of the channel must recover.
    fn resync(&mut self, topic: &TopicName, out: Out<'_, '_>) {
        let push = json::unsubscribed(topic.as_str(), Unsubscribed::INSUFFICIENT_STATE);
        let push = Encoded::text(&push);
        let mut gone = Vec::new();
        for slot in self.local.take(topic) {
            let Some(session) = self.sessions.in_slot(slot) else {
                continue;
            };
            session.remove(topic);
            let peer = session.peer;
            gone.extend(session.info.clone().map(|info| (topic.clone(), info)));
            self.push(peer, &push, out);
        }
        if !gone.is_empty() {
            self.leave(topic.home(self.workers), gone, out);
        }
    }

    /// A home has answered a client's command.
    fn answered(&mut self, to: Asker, answer: Answer, out: Out<'_, '_>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(session) = self.sessions.get_mut(to.peer) {
            session.in_flight = session.in_flight.saturating_sub(1);
            self.apply(to, answer, out);
        }
    }

    /// Tells a client the answer to its command.
    fn apply(&mut self, to: Asker, answer: Answer, out: Out<'_, '_>) {
        let reply = match answer {
            Answer::Subscribed {
                topic,
                attempt,
                result,
            } => {
                self.subscribed(to.peer, &topic, attempt, result.is_ok(), out);
                result.map_or_else(Reply::Error, Reply::Subscribed)
            }
            Answer::Published => Reply::Published,
            Answer::Presence(clients) => Reply::Presence(clients),
            Answer::PresenceStats(stats) => Reply::PresenceStats(stats),
            Answer::History(slice) => Reply::History(slice),
            Answer::Error(error) => Reply::Error(error),
        };
        self.reply(to.peer, to.id, &reply, out);
    }

    /// The home counts this client as a member. Unless it has changed its mind meanwhile (then its
    /// departure is under way), it becomes one here, or leaves because it was refused.
    fn subscribed(
        &mut self,
        peer: PeerId,
        topic: &TopicName,
        attempt: u32,
        taken: bool,
        out: Out<'_, '_>,
    ) {
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let Some(sub) = session.sub_mut(topic).filter(|sub| sub.attempt == attempt) else {
            return;
        };
        if taken {
            sub.member = Some(self.local.add(topic, peer.slot()));
        } else {
            session.remove(topic);
            if let Some(info) = session.info.clone() {
                let home = topic.home(self.workers);
                self.leave(home, vec![(topic.clone(), info)], out);
            }
        }
    }

    /// A session's timer went off.
    fn check(&mut self, slot: u32, out: Out<'_, '_>) {
        let now = out.now();
        let Some(session) = self.sessions.in_slot(slot).filter(|s| s.due <= now) else {
            return; // stale: the session, or its deadline, is another by now
        };
        let peer = session.peer;
        match session.awaits {
            Awaits::Connect => self.disconnect(peer, Disconnect::STALE, out),
            Awaits::Pong { .. } => self.disconnect(peer, Disconnect::NO_PONG, out),
            Awaits::NextPing => {
                session.awaits = Awaits::Pong { sent: now };
                self.arm(peer, now + self.config.pong, out);
                let ping = self.ping.clone();
                self.push(peer, &ping, out);
            }
        }
    }

    /// Sets a session's timer.
    fn arm(&mut self, peer: PeerId, due: Time, out: Out<'_, '_>) {
        if let Some(session) = self.sessions.get_mut(peer) {
            session.due = due;
            out.timer(TimerId(TIMER_SESSION | u64::from(peer.slot())), due);
        }
    }

    /// Sees to it that old publications and forgotten channels go.
    fn arm_expiry(&mut self, out: Out<'_, '_>) {
        let Some(due) = self.home.next_due() else {
            return;
        };
        if self.expires.is_none_or(|at| due < at) {
            self.expires = Some(due);
            out.timer(TimerId(TIMER_EXPIRE), due);
        }
    }
}

impl Handler for Shard {
    type Mail = ShardMail;

    /// Takes clients that offer no subprotocol, or `centrifuge-json`.
    fn open(&mut self, peer: PeerId, request: &Request, out: Out<'_, '_>) -> Opening {
        self.wake(out);
        let mut accept = Accept::new(Arc::clone(&self.config.connection));
        if request.subprotocols().any(|name| name == JSON) {
            accept.subprotocol = Some(JSON.to_owned());
        } else if wants_protobuf(request) {
            return Opening::Reject(Rejection::new(
                400,
                "the protobuf form of the protocol is not available; use JSON",
            ));
        }
        let due = out.now() + self.config.connect;
        self.sessions.insert(Session::new(peer, due));
        self.arm(peer, due, out);
        Opening::Accept(accept)
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: Out<'_, '_>) {
        match message {
            Incoming::Text(text) => self.commands(peer, text.as_str(), out),
            Incoming::Binary(_) => {
                self.disconnect(peer, Disconnect::INAPPROPRIATE_PROTOCOL, out);
            }
        }
        self.settle(out);
    }

    fn mail(&mut self, mail: ShardMail, out: Out<'_, '_>) {
        self.wake(out);
        match mail.0 {
            Mail::Worker(WorkerMail::Ask(ask)) => self.serve(ask, out),
            Mail::Worker(WorkerMail::Leave { from, members }) => self.left(from, &members, out),
            Mail::Worker(WorkerMail::Answer { to, answer }) => self.answered(to, answer, out),
            Mail::Worker(WorkerMail::Deliver { topic, frame }) => self.deliver(&topic, &frame, out),
            Mail::Worker(WorkerMail::Resync { topic }) => self.resync(&topic, out),
            Mail::Control(control) => self.control(control, out),
        }
        self.settle(out);
    }

    fn timeout(&mut self, timer: TimerId, out: Out<'_, '_>) {
        match timer.0 & KIND {
            TIMER_SESSION => self.check(u32::try_from(timer.0 & !KIND).unwrap_or(u32::MAX), out),
            TIMER_RETRY => {
                self.retrying = self.spool.retry(out);
                if self.retrying {
                    let at = out.now() + RETRY;
                    out.timer(timer, at);
                }
            }
            TIMER_EXPIRE => {
                let now = out.now();
                if self.expires.is_some_and(|at| at <= now) {
                    self.expires = None;
                    self.home.expire(now);
                }
            }
            _ => {}
        }
        self.settle(out);
    }

    fn drain(&mut self, peer: PeerId, out: Out<'_, '_>) {
        self.draining = true;
        self.disconnect(peer, Disconnect::SHUTDOWN, out);
        self.settle(out);
    }

    fn closed(&mut self, peer: PeerId, _why: &Closed, out: Out<'_, '_>) {
        self.retire(peer, out);
        self.settle(out);
    }
}

const KIND: u64 = 0xffff << 48;
const JSON: &str = "centrifuge-json";
const PROTOBUF: &str = "centrifuge-protobuf";

fn wants_protobuf(request: &Request) -> bool {
    request.subprotocols().any(|name| name == PROTOBUF)
        || request
            .query_param("format")
            .is_some_and(|format| format == "protobuf")
}
