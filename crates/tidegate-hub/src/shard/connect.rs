//! Who a client is: the connect command, by a token or anonymous, and what keeps the token fresh.

use super::commands::{Done, Outcome, checked};
use super::subscribe::ttl;
use super::watch::beat;
use super::{Out, Shard};
use crate::command::Connect;
use crate::hub::ServerSubscribe;
use crate::publication::{ClientInfo, client_id};
use crate::reply::{ClientError, Connected, Disconnect, Reply, Subscribed};
use crate::session::{Awaits, Connecting};
use crate::token::{BadToken, Bearer, Stamp};
use crate::topic::TopicName;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{PeerId, Time};

impl Shard {
    /// The first command: who is there? It is answered when the homes of the channels that the server
    /// subscribes the client to have answered.
    pub(super) fn connect(
        &mut self,
        peer: PeerId,
        id: u32,
        connect: &Connect<'_>,
        out: Out<'_, '_>,
    ) -> Done {
        let bearer = self.bearer(connect, out.now())?;
        let most = self.config.limits.conn_info;
        if bearer
            .info
            .as_ref()
            .is_some_and(|info| info.as_str().len() > most)
        {
            return Err(ClientError::LIMIT_EXCEEDED.into());
        }
        let wanted = self.server_channels(&bearer, connect)?;
        let who = client_id(out.random(), out.random());
        let info = Arc::new(ClientInfo::new(who, &bearer.user, bearer.info.as_ref()));
        let now = out.now();
        let ping = beat(now + self.first_ping(out), self.config.ping);
        let Some(session) = self.sessions.get_mut(peer) else {
            return Ok(());
        };
        session.info = Some(Arc::clone(&info));
        session.awaits = Awaits::NextPing;
        session.due = ping;
        session.since = now;
        if bearer.expires.is_some() || bearer.stamp != Stamp::default() {
            let extra = session.extra();
            extra.expires = bearer.expires;
            extra.stamp = bearer.stamp;
        }
        if !wanted.is_empty() {
            session.extra().connecting = Some(Connecting {
                id,
                waiting: wanted.len(),
                ..Connecting::default()
            });
            self.unanswered += 1;
        }
        if !info.user().is_empty() {
            let slots = self.users.entry(Arc::clone(info.user())).or_default();
            slots.push(peer.slot());
        }
        self.stats.connects += 1;
        self.watch(peer, out);
        if wanted.is_empty() {
            self.connected(peer, id, &[], out);
        }
        for (topic, options) in wanted {
            if let Err(error) = self.subscribe_by_server(peer, &topic, &options, out) {
                self.connect_fails(peer, error, out);
                break;
            }
        }
        Ok(())
    }

    /// Who the client says it is, believed or not.
    fn bearer(&self, connect: &Connect<'_>, now: Time) -> Result<Bearer, Outcome> {
        let config = &self.config;
        let unread = config.dev && config.anonymous && config.tokens.is_none();
        if connect.token.is_empty() || unread {
            return self.anonymous(connect);
        }
        let keys = config.tokens.as_ref();
        let keys = keys.ok_or(Outcome::Close(Disconnect::INVALID_TOKEN))?;
        let bearer = keys
            .connection(&connect.token, now)
            .map_err(|bad| match bad {
                BadToken::Invalid => Outcome::Close(Disconnect::INVALID_TOKEN),
                BadToken::Expired => Outcome::Error(ClientError::TOKEN_EXPIRED),
                BadToken::UnknownKey(kid) => Outcome::Error(self.unknown_key(&kid)),
            })?;
        if self.is_revoked(&bearer.user, &bearer.stamp) {
            return Err(Outcome::Close(Disconnect::INVALID_TOKEN));
        }
        if bearer.user.is_empty() && !config.anonymous {
            return Err(ClientError::UNAUTHORIZED.into());
        }
        Ok(bearer)
    }

    fn anonymous(&self, connect: &Connect<'_>) -> Result<Bearer, Outcome> {
        if !self.config.anonymous {
            return Err(ClientError::UNAUTHORIZED.into());
        }
        let data = connect.data.filter(|_| self.config.dev);
        Ok(Bearer {
            user: "".into(),
            info: data.map(checked).transpose()?,
            expires: None,
            channels: Vec::new(),
            stamp: Stamp::default(),
        })
    }

    /// The channels that the server subscribes a client to, with where it stood in each.
    fn server_channels(
        &self,
        bearer: &Bearer,
        connect: &Connect<'_>,
    ) -> Result<Vec<(TopicName, ServerSubscribe)>, ClientError> {
        let own = self
            .config
            .personal
            .as_ref()
            .filter(|_| !bearer.user.is_empty());
        let own = own.map(|namespace| match namespace.as_str() {
            "" => format!("#{}", bearer.user),
            namespace => format!("{namespace}:#{}", bearer.user),
        });
        let named = bearer.channels.iter();
        let named = named.map(|(name, info)| (name.to_string(), info.clone()));
        let mut channels: Vec<(TopicName, ServerSubscribe)> = Vec::new();
        for (name, info) in named.chain(own.map(|name| (name, None))) {
            let topic = TopicName::parse(&name).map_err(|_| ClientError::BAD_REQUEST)?;
            if channels.iter().any(|(known, _)| *known == topic) {
                continue;
            }
            let recover = connect
                .recover
                .iter()
                .find(|(channel, _)| **channel == *name);
            let recover_since = recover.map(|(_, (offset, epoch))| (*offset, epoch.to_string()));
            channels.push((
                topic,
                ServerSubscribe {
                    info,
                    recover_since,
                    ..ServerSubscribe::default()
                },
            ));
        }
        Ok(channels)
    }

    /// The first ping comes early by chance, so that clients that came together are not pinged so.
    fn first_ping(&self, out: Out<'_, '_>) -> Duration {
        let half = self.config.ping / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_micros(out.random() % micros)
    }

    /// One of the channels that a connect command waits for has answered.
    pub(super) fn connect_continues(
        &mut self,
        peer: PeerId,
        topic: &TopicName,
        result: Result<Box<Subscribed>, ClientError>,
        out: Out<'_, '_>,
    ) {
        let result = match result {
            Ok(result) => result,
            Err(error) => return self.connect_fails(peer, error, out),
        };
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let Some(connecting) = session.connecting() else {
            return;
        };
        connecting.subs.push((topic.clone(), *result));
        connecting.waiting -= 1;
        if connecting.waiting > 0 {
            return;
        }
        let Some(done) = session.extra().connecting.take() else {
            return;
        };
        self.unanswered -= 1;
        self.connected(peer, done.id, &done.subs, out);
        for push in done.pushes {
            self.push(peer, &push, out);
        }
        if !done.messages.is_empty() {
            self.released.push((peer, done.messages));
        }
    }

    /// A channel that belongs to the connection cannot be had: the client is told why, and goes.
    fn connect_fails(&mut self, peer: PeerId, error: ClientError, out: Out<'_, '_>) {
        let session = self.sessions.get_mut(peer);
        let connecting = session.and_then(|session| session.extra().connecting.take());
        if let Some(connecting) = connecting {
            self.unanswered -= 1;
            self.reply(peer, connecting.id, &Reply::Error(error), out);
            self.flush(out);
            // The SDKs come back after a temporary error; the close only frees what is half done.
            let code = match error.temporary {
                true => Disconnect::RECONNECT,
                false => Disconnect::BAD_REQUEST,
            };
            self.disconnect(peer, &code, out);
        }
    }

    fn connected(
        &mut self,
        peer: PeerId,
        id: u32,
        subs: &[(TopicName, Subscribed)],
        out: Out<'_, '_>,
    ) {
        let session_secret = format!("{:016x}{:016x}", out.random(), out.random());
        let Some(session) = self.sessions.get(peer) else {
            return;
        };
        let Some(info) = session.info.clone() else {
            return;
        };
        let (expires, now) = (session.expires(), out.now());
        let config = Arc::clone(&self.config);
        let reply = Reply::Connected(Connected {
            client: &info.client(),
            version: &config.version,
            session: &session_secret,
            node: &config.node,
            ping_seconds: config.ping.as_secs(),
            ttl: expires.map(|at| ttl(at, now)),
            time: now,
            subs,
        });
        self.reply(peer, id, &reply, out);
    }

    /// Extends the connection by a new token of the same user.
    pub(super) fn refresh(
        &mut self,
        peer: PeerId,
        id: u32,
        token: &str,
        info: &Arc<ClientInfo>,
        out: Out<'_, '_>,
    ) -> Done {
        if token.is_empty() {
            return Err(ClientError::BAD_REQUEST.into());
        }
        let keys = self.config.tokens.as_ref();
        let keys = keys.ok_or(ClientError::NOT_AVAILABLE)?;
        let now = out.now();
        let bearer = keys.connection(token, now).map_err(|bad| match bad {
            BadToken::Invalid => Outcome::Close(Disconnect::INVALID_TOKEN),
            BadToken::Expired => Outcome::Close(Disconnect::EXPIRED),
            BadToken::UnknownKey(kid) => Outcome::Error(self.unknown_key(&kid)),
        })?;
        if *bearer.user != **info.user() || self.is_revoked(&bearer.user, &bearer.stamp) {
            return Err(Outcome::Close(Disconnect::INVALID_TOKEN));
        }
        if let Some(session) = self.sessions.get_mut(peer) {
            let extra = session.extra();
            extra.expires = bearer.expires;
            extra.stamp = bearer.stamp;
        }
        self.watch(peer, out);
        let config = Arc::clone(&self.config);
        let reply = Reply::Refreshed {
            client: info.client(),
            version: &config.version,
            ttl: bearer.expires.map(|at| ttl(at, now)),
        };
        self.reply(peer, id, &reply, out);
        Ok(())
    }

    /// Whoever fetches keys is told; the client tries again meanwhile.
    pub(super) fn unknown_key(&self, kid: &str) -> ClientError {
        if let Some(hook) = &self.config.unknown_key {
            hook.call(kid);
        }
        ClientError::INTERNAL
    }

    pub(super) fn is_revoked(&self, user: &str, stamp: &Stamp) -> bool {
        self.revoked.iter().any(|one| one.fits(user, stamp))
    }
}
