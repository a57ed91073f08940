//! What a shard does with the commands of its clients: it checks them and asks the channel's home.

use super::{Out, Shard};
use crate::codec::json::{self, Numbered};
use crate::command::{Command, HistoryOf, Json, Subscribe};
use crate::config::{Access, ChannelOptions};
use crate::history::Page;
use crate::mail::{Ask, Asker, Question, WorkerMail};
use crate::publication::{ClientInfo, RawJson, client_id};
use crate::reply::{ClientError, Connected, Disconnect, Reply};
use crate::session::Awaits;
use crate::topic::TopicName;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::PeerId;

/// What a command comes to at once: a reply, or nothing yet; an error reply; or the end.
enum Outcome {
    Error(ClientError),
    Close(Disconnect),
}

impl From<ClientError> for Outcome {
    fn from(error: ClientError) -> Outcome {
        Outcome::Error(error)
    }
}

type Done = Result<(), Outcome>;

impl Shard {
    /// Carries out a message. The replies that are known when all of it was read go out in one frame;
    /// those that another worker gives follow by themselves.
    pub(super) fn commands(&mut self, peer: PeerId, text: &str, out: Out<'_, '_>) {
        self.batch.peer = Some(peer);
        for item in json::commands(text) {
            let (id, done) = match item {
                Err(json::BadFrame) => (0, Err(Outcome::Close(Disconnect::BAD_REQUEST))),
                Ok(Numbered { id, command }) => (id, self.command(peer, id, command, out)),
            };
            match done {
                Ok(()) => {}
                Err(Outcome::Error(error)) => self.reply(peer, id, &Reply::Error(error), out),
                Err(Outcome::Close(why)) => {
                    self.flush(out);
                    self.disconnect(peer, why, out);
                }
            }
            if self.doomed.contains(&peer) {
                break;
            }
        }
        self.flush(out);
        self.batch.peer = None;
        self.batch.text.clear();
    }

    fn command(
        &mut self,
        peer: PeerId,
        id: u32,
        command: Result<Command<'_>, ClientError>,
        out: Out<'_, '_>,
    ) -> Done {
        let info = self
            .sessions
            .get(peer)
            .and_then(|session| session.info.clone());
        let Some(info) = info else {
            return match command {
                Ok(Command::Connect { has_token, data }) => {
                    self.connect(peer, id, has_token, data, out)
                }
                _ => Err(Outcome::Close(Disconnect::BAD_REQUEST)),
            };
        };
        match command? {
            Command::Connect { .. } => Err(Outcome::Close(Disconnect::BAD_REQUEST)),
            Command::Pong => {
                self.pong(peer, out);
                Ok(())
            }
            Command::Send => Ok(()),
            Command::Ping => {
                self.reply(peer, id, &Reply::Pong, out);
                Ok(())
            }
            Command::Subscribe(subscribe) => self.subscribe(peer, id, &subscribe, info, out),
            Command::Unsubscribe { channel } => self.unsubscribe(peer, id, &channel, info, out),
            Command::Publish { channel, data } => {
                let (topic, _) = self.allowed(&channel, Access::Publish)?;
                let data = checked(data)?;
                self.ask(peer, id, topic, Question::Publish { info, data }, out)
            }
            Command::Presence { channel } => {
                let (topic, _) = self.allowed(&channel, Access::Presence)?;
                self.ask(peer, id, topic, Question::Presence, out)
            }
            Command::PresenceStats { channel } => {
                let (topic, _) = self.allowed(&channel, Access::Presence)?;
                self.ask(peer, id, topic, Question::PresenceStats, out)
            }
            Command::History(history) => self.history(peer, id, &history, out),
            Command::Rpc { method, data } => self.rpc(peer, id, &method, data, out),
            Command::Refresh => Err(ClientError::NOT_AVAILABLE.into()),
        }
    }

    /// The first command: who is there?
    fn connect(
        &mut self,
        peer: PeerId,
        id: u32,
        has_token: bool,
        data: Option<Json<'_>>,
        out: Out<'_, '_>,
    ) -> Done {
        if !self.config.anonymous {
            return Err(match has_token {
                true => Outcome::Close(Disconnect::INVALID_TOKEN),
                false => Outcome::Error(ClientError::UNAUTHORIZED),
            });
        }
        let conn_info = data.map(checked).transpose()?;
        if conn_info
            .as_ref()
            .is_some_and(|info| info.as_str().len() > self.config.limits.conn_info)
        {
            return Err(ClientError::LIMIT_EXCEEDED.into());
        }
        let info = ClientInfo::new(
            client_id(out.random(), out.random()),
            "",
            conn_info.as_ref(),
        );
        let info = Arc::new(info);
        let session_secret = format!("{:016x}{:016x}", out.random(), out.random());
        if let Some(session) = self.sessions.get_mut(peer) {
            session.info = Some(Arc::clone(&info));
            session.awaits = Awaits::NextPing;
        }
        // The first ping comes early by chance, so that clients that came together are not pinged so.
        let half = self.config.ping / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        let first = half + Duration::from_micros(out.random() % micros);
        self.arm(peer, out.now() + first, out);
        let config = Arc::clone(&self.config);
        let reply = Reply::Connected(Connected {
            client: &info.client(),
            version: &config.version,
            session: &session_secret,
            node: &config.node,
            ping_seconds: config.ping.as_secs(),
        });
        self.reply(peer, id, &reply, out);
        Ok(())
    }

    /// The answer to our ping. One that was not asked for is taken without a word.
    fn pong(&mut self, peer: PeerId, out: Out<'_, '_>) {
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        if let Awaits::Pong { sent } = session.awaits {
            session.awaits = Awaits::NextPing;
            let due = sent + self.config.ping;
            self.arm(peer, due, out);
        }
    }

    fn subscribe(
        &mut self,
        peer: PeerId,
        id: u32,
        subscribe: &Subscribe<'_>,
        info: Arc<ClientInfo>,
        out: Out<'_, '_>,
    ) -> Done {
        let (topic, _) = self.allowed(&subscribe.channel, Access::Subscribe)?;
        if subscribe.unavailable {
            return Err(ClientError::NOT_AVAILABLE.into());
        }
        let most = self.config.limits.channels;
        let Some(session) = self.sessions.get_mut(peer) else {
            return Ok(());
        };
        if session.sub(&topic).is_some() {
            return Err(ClientError::ALREADY_SUBSCRIBED.into());
        }
        if session.subs.len() >= most {
            return Err(ClientError::LIMIT_EXCEEDED.into());
        }
        let attempt = session.begin(topic.clone());
        let recover = subscribe.recover.as_ref();
        let question = Question::Subscribe {
            info,
            attempt,
            recover: recover.map(|(offset, epoch)| (*offset, epoch.as_ref().into())),
            reject_unrecovered: subscribe.reject_unrecovered,
        };
        let asked = self.ask(peer, id, topic.clone(), question, out);
        if asked.is_err() {
            if let Some(session) = self.sessions.get_mut(peer) {
                session.remove(&topic);
            }
        }
        asked
    }

    /// Takes effect at once; the home hears of it in due order. A channel that was not subscribed to is
    /// no error.
    fn unsubscribe(
        &mut self,
        peer: PeerId,
        id: u32,
        channel: &str,
        info: Arc<ClientInfo>,
        out: Out<'_, '_>,
    ) -> Done {
        let topic = TopicName::parse(channel).map_err(|_| ClientError::BAD_REQUEST)?;
        let sub = self
            .sessions
            .get_mut(peer)
            .and_then(|session| session.remove(&topic));
        if let Some(sub) = sub {
            if let Some(index) = sub.member {
                self.local.remove(&topic, index, &mut self.sessions);
            }
            self.leave(topic.home(self.workers), vec![(topic, info)], out);
        }
        self.reply(peer, id, &Reply::Unsubscribed, out);
        Ok(())
    }

    fn history(
        &mut self,
        peer: PeerId,
        id: u32,
        history: &HistoryOf<'_>,
        out: Out<'_, '_>,
    ) -> Done {
        let (topic, _) = self.allowed(&history.channel, Access::History)?;
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
        data: Option<Json<'_>>,
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
        channel: &str,
        access: Access,
    ) -> Result<(TopicName, &ChannelOptions), ClientError> {
        let topic = TopicName::parse(channel).map_err(|_| ClientError::BAD_REQUEST)?;
        let options = self.config.allow(&topic, access)?;
        Ok((topic, options))
    }

    /// Asks a channel's home: at once if that is here, else by mail.
    fn ask(
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
fn checked(data: Json<'_>) -> Result<RawJson, ClientError> {
    RawJson::from_value(data.0).map_err(|_| ClientError::BAD_REQUEST)
}
