//! From the configuration's tables to the hub's settings: what a table says together is checked here, and a
//! fault is shown at its key. It reads key files, never the network.

use super::Config;
use super::file::{
    JoinLeaveKey, NamespaceTable, PresenceByKey, RateTable, RecoveryKey, SlowKey, TokensTable,
    WhoKey,
};
use crate::error::Failure;
use std::sync::Arc;
use tidegate_hub::{
    BadKey, Delivery, HubConfig, HubLimits, JoinLeave, Namespace, Namespaces, PresenceBy, Rate,
    RecoveryMode, Slow, TokenKeys, Who,
};

impl Config {
    /// The hub's settings; in development mode `dev`'s, as far as the file says nothing else.
    ///
    /// # Errors
    /// The first key whose value cannot be.
    pub(crate) fn hub(&self, dev: bool) -> Result<HubConfig, Failure> {
        let base = if dev {
            HubConfig::dev()
        } else {
            HubConfig::default()
        };
        let (file, clients) = (&self.file, &self.file.clients);
        let mut connection = (*base.connection).clone();
        connection.limits.max_message_size = self.message_size()?;
        connection.limits.outbox = self.outbox()?;
        connection.limits.outbox_high = connection
            .limits
            .outbox_high
            .min(connection.limits.outbox / 2);
        connection.limits.outbox_low = connection
            .limits
            .outbox_low
            .min(connection.limits.outbox / 8);
        Ok(HubConfig {
            anonymous: dev || clients.anonymous,
            tokens: self.keys("tokens", &file.tokens)?,
            subscription_tokens: self.keys("subscription_tokens", &file.subscription_tokens)?,
            personal: self.personal(clients.personal_namespace.as_deref())?,
            node: file.server.node.clone().unwrap_or(base.node),
            namespaces: self.namespaces(base.namespaces)?,
            limits: self.hub_limits(),
            ping: self.at_least_a_second(&["clients", "ping"], clients.ping.0)?,
            pong: self.at_least_a_second(&["clients", "pong"], clients.pong.0)?,
            connect: self.at_least_a_second(&["clients", "connect"], clients.connect.0)?,
            expired_grace: clients.expired_grace.0,
            no_progress: self
                .at_least_a_second(&["clients", "no_progress"], clients.no_progress.0)?,
            position_check: self
                .at_least_a_second(&["clients", "position_check"], clients.position_check.0)?,
            command_rate: clients.command_rate.map(rate),
            connection: Arc::new(connection),
            ..base
        })
    }

    fn message_size(&self) -> Result<usize, Failure> {
        let size = self.file.limits.message_size.0;
        match (256..=64 << 20).contains(&size) {
            true => Ok(size),
            false => Err(self.fault(&["limits", "message_size"], "from 256 bytes to 64 MiB")),
        }
    }

    fn outbox(&self) -> Result<usize, Failure> {
        let size = self.file.limits.outbox.0;
        match (16 << 10..=1 << 30).contains(&size) {
            true => Ok(size),
            false => Err(self.fault(&["limits", "outbox"], "from 16 KiB to 1 GiB")),
        }
    }

    fn at_least_a_second(
        &self,
        key: &[&str],
        wait: std::time::Duration,
    ) -> Result<std::time::Duration, Failure> {
        match wait.as_secs() {
            0 => Err(self.fault(key, "at least 1s")),
            _ => Ok(wait),
        }
    }

    fn personal(&self, namespace: Option<&str>) -> Result<Option<String>, Failure> {
        let Some(name) = namespace else {
            return Ok(None);
        };
        let known = match name {
            "" => self.file.channels.is_some(),
            name => self.file.namespaces.contains_key(name),
        };
        if known {
            return Ok(Some(name.to_owned()));
        }
        let what = match name {
            "" => "needs a [channels] table".to_owned(),
            name => format!("there is no [namespaces.{name}]"),
        };
        Err(self.fault(&["clients", "personal_namespace"], what))
    }

    fn hub_limits(&self) -> HubLimits {
        let limits = &self.file.limits;
        HubLimits {
            channels: limits.channels_per_client,
            conn_info: limits.conn_info.0,
            topic_history: limits.history_per_channel.0,
            worker_history: limits.history_per_worker.0,
            streams: limits.channels_per_worker,
            remember: limits.remember.0,
            presence: limits.presence_reply.0,
            keys: limits.conflation_keys,
            idempotency_ttl: self.file.api.idempotency_ttl.0,
            revocations: limits.revocations,
            ..HubLimits::default()
        }
    }

    /// The tables of the file over those of `base`, whole by whole: half a table of each would surprise.
    fn namespaces(&self, base: Namespaces) -> Result<Namespaces, Failure> {
        let mut all = base;
        if let Some(table) = &self.file.channels {
            let plain = self.namespace(&["channels"], table)?;
            let mut fresh = Namespaces::new(plain);
            for (name, options) in all.iter().filter(|(name, _)| !name.is_empty()) {
                fresh.set(name, options.clone());
            }
            all = fresh;
        }
        for (name, table) in &self.file.namespaces {
            let key = ["namespaces", name.as_str()];
            if name.is_empty() || name.contains(':') {
                return Err(self.fault(
                    &key,
                    "a namespace's name has at least one character and no ':'",
                ));
            }
            all.set(name, self.namespace(&key, table)?);
        }
        Ok(all)
    }

    fn namespace(&self, at: &[&str], table: &NamespaceTable) -> Result<Namespace, Failure> {
        let fault = |key: &str, what: &str| {
            let path: Vec<&str> = at.iter().copied().chain(key.split('.')).collect();
            Err(self.fault(&path, what))
        };
        let history = table.history_size > 0;
        if table.recovery != RecoveryKey::Off && !history {
            return fault("recovery", "needs history: set history_size");
        }
        if table.read_history != WhoKey::Nobody && !history {
            return fault("read_history", "needs history: set history_size");
        }
        if history && table.history_ttl.0.is_zero() {
            return fault(
                "history_ttl",
                "a history that keeps nothing; leave history_size out instead",
            );
        }
        if table.see_presence != WhoKey::Nobody && !table.presence {
            return fault("see_presence", "needs presence = true");
        }
        if !table.leave_grace.0.is_zero() && table.presence_by != PresenceByKey::User {
            return fault("leave_grace", "needs presence_by = \"user\"");
        }
        if let Some(key) = &table.delivery.key {
            if !key.starts_with('/') {
                return fault(
                    "delivery.key",
                    "a JSON pointer begins with '/', such as \"/symbol\"",
                );
            }
        }
        if table.binary && table.delivery.key.is_some() {
            return fault(
                "delivery.key",
                "binary data have no keys inside; publish with the tag \"key\"",
            );
        }
        Ok(namespace(table))
    }

    /// The keys of one table; `None` when it names none.
    fn keys(&self, name: &str, table: &TokensTable) -> Result<Option<TokenKeys>, Failure> {
        if !table.has_keys() {
            let orphan = [("audience", &table.audience), ("issuer", &table.issuer)];
            if let Some((key, _)) = orphan.into_iter().find(|(_, value)| value.is_some()) {
                return Err(self.fault(&[name, key], "there is no key to verify a token with"));
            }
            return Ok(None);
        }
        let bad = |key: &str| {
            let at = [name.to_owned(), key.to_owned()];
            move |why: BadKey| self.fault(&[&at[0], &at[1]], why)
        };
        let mut keys = TokenKeys::new();
        if let Some(secret) = &table.hmac_secret {
            keys = keys
                .with_secret(secret.reveal().as_bytes())
                .map_err(bad("hmac_secret"))?;
        }
        if let Some(file) = &table.hmac_secret_file {
            for secret in self.secret_file(&[name, "hmac_secret_file"], file)? {
                keys = keys
                    .with_secret(secret.reveal().as_bytes())
                    .map_err(bad("hmac_secret_file"))?;
            }
        }
        for file in &table.public_keys {
            let path = self.resolve(file);
            let pem = std::fs::read_to_string(&path).map_err(|error| {
                let what = format!("{} cannot be read: {error}", path.display());
                self.fault(&[name, "public_keys"], what)
            })?;
            keys = keys.with_pem(&pem).map_err(|why| {
                self.fault(&[name, "public_keys"], format!("{}: {why}", path.display()))
            })?;
        }
        if table.jwks_url.is_some() {
            keys = keys.fetched();
        }
        if let Some(audience) = &table.audience {
            keys = keys.with_audience(audience);
        }
        if let Some(issuer) = &table.issuer {
            keys = keys.with_issuer(issuer);
        }
        Ok(Some(keys))
    }
}

/// A checked table in the hub's terms.
fn namespace(table: &NamespaceTable) -> Namespace {
    Namespace {
        history_size: table.history_size,
        history_ttl: table.history_ttl.0,
        recovery: match table.recovery {
            RecoveryKey::Off => RecoveryMode::Off,
            RecoveryKey::Stream => RecoveryMode::Stream,
            RecoveryKey::Cache => RecoveryMode::Cache,
        },
        presence: table.presence,
        presence_by: match table.presence_by {
            PresenceByKey::Connection => PresenceBy::Connection,
            PresenceByKey::User => PresenceBy::User,
        },
        leave_grace: table.leave_grace.0,
        join_leave: match table.join_leave {
            JoinLeaveKey::Off => JoinLeave::Off,
            JoinLeaveKey::Asked => JoinLeave::Asked,
            JoinLeaveKey::Forced => JoinLeave::Forced,
        },
        join_leave_batch: table.join_leave_batch.0,
        join_leave_limit: table.join_leave_limit,
        subscribe: who(table.subscribe),
        publish: who(table.publish),
        read_history: who(table.read_history),
        see_presence: who(table.see_presence),
        publisher: table.publisher,
        binary: table.binary,
        publish_rate: table.publish_rate.map(rate),
        delivery: Delivery {
            conflate: table.delivery.conflate,
            max_hz: table.delivery.max_hz.get(),
            key: table.delivery.key.clone(),
            slow: match table.delivery.slow {
                SlowKey::Close => Slow::Close,
                SlowKey::Conflate => Slow::Conflate {
                    hz: table.delivery.slow_hz.get(),
                },
            },
        },
    }
}

fn who(key: WhoKey) -> Who {
    match key {
        WhoKey::Nobody => Who::Nobody,
        WhoKey::Subscribers => Who::Subscribers,
        WhoKey::Users => Who::Users,
        WhoKey::Everyone => Who::Everyone,
    }
}

fn rate(table: RateTable) -> Rate {
    Rate {
        per_second: table.per_second.get(),
        burst: table.burst.get(),
    }
}
