//! What a shard does with the commands of its clients: it checks them and asks the channel's home.

use super::watch::beat;
use super::{Out, Shard};
use crate::codec::{Form, json, protobuf};
use crate::command::{BadFrame, Command, Data, HistoryOf, Numbered};
use crate::config::{Access, Namespace};
use crate::history::Page;
use crate::mail::{Ask, Asker, Question, WorkerMail};
use crate::publication::{ClientInfo, RawJson};
use crate::reply::{ClientError, Disconnect, Reply};
use crate::session::{Awaits, Session};
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::{PeerId, Time};

/// What a command comes to at once, if it is no reply: an error reply, or the end.
pub(super) enum Outcome {
    Error(ClientError),
    Close(Disconnect),
}

impl From<ClientError> for Outcome {
    fn from(error: ClientError) -> Outcome {
        Outcome::Error(error)
    }
}

pub(super) type Done = Result<(), Outcome>;

impl Shard {
    /// Carries out a message. The replies that are known when all of it was read go out in one frame;
    /// those that another worker gives follow by themselves.
    pub(super) fn commands(&mut self, peer: PeerId, message: &[u8], out: Out<'_, '_>) {
        let Some(form) = self.sessions.get(peer).map(|session| session.form) else {
            return;
        };
        self.batch.peer = Some(peer);
        self.batch.form = form;
        match form {
            Form::Json => {
                // The connection has checked that a text is UTF-8.
                let text = std::str::from_utf8(message).unwrap_or_default();
                let mut items = json::commands(text);
                while let Some(item) = items.next() {
                    if !self.item(peer, item, items.rest().as_bytes(), out) {
                        break;
                    }
                }
            }
            Form::Protobuf => {
                protobuf::commands(message, |item, rest| self.item(peer, item, rest, out));
            }
        }
        self.flush(out);
        self.batch.peer = None;
        self.batch.frame.clear();
    }

    /// Carries out one command of a message; false if the rest is not to be read, or not now.
    fn item(
        &mut self,
        peer: PeerId,
        item: Result<Numbered<'_>, BadFrame>,
        rest: &[u8],
        out: Out<'_, '_>,
    ) -> bool {
        let (id, done) = match item {
            Err(BadFrame) => (0, Err(Outcome::Close(Disconnect::BAD_REQUEST))),
            Ok(Numbered { id, command }) => (id, self.command(peer, id, command, out)),
        };
        match done {
            Ok(()) => {}
            Err(Outcome::Error(error)) => self.reply(peer, id, &Reply::Error(error), out),
            Err(Outcome::Close(why)) => {
                self.flush(out);
                self.disconnect(peer, &why, out);
            }
        }
        let Some(session) = self.sessions.get_mut(peer).filter(|s| !s.closing) else {
            return false;
        };
        match session.connecting() {
            Some(connecting) => {
                connecting.hold(rest);
                false
            }
            None => true,
        }
    }

    fn command(
        &mut self,
        peer: PeerId,
        id: u32,
        command: Result<Command<'_>, ClientError>,
        out: Out<'_, '_>,
    ) -> Done {
        let now = out.now();
        let rate = self.config.command_rate;
        let Some(session) = self.sessions.get_mut(peer) else {
            return Ok(());
        };
        let name = command.as_ref().map_or("unknown", Command::name);
        *self.stats.commands.entry(name).or_default() += 1;
        let Some(info) = session.info.clone() else {
            return match command {
                Ok(Command::Connect(connect)) => self.connect(peer, id, &connect, out),
                _ => Err(Outcome::Close(Disconnect::BAD_REQUEST)),
            };
        };
        let command = command?;
        if command == Command::Pong {
            self.pong(peer, out);
            return Ok(());
        }
        if rate.is_some_and(|rate| !session.commands.take(rate, now)) && id != 0 {
            return Err(ClientError::TOO_MANY_REQUESTS.into());
        }
        match command {
            Command::Connect(_) => Err(Outcome::Close(Disconnect::BAD_REQUEST)),
            Command::Pong | Command::Send => Ok(()),
            Command::Ping => {
                self.reply(peer, id, &Reply::Pong, out);
                Ok(())
            }
            Command::Subscribe(subscribe) => self.subscribe(peer, id, &subscribe, &info, out),
            Command::Unsubscribe { channel } => self.unsubscribe(peer, id, &channel, &info, out),
            Command::Publish { channel, data } => self.publish(peer, id, &channel, data, info, out),
            Command::Presence { channel } => {
                let topic = self.allowed(peer, &channel, Access::Presence, &info)?;
                self.ask(peer, id, topic, Question::Presence, out)
            }
            Command::PresenceStats { channel } => {
                let topic = self.allowed(peer, &channel, Access::Presence, &info)?;
                self.ask(peer, id, topic, Question::PresenceStats, out)
            }
            Command::History(history) => self.history(peer, id, &history, &info, out),
            Command::Rpc { method, data } => self.rpc(peer, id, &method, data, out),
            Command::Refresh { token } => self.refresh(peer, id, &token, &info, out),
            Command::SubRefresh { channel, token } => {
                self.sub_refresh(peer, id, &channel, &token, &info, out)
            }
        }
    }

    /// The answer to our ping. One that was not asked for is taken without a word.
    fn pong(&mut self, peer: PeerId, out: Out<'_, '_>) {
        let ping = self.config.ping;
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        if let Awaits::Pong { sent } = session.awaits {
            session.awaits = Awaits::NextPing;
            session.due = beat(sent + ping, ping);
            self.watch(peer, out);
        }
    }

    fn publish(
        &mut self,
        peer: PeerId,
        id: u32,
        channel: &str,
        data: Data<'_>,
        info: Arc<ClientInfo>,
        out: Out<'_, '_>,
    ) -> Done {
        let topic = self.allowed(peer, channel, Access::Publish, &info)?;
        let config = Arc::clone(&self.config);
        let Some(options) = config.namespaces.options(&topic) else {
            return Err(ClientError::UNKNOWN_CHANNEL.into());
        };
        let data = data
            .payload(options.binary)
            .map_err(|_| ClientError::BAD_REQUEST)?;
        let session = self.sessions.get_mut(peer);
        let sub = session.as_ref().and_then(|session| session.sub(&topic));
        let info = sub.and_then(|sub| sub.info.clone()).unwrap_or(info);
        if session.is_some_and(|session| !paced(session, &topic, options, out.now())) {
            return Err(ClientError::TOO_MANY_REQUESTS.into());
        }
        self.ask(peer, id, topic, Question::Publish { info, data }, out)
    }

    fn history(
        &mut self,
        peer: PeerId,
        id: u32,
        history: &HistoryOf<'_>,
        info: &ClientInfo,
        out: Out<'_, '_>,
    ) -> Done {
        let topic = self.allowed(peer, &history.channel, Access::History, info)?;
        let page = Page {
            since: history.since.as_ref().map(|(offset, _)| *offset),
            limit: usize::try_from(history.limit).ok(), // a negative limit is none
            reverse: history.reverse,
        };
        let epoch = history
            .since
            .as_ref()
            .map(|(_, epoch)| epoch.as_ref().into());
        self.ask(peer, id, topic, Question::History { epoch, page }, out)
    }

    /// The functions of the hub itself: `time` tells `{"time": milliseconds since 1970}`, `echo` gives
    /// back what it got.
    fn rpc(
        &mut self,
        peer: PeerId,
        id: u32,
        method: &str,
        data: Option<Data<'_>>,
        out: Out<'_, '_>,
    ) -> Done {
        let result = match method {
            "time" => format!("{{\"time\":{}}}", out.now().unix_millis()),
            "echo" => match data {
                Some(data) => checked(data)?.as_str().to_owned(),
                None => "null".to_owned(),
            },
            _ => return Err(ClientError::METHOD_NOT_FOUND.into()),
        };
        self.reply(peer, id, &Reply::Rpc(&result), out);
        Ok(())
    }

    /// The channel, if it exists and this may be done with it.
    fn allowed(
        &self,
        peer: PeerId,
        channel: &str,
        access: Access,
        info: &ClientInfo,
    ) -> Result<TopicName, ClientError> {
        let topic = TopicName::parse(channel).map_err(|_| ClientError::BAD_REQUEST)?;
        let session = self.sessions.get(peer);
        let subscribed = session.is_some_and(|session| session.is_in(&topic));
        self.config
            .allow_client(&topic, access, info.user(), subscribed)?;
        Ok(topic)
    }

    /// Asks a channel's home: at once if that is here, else by mail.
    pub(super) fn ask(
        &mut self,
        peer: PeerId,
        id: u32,
        topic: TopicName,
        question: Question,
        out: Out<'_, '_>,
    ) -> Done {
        let home = topic.home(self.workers);
        let ask = Ask {
            asker: Asker { peer, id },
            topic,
            question,
        };
        if home == self.worker {
            self.serve(ask, out);
            return Ok(());
        }
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(peer) else {
            return Ok(());
        };
        if session.in_flight >= limits.in_flight || self.in_flight >= limits.worker_in_flight {
            return Err(ClientError::TOO_MANY_REQUESTS.into());
        }
        self.spool
            .offer(home, WorkerMail::Ask(ask), out)
            .map_err(|_| ClientError::TOO_MANY_REQUESTS)?;
        session.in_flight += 1;
        self.in_flight += 1;
        Ok(())
    }
}

/// Data of a client, if others can be expected to read it.
pub(super) fn checked(data: Data<'_>) -> Result<RawJson, ClientError> {
    data.json().map_err(|_| ClientError::BAD_REQUEST)
}

/// Whether a client keeps to the rate at which it may publish in this namespace.
fn paced(session: &mut Session, topic: &TopicName, options: &Namespace, now: Time) -> bool {
    let Some(rate) = options.publish_rate else {
        return true;
    };
    let name = topic.namespace().unwrap_or_default();
    let meters = &mut session.extra().publishes;
    let known = meters.iter().position(|(known, _)| **known == *name);
    let at = known.unwrap_or_else(|| {
        meters.push((name.into(), crate::session::Meter::default()));
        meters.len() - 1
    });
    meters[at].1.take(rate, now)
}
