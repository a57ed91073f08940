//! How clients of a shard become members of channels and cease to be: by their own commands, by a token,
//! by the server.

use super::commands::{Done, Outcome};
use super::{Out, Shard};
use crate::codec::Form;
use crate::command::{Data, Subscribe};
use crate::config::{Access, Delivery, JoinLeave};
use crate::hub::ServerSubscribe;
use crate::mail::{Asker, Question};
use crate::publication::{ClientInfo, RawJson};
use crate::reply::{ClientError, Push, Reply, Subscribed};
use crate::session::Wish;
use crate::token::{BadToken, Ticket};
use crate::topic::TopicName;
use serde::Deserialize;
use std::sync::Arc;
use tidegate_proto::{PeerId, Time};

impl Shard {
    pub(super) fn subscribe(
        &mut self,
        peer: PeerId,
        id: u32,
        subscribe: &Subscribe<'_>,
        info: &Arc<ClientInfo>,
        out: Out<'_, '_>,
    ) -> Done {
        let topic = TopicName::parse(&subscribe.channel).map_err(|_| ClientError::BAD_REQUEST)?;
        let ticket = self.may_subscribe(&topic, subscribe, info.user(), out.now())?;
        if subscribe.unavailable {
            return Err(ClientError::NOT_AVAILABLE.into());
        }
        let config = Arc::clone(&self.config);
        let options = config
            .namespaces
            .options(&topic)
            .ok_or(ClientError::UNKNOWN_CHANNEL)?;
        let mut wish = wish(subscribe.data, &options.delivery)?;
        if wish.hz > 0 && (subscribe.recover.is_some() || subscribe.delta) {
            return Err(ClientError::BAD_REQUEST.into());
        }
        wish.join_leave = match options.join_leave {
            JoinLeave::Off => false,
            JoinLeave::Asked => subscribe.join_leave,
            JoinLeave::Forced => true,
        };
        let Some(session) = self.sessions.get_mut(peer) else {
            return Ok(());
        };
        if options.binary && session.form == Form::Json {
            return Err(ClientError::NOT_AVAILABLE.into());
        }
        if session.sub(&topic).is_some() {
            return Err(ClientError::ALREADY_SUBSCRIBED.into());
        }
        if session.subs.len() >= config.limits.channels {
            return Err(ClientError::LIMIT_EXCEEDED.into());
        }
        let sub = session.begin(topic.clone(), wish);
        if let Some(ticket) = ticket {
            sub.expires = ticket.expires;
            sub.info = ticket.info.map(|more| Arc::new(info.in_channel(&more)));
        }
        let question = Question::Subscribe {
            info: Arc::clone(sub.info.as_ref().unwrap_or(info)),
            attempt: sub.attempt,
            wish,
            recover: subscribe
                .recover
                .as_ref()
                .map(|(offset, epoch)| (*offset, epoch.as_ref().into())),
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

    /// Whether a client may subscribe: because the channel is open to it, or by a token.
    fn may_subscribe(
        &self,
        topic: &TopicName,
        subscribe: &Subscribe<'_>,
        user: &str,
        now: Time,
    ) -> Result<Option<Ticket>, ClientError> {
        if subscribe.token.is_empty()
            || (self.config.dev && self.config.subscription_keys().is_none())
        {
            self.config
                .allow_client(topic, Access::Subscribe, user, false)?;
            return Ok(None);
        }
        if self.config.namespaces.options(topic).is_none() {
            return Err(ClientError::UNKNOWN_CHANNEL);
        }
        self.ticket(topic, &subscribe.token, user, now).map(Some)
    }

    /// What a subscription token of this user for this channel allows.
    fn ticket(
        &self,
        topic: &TopicName,
        token: &str,
        user: &str,
        now: Time,
    ) -> Result<Ticket, ClientError> {
        let keys = self.config.subscription_keys();
        let keys = keys.ok_or(ClientError::NOT_AVAILABLE)?;
        let ticket = keys.subscription(token, now).map_err(|bad| match bad {
            BadToken::Invalid => ClientError::PERMISSION_DENIED,
            BadToken::Expired => ClientError::TOKEN_EXPIRED,
            BadToken::UnknownKey(kid) => self.unknown_key(&kid),
        })?;
        let fits = *ticket.channel == *topic.as_str() && *ticket.user == *user;
        if !fits || self.is_revoked(&ticket.user, &ticket.stamp) {
            return Err(ClientError::PERMISSION_DENIED);
        }
        Ok(ticket)
    }

    /// A home has said whether a client is a member. Unless the client has changed its mind meanwhile
    /// (then its departure is under way), it becomes one here, or leaves because it was refused.
    pub(super) fn subscribed(
        &mut self,
        to: Asker,
        topic: &TopicName,
        attempt: u32,
        result: Result<Box<Subscribed>, ClientError>,
        out: Out<'_, '_>,
    ) {
        let peer = to.peer;
        if let Ok(Some(position)) = result.as_ref().map(|result| result.position) {
            // Said before the newcomer is added: it is about those that are here.
            self.stands(topic, position, out);
        }
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let form = session.form;
        let sub = session.sub_mut(topic).filter(|sub| sub.attempt == attempt);
        let Some(sub) = sub else {
            // It has unsubscribed before the answer came; the answer is still owed.
            if to.id != 0 {
                let reply = result.map_or_else(Reply::Error, |result| Reply::Subscribed(*result));
                self.reply(peer, to.id, &reply, out);
            }
            return;
        };
        let (wish, expires) = (sub.wish, sub.expires);
        let data = sub.server_data.take();
        let result = result.and_then(|result| {
            let readable =
                form == Form::Protobuf || result.publications().iter().all(|p| p.is_json());
            readable.then_some(result).ok_or(ClientError::NOT_AVAILABLE)
        });
        let reply = match result {
            Ok(mut result) => {
                self.admit(peer, topic, wish);
                if let Some(position) = result.position {
                    self.local.stands(topic, position);
                }
                result.ttl = expires.map(|at| ttl(at, out.now()));
                result.data = data;
                finish(&mut result, wish);
                match &result.recovery {
                    Some((_, crate::Recovery::Complete(_))) => self.stats.recovered += 1,
                    Some(_) => self.stats.unrecovered += 1,
                    None => {}
                }
                if expires.is_some() {
                    self.watch(peer, out);
                }
                Ok(result)
            }
            Err(error) => {
                let sub = session.remove(topic);
                let own = session.info.clone();
                if let (Some(sub), Some(own)) = (sub, own) {
                    let home = topic.home(self.workers);
                    self.leave(home, vec![sub.departs(&own)], out);
                }
                Err(error)
            }
        };
        if wish.server {
            self.subscribed_by_server(peer, topic, reply, out);
        } else {
            let reply = reply.map_or_else(Reply::Error, |result| Reply::Subscribed(*result));
            self.reply(peer, to.id, &reply, out);
        }
    }

    /// Begins a subscription by the server's will. True if the client is or will be subscribed.
    pub(super) fn subscribe_by_server(
        &mut self,
        peer: PeerId,
        topic: &TopicName,
        options: &ServerSubscribe,
        out: Out<'_, '_>,
    ) -> Result<bool, ClientError> {
        let config = Arc::clone(&self.config);
        let namespace = config.namespaces.options(topic);
        let namespace = namespace.ok_or(ClientError::UNKNOWN_CHANNEL)?;
        let Some(session) = self.sessions.get_mut(peer) else {
            return Ok(false);
        };
        let Some(own) = session.info.clone() else {
            return Ok(false);
        };
        if session.sub(topic).is_some() {
            return Ok(true);
        }
        if namespace.binary && session.form == Form::Json {
            return Err(ClientError::NOT_AVAILABLE);
        }
        if session.subs.len() >= config.limits.channels {
            return Err(ClientError::LIMIT_EXCEEDED);
        }
        let wish = Wish {
            server: true,
            join_leave: namespace.join_leave == JoinLeave::Forced,
            ..Wish::default()
        };
        let sub = session.begin(topic.clone(), wish);
        sub.expires = options.expire_at;
        sub.info = options
            .info
            .as_ref()
            .map(|more| Arc::new(own.in_channel(more)));
        sub.server_data.clone_from(&options.data);
        let recover = options.recover_since.as_ref();
        let question = Question::Subscribe {
            info: sub.info.clone().unwrap_or(own),
            attempt: sub.attempt,
            wish,
            recover: recover.map(|(offset, epoch)| (*offset, epoch.as_str().into())),
            reject_unrecovered: false,
        };
        match self.ask(peer, 0, topic.clone(), question, out) {
            Ok(()) => Ok(true),
            Err(outcome) => {
                if let Some(session) = self.sessions.get_mut(peer) {
                    session.remove(topic);
                }
                Err(match outcome {
                    Outcome::Error(error) => error,
                    Outcome::Close(_) => ClientError::INTERNAL,
                })
            }
        }
    }

    /// The client hears of it in its connect reply, if that is still owed, or by a push.
    fn subscribed_by_server(
        &mut self,
        peer: PeerId,
        topic: &TopicName,
        result: Result<Box<Subscribed>, ClientError>,
        out: Out<'_, '_>,
    ) {
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let form = session.form;
        if session.connecting().is_some() {
            return self.connect_continues(peer, topic, result, out);
        }
        let Ok(result) = result else { return };
        let missed: Vec<_> = result.publications().to_vec();
        let push = form.pushes(topic.as_str(), &[Push::Subscribed(result)]);
        self.push(peer, &push, out);
        for publication in &missed {
            if let Some(frame) = publication.frame(form) {
                self.push(peer, frame, out);
            }
        }
    }

    /// Takes effect at once; the home hears of it in due order. A channel that was not subscribed to is
    /// no error.
    pub(super) fn unsubscribe(
        &mut self,
        peer: PeerId,
        id: u32,
        channel: &str,
        info: &Arc<ClientInfo>,
        out: Out<'_, '_>,
    ) -> Done {
        let topic = TopicName::parse(channel).map_err(|_| ClientError::BAD_REQUEST)?;
        let session = self.sessions.get_mut(peer);
        if let Some(sub) = session.and_then(|session| session.remove(&topic)) {
            if let Some(at) = sub.member {
                self.local.remove(&topic, at, &mut self.sessions);
            }
            self.leave(topic.home(self.workers), vec![sub.departs(info)], out);
        }
        self.reply(peer, id, &Reply::Unsubscribed, out);
        Ok(())
    }

    /// Extends a subscription by a new token.
    pub(super) fn sub_refresh(
        &mut self,
        peer: PeerId,
        id: u32,
        channel: &str,
        token: &str,
        info: &Arc<ClientInfo>,
        out: Out<'_, '_>,
    ) -> Done {
        let topic = TopicName::parse(channel).map_err(|_| ClientError::BAD_REQUEST)?;
        let session = self.sessions.get(peer);
        if token.is_empty() || session.is_none_or(|session| session.sub(&topic).is_none()) {
            return Err(ClientError::BAD_REQUEST.into());
        }
        let now = out.now();
        let ticket = self.ticket(&topic, token, info.user(), now)?;
        if let Some(sub) = self.sessions.get_mut(peer).and_then(|s| s.sub_mut(&topic)) {
            sub.expires = ticket.expires;
        }
        self.watch(peer, out);
        let ttl = ticket.expires.map(|at| ttl(at, now));
        self.reply(peer, id, &Reply::SubRefreshed { ttl }, out);
        Ok(())
    }
}

/// Seconds until then, at least one, so that a client does not ask at once.
pub(super) fn ttl(at: Time, now: Time) -> u32 {
    u32::try_from(at.since(now).as_secs())
        .unwrap_or(u32::MAX)
        .max(1)
}

/// What a conflated subscriber is told: no position, for there is none that it could recover from, but
/// what it got. The newest values that a cache gives stay; they are not part of what it counts, so they
/// have no tag `skipped`.
fn finish(result: &mut Subscribed, wish: Wish) {
    if wish.hz == 0 {
        return;
    }
    result.position = None;
    result.recoverable = false;
    result.recovery = None;
    let mode = wish.mode();
    let text = format!("{{\"delivery\":\"{mode}\",\"hz\":{}}}", wish.hz);
    result.data = RawJson::parse(&text).ok();
}

#[derive(Deserialize)]
struct WishFields {
    delivery: Option<String>,
    hz: Option<f64>,
}

/// How a client wants to be served. Data that say nothing about it are the application's own.
fn wish(data: Option<Data<'_>>, delivery: &Delivery) -> Result<Wish, ClientError> {
    let fields = data.and_then(|data| serde_json::from_slice::<WishFields>(data.as_bytes()).ok());
    let Some((mode, hz)) = fields.and_then(|f| f.delivery.map(|mode| (mode, f.hz))) else {
        return Ok(Wish::default());
    };
    let most = u16::try_from(delivery.max_hz.max(1)).unwrap_or(u16::MAX);
    let latest = match mode.as_str() {
        "full" => return Ok(Wish::default()),
        "conflate" => false,
        "latest" => true,
        _ => return Err(ClientError::BAD_REQUEST),
    };
    if !delivery.conflate {
        return Err(ClientError::NOT_AVAILABLE);
    }
    let hz = match hz {
        _ if latest => most,
        None => most,
        Some(hz) if hz >= 1.0 => (hz.min(f64::from(most))) as u16,
        Some(_) => return Err(ClientError::BAD_REQUEST),
    };
    Ok(Wish {
        hz,
        latest,
        ..Wish::default()
    })
}
