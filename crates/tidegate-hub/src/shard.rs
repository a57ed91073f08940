//! The hub on one worker: a [`Handler`] for its clients, and the home of its share of the channels.

mod commands;
mod connect;
mod control;
mod delivery;
mod homing;
mod subscribe;
mod watch;

use crate::codec::Form;
use crate::config::HubConfig;
use crate::home::{Due, Home};
use crate::local::LocalMembers;
use crate::mail::{Answer, Asker, Delivered, Departure, Mail, ShardMail, WorkerMail};
use crate::reply::{Disconnect, Reply};
use crate::seed::Seed;
use crate::session::{Session, Sessions};
use crate::spool::Spool;
use crate::stats::{Revocation, WorkerStats};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{
    Accept, CloseCode, Closed, Encoded, Handler, Incoming, Level, Opening, Outboxes, PeerId,
    Request, Time, TimerId, WorkerId,
};

type Out<'a, 'b> = &'a mut Outboxes<'b, ShardMail>;

/// The hub's part on one worker.
///
/// # When something is full
///
/// | what                          | becomes of it                                                    |
/// |-------------------------------|------------------------------------------------------------------|
/// | a client's outbox             | it is closed with 3008; it comes back and recovers; or it is moved down to `conflate` in time, where its namespace says so ([`crate::Slow`]) |
/// | the home's mailbox            | the command is answered error 111; subscribes are retried by SDKs|
/// | a member worker's mailbox     | its members get an unsubscribe with code 2500: they subscribe again and recover; where the server has subscribed them they are closed with 3010 and recover when they are back |
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
    /// The slots of users with a name.
    users: HashMap<Arc<str>, Vec<u32>, Seed>,
    local: LocalMembers,
    home: Home,
    spool: Spool,
    revoked: VecDeque<Arc<Revocation>>,
    /// The message that is being answered.
    batch: Batch,
    /// Clients that were closed during this call and whose session is still to be ended.
    doomed: Vec<PeerId>,
    /// Clients whose connect command was just answered and whose messages waited for that.
    released: Vec<(PeerId, Vec<Vec<u8>>)>,
    /// Commands of this worker's clients that wait for another worker.
    in_flight: u32,
    /// Clients whose connect command is unanswered. Without any, nothing needs to be held back.
    unanswered: usize,
    stats: WorkerStats,
    pings: [Encoded; 2],
    seeded: bool,
    draining: bool,
    retrying: bool,
    expires: Option<Time>,
}

/// Replies to one message are collected, so that they go out in one frame.
#[derive(Default)]
struct Batch {
    peer: Option<PeerId>,
    form: Form,
    frame: Vec<u8>,
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
/// Bits 16 to 47 are the channel's number, the lowest 16 its rate.
const TIMER_PACE: u64 = 4 << 48;

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
            users: HashMap::with_hasher(seed),
            sessions: Sessions::default(),
            spool: Spool::new(workers),
            revoked: VecDeque::new(),
            batch: Batch::default(),
            doomed: Vec::new(),
            released: Vec::new(),
            in_flight: 0,
            unanswered: 0,
            stats: WorkerStats {
                worker: worker.0,
                ..WorkerStats::default()
            },
            pings: [Form::Json.ping(), Form::Protobuf.ping()],
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
            self.users = HashMap::with_hasher(seed);
        }
    }

    /// Queues a reply; the replies to one message share a frame.
    fn reply(&mut self, peer: PeerId, id: u32, reply: &Reply<'_>, out: Out<'_, '_>) {
        if let Reply::Error(error) = reply {
            *self.stats.errors.entry(error.code).or_default() += 1;
        }
        if self.batch.peer == Some(peer) {
            self.batch.form.append(&mut self.batch.frame, id, reply);
            if self.batch.frame.len() >= BATCH {
                self.flush(out);
            }
        } else if let Some(form) = self.sessions.get(peer).map(|session| session.form) {
            let mut frame = Vec::new();
            form.append(&mut frame, id, reply);
            self.send_frame(peer, form, &frame, out);
        }
    }

    /// Sends the replies that were collected.
    fn flush(&mut self, out: Out<'_, '_>) {
        let Some(peer) = self.batch.peer else { return };
        if !self.batch.frame.is_empty() {
            let mut frame = std::mem::take(&mut self.batch.frame);
            self.send_frame(peer, self.batch.form, &frame, out);
            frame.clear();
            self.batch.frame = frame; // its memory is used again
        }
    }

    fn send_frame(&mut self, peer: PeerId, form: Form, frame: &[u8], out: Out<'_, '_>) {
        let level = match form {
            Form::Json => {
                let text = std::str::from_utf8(frame).expect("JSON is written as text");
                out.send_text(peer, text)
            }
            Form::Protobuf => out.send_binary(peer, frame),
        };
        self.mind(peer, level, frame.len(), out);
    }

    /// Sends a frame to one client, after the replies that were collected for it. While its connect
    /// command is unanswered the frame waits behind that answer.
    fn push(&mut self, peer: PeerId, frame: &Encoded, out: Out<'_, '_>) -> Level {
        if self.batch.peer == Some(peer) {
            self.flush(out);
        }
        if self.unanswered > 0 {
            if let Some(level) = self.hold_back(peer, frame, out) {
                return level;
            }
        }
        let level = out.send(peer, frame);
        self.mind(peer, level, frame.payload().len(), out);
        level
    }

    /// Keeps a frame for a client whose connect command is unanswered.
    fn hold_back(&mut self, peer: PeerId, frame: &Encoded, out: Out<'_, '_>) -> Option<Level> {
        let most = self.config.connection.limits.outbox;
        let connecting = self.sessions.get_mut(peer)?.connecting()?;
        connecting.bytes += frame.payload().len();
        if connecting.bytes > most {
            self.disconnect(peer, &Disconnect::SLOW, out);
            return Some(Level::Full);
        }
        connecting.pushes.push(frame.clone());
        Some(Level::Low)
    }

    /// A frame that found no room must be the last: one behind it would hide the gap.
    fn mind(&mut self, peer: PeerId, level: Level, len: usize, out: Out<'_, '_>) {
        match level {
            Level::Full => self.disconnect(peer, &Disconnect::SLOW, out),
            Level::High => self.lags(peer, len, out),
            Level::Low | Level::Gone => {}
        }
    }

    /// Closes a client. Its session ends when this call of the handler does.
    fn disconnect(&mut self, peer: PeerId, why: &Disconnect, out: Out<'_, '_>) {
        let Some(session) = self.sessions.get_mut(peer).filter(|s| !s.closing) else {
            return;
        };
        session.closing = true;
        *self.stats.disconnects.entry(why.code).or_default() += 1;
        let code = CloseCode::new(why.code).unwrap_or(CloseCode::INTERNAL);
        out.close(peer, code, &why.reason);
        self.doomed.push(peer);
    }

    /// Ends the sessions of closed clients; that may close others, whose outbox gets full of departures.
    /// Then the messages of clients that waited for their connect are read.
    fn settle(&mut self, out: Out<'_, '_>) {
        loop {
            while let Some(peer) = self.doomed.pop() {
                self.retire(peer, out);
            }
            let Some((peer, messages)) = self.released.pop() else {
                break;
            };
            for message in messages {
                self.commands(peer, &message, out);
            }
        }
        self.arm_expiry(out);
    }

    /// Ends a session: its channels are left.
    fn retire(&mut self, peer: PeerId, out: Out<'_, '_>) {
        let Some(mut session) = self.sessions.remove(peer) else {
            return;
        };
        self.unanswered -= usize::from(session.connecting().is_some());
        let Some(info) = session.info else { return };
        self.forget_user(info.user(), peer.slot());
        let mut by_home: Vec<Vec<_>> = vec![Vec::new(); self.workers];
        for sub in session.subs {
            if let Some(at) = sub.member {
                self.local.remove(&sub.topic, at, &mut self.sessions);
            }
            let home = sub.topic.home(self.workers);
            by_home[usize::from(home.0)].push(sub.departs(&info));
        }
        for (home, members) in by_home.into_iter().enumerate() {
            if !members.is_empty() {
                self.leave(WorkerId(u16::try_from(home).unwrap_or(0)), members, out);
            }
        }
    }

    fn forget_user(&mut self, user: &Arc<str>, slot: u32) {
        if let Some(slots) = self.users.get_mut(user) {
            slots.retain(|one| *one != slot);
            if slots.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// Tells a home that members are gone.
    fn leave(&mut self, home: WorkerId, members: Vec<Departure>, out: Out<'_, '_>) {
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
            } => return self.subscribed(to, &topic, attempt, result, out),
            Answer::Published => Reply::Published,
            Answer::Presence(clients) => Reply::Presence(clients),
            Answer::PresenceStats(stats) => Reply::PresenceStats(stats),
            Answer::History(slice) => {
                if !slice.publications.iter().all(|one| one.is_json())
                    && self
                        .sessions
                        .get(to.peer)
                        .is_some_and(|s| s.form == Form::Json)
                {
                    Reply::Error(crate::ClientError::NOT_AVAILABLE)
                } else {
                    Reply::History(slice)
                }
            }
            Answer::Error(error) => Reply::Error(error),
        };
        self.reply(to.peer, to.id, &reply, out);
    }

    /// Reads a message; if the client's connect command is unanswered, when it is answered.
    fn receive(&mut self, peer: PeerId, message: &[u8], out: Out<'_, '_>) {
        let most = self.config.connection.limits.outbox;
        let Some(connecting) = self.sessions.get_mut(peer).and_then(Session::connecting) else {
            return self.commands(peer, message, out);
        };
        connecting.hold(message);
        if connecting.bytes > most {
            self.disconnect(peer, &Disconnect::SLOW, out);
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

    fn expire(&mut self, out: Out<'_, '_>) {
        let now = out.now();
        if self.expires.is_none_or(|at| at > now) {
            return;
        }
        self.expires = None;
        for (topic, due) in self.home.expire(now) {
            match due {
                Due::News(pushes) => self.announce(&topic, pushes, out),
                Due::Stands(position) => self.tell_position(&topic, position, out),
            }
        }
    }
}

impl Handler for Shard {
    type Mail = ShardMail;

    /// Takes clients that offer no subprotocol (then JSON is spoken, unless the query says
    /// `format=protobuf`), `centrifuge-json` or `centrifuge-protobuf`.
    fn open(&mut self, peer: PeerId, request: &Request, out: Out<'_, '_>) -> Opening {
        self.wake(out);
        let mut accept = Accept::new(Arc::clone(&self.config.connection));
        let offered = |wanted: &str| request.subprotocols().any(|name| name == wanted);
        let form = if offered(PROTOBUF) {
            accept.subprotocol = Some(PROTOBUF.to_owned());
            Form::Protobuf
        } else if offered(JSON) {
            accept.subprotocol = Some(JSON.to_owned());
            Form::Json
        } else if request
            .query_param("format")
            .is_some_and(|format| format == "protobuf")
        {
            Form::Protobuf
        } else {
            Form::Json
        };
        let now = out.now();
        let due = now + self.config.connect;
        self.sessions.insert(Session::new(peer, form, now, due));
        self.watch(peer, out);
        Opening::Accept(accept)
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: Out<'_, '_>) {
        let form = self.sessions.get(peer).map(|session| session.form);
        match (&message, form) {
            (Incoming::Text(text), Some(Form::Json)) => {
                self.receive(peer, text.as_str().as_bytes(), out);
            }
            (Incoming::Binary(octets), Some(Form::Protobuf)) => self.receive(peer, octets, out),
            _ => self.disconnect(peer, &Disconnect::INAPPROPRIATE_PROTOCOL, out),
        }
        self.settle(out);
    }

    fn mail(&mut self, mail: ShardMail, out: Out<'_, '_>) {
        self.wake(out);
        match mail.0 {
            Mail::Worker(WorkerMail::Ask(ask)) => self.serve(ask, out),
            Mail::Worker(WorkerMail::Leave { from, members }) => self.left(from, &members, out),
            Mail::Worker(WorkerMail::Answer { to, answer }) => self.answered(to, answer, out),
            Mail::Worker(WorkerMail::Deliver { topic, what }) => match what {
                Delivered::Publication(publication) => self.deliver(&topic, &publication, out),
                Delivered::Presence(news) => self.deliver_news(&topic, &news, out),
            },
            Mail::Worker(WorkerMail::Resync { topic }) => self.resync(&topic, out),
            Mail::Worker(WorkerMail::Stands { topic, position }) => {
                self.stands(&topic, position, out);
            }
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
            TIMER_EXPIRE => self.expire(out),
            TIMER_PACE => self.pace_rings(timer.0 & !KIND, out),
            _ => {}
        }
        self.settle(out);
    }

    fn drained(&mut self, peer: PeerId, _out: Out<'_, '_>) {
        let session = self.sessions.get_mut(peer);
        if let Some(extra) = session.and_then(|session| session.extra.as_mut()) {
            extra.slow = None;
        }
    }

    fn drain(&mut self, peer: PeerId, out: Out<'_, '_>) {
        self.draining = true;
        self.disconnect(peer, &Disconnect::SHUTDOWN, out);
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
